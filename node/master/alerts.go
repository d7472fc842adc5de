package master

import (
	"context"
	"errors"

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

// raise keeps an alert. One that stands already is not written again, unless
// its words changed.
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
	if _, _, err := m.alerts.collection.Put(ctx, a.ID, a); err != nil {
		m.o.Logger.Warn("alert not kept", "alert", a.Message, "error", err)
	}
}

// clear removes an alert that no longer stands.
func (m *Master) clear(ctx context.Context, id string) {
	if _, ok := m.alerts.get(id); !ok {
		return
	}
	if err := m.alerts.collection.Delete(ctx, id, store.AnyRevision); err != nil && !errors.Is(err, store.ErrNotFound) {
		m.o.Logger.Warn("alert not cleared", "alert", id, "error", err)
	}
}
