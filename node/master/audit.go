package master

import (
	"context"
	"fmt"
	"log/slog"

	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/store"
)

const (
	// auditKept is how many entries stay; the oldest go first.
	auditKept = 1000
	// auditQueue bounds the entries that wait for the disk. One more is
	// written to the log only.
	auditQueue = 256
)

// auditLog keeps who changed what. Its one goroutine writes, so that nobody
// waits for the disk.
type auditLog struct {
	store   *store.Member
	entries *store.Collection[auth.AuditEntry]
	queue   chan auth.AuditEntry
	kept    int
	logger  *slog.Logger
}

func newAuditLog(m *store.Member, logger *slog.Logger) *auditLog {
	return &auditLog{store: m, entries: store.NewCollection[auth.AuditEntry](m, "audit", "audit"), queue: make(chan auth.AuditEntry, auditQueue), kept: auditKept, logger: logger}
}

// Record keeps an entry.
func (m *Master) Record(_ context.Context, e auth.AuditEntry) {
	select {
	case m.audit.queue <- e:
	default:
		m.o.Logger.Warn("audit entry not kept: too many wait", "principal", e.Principal, "action", e.Action, "resource", e.Resource, "outcome", e.Outcome)
	}
}

func (a *auditLog) run(ctx context.Context) error {
	rows, _, err := a.entries.List(ctx)
	if err != nil && ctx.Err() == nil {
		a.logger.Warn("audit log not read", "error", err)
	}
	keys, next := []string{}, 0
	for _, r := range rows {
		keys = append(keys, r.Key)
		if _, err := fmt.Sscanf(r.Key, "%d", &next); err != nil {
			a.logger.Warn("audit entry with a strange key", "key", r.Key)
		}
	}
	for {
		select {
		case e := <-a.queue:
			next++
			key := fmt.Sprintf("%012d", next)
			ops := []store.Op{a.entries.OpCreate(key, e)}
			if len(keys) >= a.kept {
				ops = append(ops, a.entries.OpDelete(keys[0], store.AnyRevision))
			}
			if _, err := a.store.Commit(ctx, ops...); err != nil {
				a.logger.Warn("audit entry not kept", "action", e.Action, "resource", e.Resource, "error", err)
				continue
			}
			keys = append(keys, key)
			if len(ops) > 1 {
				keys = keys[1:]
			}
		case <-ctx.Done():
			return nil
		}
	}
}
