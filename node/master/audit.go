package master

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/store"
)

const (
	// auditKept is how many entries stay; the oldest go first.
	auditKept = 1000
	// auditQueue bounds the entries that wait for the disk. One more is
	// written to the log only.
	auditQueue = 256
	// deniedEvery is how often what one principal was refused is kept. What
	// comes between is counted.
	deniedEvery = time.Minute
	// maxDenied principals are counted; what one more is refused goes to the
	// log only.
	maxDenied = 64
	// auditDrain is how long the end may take to keep what waits.
	auditDrain = time.Second
)

// auditLog keeps who changed what. Its one goroutine writes, so that nobody
// waits for the disk.
type auditLog struct {
	store   *store.Member
	entries *store.Collection[auth.AuditEntry]
	queue   chan auth.AuditEntry
	kept    int
	// every is deniedEvery, shorter in tests.
	every  time.Duration
	logger *slog.Logger

	mu sync.Mutex
	// denied holds who was refused in the last minute.
	denied map[string]*refusals
	closed bool

	// keys of what is kept, oldest first, and the number of the newest: the
	// goroutine's own.
	keys []string
	next int
}

// refusals are what one principal was refused since the last entry.
type refusals struct {
	last  auth.AuditEntry
	count int
	timer *time.Timer
}

func newAuditLog(m *store.Member, logger *slog.Logger) *auditLog {
	return &auditLog{
		store: m, entries: store.NewCollection[auth.AuditEntry](m, "audit", "audit"), queue: make(chan auth.AuditEntry, auditQueue),
		kept: auditKept, every: deniedEvery, logger: logger, denied: map[string]*refusals{},
	}
}

// Record keeps an entry. Of what one principal is refused it keeps one entry
// a minute: strangers to an operation must not wear out the disk.
func (m *Master) Record(e auth.AuditEntry) {
	if e.Outcome != "ok" && (e.Outcome == "denied" || strings.HasPrefix(e.Principal, string(auth.KindNode)+" ")) && !m.audit.first(e) {
		return
	}
	m.audit.put(e)
}

func (a *auditLog) put(e auth.AuditEntry) {
	select {
	case a.queue <- e:
	default:
		a.logger.Warn("audit entry not kept: too many wait", "principal", e.Principal, "action", e.Action, "resource", e.Resource, "outcome", e.Outcome)
	}
}

// first reports whether e is the principal's first refusal in a minute; it
// counts the others.
func (a *auditLog) first(e auth.AuditEntry) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if r, ok := a.denied[e.Principal]; ok {
		r.last, r.count = e, r.count+1
		return false
	}
	if a.closed || len(a.denied) >= maxDenied {
		a.logger.Debug("refusal not kept", "principal", e.Principal, "action", e.Action, "resource", e.Resource)
		return false
	}
	a.denied[e.Principal] = &refusals{timer: time.AfterFunc(a.every, func() { a.minute(e.Principal) })}
	return true
}

// minute ends a principal's minute: what was counted becomes one entry, and
// begins another.
func (a *auditLog) minute(principal string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.denied[principal]
	if r == nil || a.closed {
		return
	}
	if r.count == 0 {
		delete(a.denied, principal)
		return
	}
	e := r.last
	e.Resource = fmt.Sprintf("%s (%d refused in a minute, this is the last)", e.Resource, r.count)
	r.count = 0
	r.timer.Reset(a.every)
	a.put(e)
}

func (a *auditLog) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	for _, r := range a.denied {
		r.timer.Stop()
	}
}

// run writes until ctx ends, and then what waits still.
func (a *auditLog) run(ctx context.Context) error {
	defer a.close()
	if err := a.list(ctx); err != nil && ctx.Err() == nil {
		a.logger.Warn("audit log not read", "error", err)
	}
	for {
		select {
		case e := <-a.queue:
			a.write(ctx, e)
		case <-ctx.Done():
			a.drain(context.WithoutCancel(ctx))
			return nil
		}
	}
}

func (a *auditLog) drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, auditDrain)
	defer cancel()
	for ctx.Err() == nil {
		select {
		case e := <-a.queue:
			a.write(ctx, e)
		default:
			return
		}
	}
}

// list finds out what is kept.
func (a *auditLog) list(ctx context.Context) error {
	rows, _, err := a.entries.List(ctx)
	if err != nil && !errors.Is(err, store.ErrUnreadable) {
		return err
	}
	a.keys = nil
	for _, r := range rows {
		n := 0
		if _, err := fmt.Sscanf(r.Key, "%d", &n); err != nil {
			a.logger.Warn("audit entry with a strange key", "key", r.Key)
		}
		a.keys, a.next = append(a.keys, r.Key), max(a.next, n)
	}
	return nil
}

// write keeps one entry. A commit that failed may have been done, so that
// what is kept is looked up before the second and last try.
func (a *auditLog) write(ctx context.Context, e auth.AuditEntry) {
	err := a.commit(ctx, e)
	if err != nil {
		if err = a.list(ctx); err == nil {
			err = a.commit(ctx, e)
		}
	}
	if err != nil {
		a.logger.Warn("audit entry not kept", "action", e.Action, "resource", e.Resource, "error", err)
	}
}

func (a *auditLog) commit(ctx context.Context, e auth.AuditEntry) error {
	a.next++
	key := fmt.Sprintf("%012d", a.next)
	ops := []store.Op{a.entries.OpCreate(key, e)}
	if len(a.keys) >= a.kept {
		ops = append(ops, a.entries.OpDelete(a.keys[0], store.AnyRevision))
	}
	if _, err := a.store.Commit(ctx, ops...); err != nil {
		return err
	}
	a.keys = append(a.keys, key)
	if len(ops) > 1 {
		a.keys = a.keys[1:]
	}
	return nil
}
