package master

import (
	"context"
	"errors"
	"time"

	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/store"
)

// alertID is the same for the same trouble of the same node, so that an alert
// that stands is one record.
func alertID(kind, node string) string {
	if node == "" {
		return kind
	}
	return kind + "-" + node
}

// degradedLink is the one kind of alert that flaps by its nature: gossip
// raises it and each sign of life clears it.
const degradedLink = "DegradedLink"

const (
	identityInUse = "IdentityInUse"
	// identityAlertKept is how long the refusal of a second holder of an
	// identity is shown at least; the node's next attach after that clears it.
	identityAlertKept = 24 * time.Hour
)

// mayWrite reports whether the alerts of a node may change now. One that may
// not is left as it is: what raises and clears alerts comes again.
func (m *Master) mayWrite(node string) bool {
	return node == "" || m.live.paces.of(node).alerts.take(time.Now(), 1) == 0
}

// raise keeps an alert. One that stands already is not written again, unless
// its words changed. The alert of a node's link comes once in linkAlertEvery.
func (m *Master) raise(ctx context.Context, a workload.Alert) {
	a.ID, a.RaisedAt = alertID(a.Kind, a.Node), m.o.Now()
	if n, ok := m.nodes.get(a.Node); ok {
		a.NodeName = n.Value.Name
	}
	if r, ok := m.alerts.get(a.ID); ok {
		if r.Value.Message == a.Message {
			return
		}
		a.RaisedAt = r.Value.RaisedAt
	}
	if a.Kind == degradedLink && !m.live.paces.link(a.Node, time.Now()) || !m.mayWrite(a.Node) {
		m.o.Logger.Debug("alert not written: its node's alerts change too often", "alert", a.ID)
		return
	}
	if _, _, err := m.alerts.collection.Put(ctx, a.ID, a); err != nil {
		m.o.Logger.Warn("alert not kept", "alert", a.Message, "error", err)
	}
}

// clear removes an alert that no longer stands.
func (m *Master) clear(ctx context.Context, id string) {
	if r, ok := m.alerts.get(id); !ok || !m.mayWrite(r.Value.Node) {
		return
	}
	if err := m.alerts.collection.Delete(ctx, id, store.AnyRevision); err != nil && !errors.Is(err, store.ErrNotFound) {
		m.o.Logger.Warn("alert not cleared", "alert", id, "error", err)
	}
}
