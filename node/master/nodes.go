package master

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/topology"
)

// revocation is what remains of a node that was removed: its key is refused
// and its owner is told why.
type revocation struct {
	Name string    `json:"name"`
	At   time.Time `json:"at"`
	By   string    `json:"by"`
	Why  string    `json:"why"`
}

// refusal is the error that a removed node hears.
func (r revocation) refusal() error {
	return fmt.Errorf("%w: %s was %s by %s on %s", topology.ErrRemoved, r.Name, r.Why, r.By, r.At.UTC().Format(time.DateTime+" UTC"))
}

// changeNode is the only writer of a node's record after its creation. It
// returns once this master's own mirror has the change.
func (m *Master) changeNode(ctx context.Context, id string, change func(*topology.Node) error, opts ...store.WriteOption) (topology.Node, error) {
	var out topology.Node
	revision, _, err := m.nodes.collection.Modify(ctx, id, func(n *topology.Node) error {
		if err := change(n); err != nil {
			return err
		}
		out = n.Clone()
		return nil
	}, opts...)
	if err != nil {
		return out, err
	}
	return m.withLive(out), m.nodes.wait(ctx, revision)
}

// transition applies one signal in place.
func (m *Master) transition(n *topology.Node, signal topology.Signal, reasons topology.Reasons) error {
	next, err := topology.Apply(*n, signal, reasons, m.o.Now())
	if err != nil {
		return err
	}
	m.stampHeartbeat(&next)
	*n = next
	return nil
}

// stampHeartbeat takes the live figures of the moment along to the disk, where
// a change of status goes anyway.
func (m *Master) stampHeartbeat(n *topology.Node) {
	if l, ok := m.live.get(n.ID); ok && !l.at.IsZero() {
		at := l.at
		n.LastHeartbeat = &at
	}
}

// EditNode changes the labels or the log level of a node.
func (m *Master) EditNode(ctx context.Context, id string, edit func(*topology.Node) error) (topology.Node, error) {
	return m.changeNode(ctx, id, func(n *topology.Node) error {
		before := n.Clone()
		if err := edit(n); err != nil {
			return err
		}
		labels, level := n.Labels, n.LogLevel
		*n = before
		n.Labels, n.LogLevel = labels, level
		return nil
	})
}

// SignalNode carries out an administrator's signal.
func (m *Master) SignalNode(ctx context.Context, id string, signal topology.Signal, by string) (topology.Node, error) {
	switch signal {
	case topology.SignalRemove, topology.SignalRejected, topology.SignalExpired:
		return m.terminate(ctx, id, signal, by)
	}
	return m.changeNode(ctx, id, func(n *topology.Node) error { return m.transition(n, signal, n.Reasons) })
}

const (
	// terminateTries bounds the attempts against concurrent changes.
	terminateTries = 8
	// removedNotice is how long an agent has to hear that it is removed
	// before its session is ended.
	removedNotice = time.Second
)

// terminate ends a node's membership. Its agent is told to let go; a node that
// nobody is attached for has let go already.
func (m *Master) terminate(ctx context.Context, id string, signal topology.Signal, by string) (topology.Node, error) {
	n, gone, err := m.expel(ctx, id, signal, by)
	if err != nil {
		return n, err
	}
	s := m.sessions.get(id)
	if s == nil {
		return n, m.release(ctx, id)
	}
	s.post(workload.Notice{Removed: gone.refusal().Error()})
	time.AfterFunc(removedNotice, func() { s.end(topology.ErrRemoved) }) // its end, or the grace, releases the node
	return n, nil
}

// expel makes a node Terminating: its state, the revocation of its key and the
// replacement of the gossip keys are one write. A request that nobody decided
// on leaves no trace, and has never learned a key of the mesh.
func (m *Master) expel(ctx context.Context, id string, signal topology.Signal, by string) (topology.Node, revocation, error) {
	why := map[topology.Signal]string{topology.SignalRemove: "removed", topology.SignalRejected: "rejected"}[signal]
	var n topology.Node
	var gone revocation
	for try := 1; ; try++ {
		r, err := m.nodes.collection.Get(ctx, id)
		if err != nil {
			return n, gone, err
		}
		n = r.Value
		if err := m.transition(&n, signal, n.Reasons); err != nil {
			return n, gone, err
		}
		if err := m.mayGo(ctx, n); err != nil {
			return n, gone, err
		}
		ops := []store.Op{m.nodes.collection.OpUpdate(id, r.Revision, n)}
		if gone = (revocation{Name: n.Name, At: m.o.Now(), By: by, Why: why}); why != "" {
			ops = append(ops, m.revoked.OpCreate(id, gone))
		}
		if r.Value.Status != topology.StatusPending {
			due, err := m.opKeysDue(ctx)
			if err != nil {
				return n, gone, err
			}
			ops = append(ops, due)
		}
		revision, err := m.o.Store.Commit(ctx, ops...)
		if err == nil {
			return n, gone, m.nodes.wait(ctx, revision)
		}
		if !errors.Is(err, store.ErrConflict) || try == terminateTries {
			return n, gone, err
		}
	}
}

// release removes everything that the cluster keeps of a Terminating node,
// but for its revocation.
func (m *Master) release(ctx context.Context, id string, fence ...store.Op) error {
	for try := 1; ; try++ {
		err := m.releaseOnce(ctx, id, fence)
		// An alert or a report may come or go meanwhile.
		if try == terminateTries || !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
}

func (m *Master) releaseOnce(ctx context.Context, id string, fence []store.Op) error {
	r, err := m.nodes.collection.Get(ctx, id)
	if err != nil {
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		return err
	}
	if _, err := topology.Apply(r.Value, topology.SignalReleased, nil, m.o.Now()); err != nil {
		return err
	}
	ops := append(slices.Clone(fence), m.nodes.collection.OpDelete(id, r.Revision))
	if _, ok := m.plans.get(id); ok {
		ops = append(ops, m.plans.collection.OpDelete(id, store.AnyRevision))
	}
	if _, ok := m.reports.get(id); ok {
		ops = append(ops, m.reports.collection.OpDelete(id, store.AnyRevision))
	}
	for _, a := range m.alerts.all() {
		if a.Value.Node == id {
			ops = append(ops, m.alerts.collection.OpDelete(a.Key, store.AnyRevision))
		}
	}
	revision, err := m.o.Store.Commit(ctx, ops...)
	if err != nil {
		return fmt.Errorf("release node %s: %w", r.Value.Name, err)
	}
	return m.nodes.wait(ctx, revision)
}

// PutTopology replaces the cluster's name and configuration.
func (m *Master) PutTopology(ctx context.Context, t topology.ClusterTopology) (topology.ClusterTopology, error) {
	revision := t.Revision
	t.MasterNodes, t.SubNodes, t.Revision = nil, nil, 0
	if r, ok := m.cluster.get(clusterKey); ok && r.Revision == revision && reflect.DeepEqual(r.Value, t) {
		return m.Topology(), nil
	}
	var err error
	if revision != 0 {
		revision, err = m.cluster.collection.Update(ctx, clusterKey, revision, t)
	} else {
		revision, _, err = m.cluster.collection.Put(ctx, clusterKey, t)
	}
	if errors.Is(err, store.ErrConflict) {
		return t, fmt.Errorf("change topology: %w: it was changed since it was read: read it again, or leave its revision out", topology.ErrTransition)
	}
	if err != nil {
		return t, fmt.Errorf("change topology: %w", err)
	}
	if err := m.cluster.wait(ctx, revision); err != nil {
		return t, err
	}
	return m.Topology(), nil
}

// CreateToken keeps a new join token.
func (m *Master) CreateToken(ctx context.Context, r auth.JoinRecord) error {
	_, err := m.tokens.Create(ctx, r.ID, r)
	return err
}

// ListTokens returns all join tokens and forgets those that expired more than
// a day ago.
func (m *Master) ListTokens(ctx context.Context) ([]auth.JoinRecord, error) {
	rows, _, err := m.tokens.List(ctx)
	if err != nil && !errors.Is(err, store.ErrUnreadable) {
		return nil, err
	}
	out := []auth.JoinRecord{}
	for _, r := range rows {
		if m.o.Now().Sub(r.Value.ExpiresAt) > 24*time.Hour {
			if err := m.tokens.Delete(ctx, r.Key, r.Revision); err != nil && !errors.Is(err, store.ErrNotFound) {
				return nil, err
			}
			continue
		}
		out = append(out, r.Value)
	}
	return out, nil
}

// DeleteToken makes a join token worthless.
func (m *Master) DeleteToken(ctx context.Context, id string) error {
	if err := m.tokens.Delete(ctx, id, store.AnyRevision); err != nil {
		return fmt.Errorf("delete token: %w", err)
	}
	return nil
}
