package master

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/topology"
)

// Attach keeps the session of one node until ctx ends, the node goes, or a
// newer session replaces it. connection names what carries it: only calls
// over the same one are the node's from now on.
func (m *Master) Attach(ctx context.Context, connection string, h workload.Hello, send func(workload.Notice) error, receive func() (workload.Answer, error)) error {
	if err := validHello(h); err != nil {
		return fmt.Errorf("attach node: %w", err)
	}
	if err := m.admitInTime(ctx, connection, h); err != nil {
		return err
	}
	var err error
	if h.AppliedRevision, err = m.knownRevision(h.Node, h.AppliedRevision); err != nil {
		return fmt.Errorf("attach node: %w", err)
	}
	var late sync.WaitGroup
	defer late.Wait()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	s := newSession(h, connection, end, m)
	m.sessions.put(s)
	m.presences.changed(h.Node)
	defer m.detach(s)
	// send may hang on a peer that takes nothing.
	defer context.AfterFunc(ctx, func() { m.detach(s) })()
	// Whoever removed the node since it was admitted did not see this session.
	if _, err := m.member(ctx, h.Node); err != nil {
		return err
	}
	late.Go(func() { m.lateReports(ctx, s) })
	go func() { // ends with the connection: receive fails then
		for {
			a, err := receive()
			if err != nil {
				end(fmt.Errorf("connection of node %s ended: %w", h.Node, err))
				return
			}
			s.answer(a)
		}
	}()
	if err := m.attached(ctx, h); err != nil {
		return err
	}
	s.tellView()
	s.tellKeyring()
	if p, ok := m.plans.get(h.Node); ok && p.Revision > h.AppliedRevision {
		s.post(workload.Notice{PlanRevision: p.Revision})
	}
	for {
		select {
		case <-s.wake:
		case <-ctx.Done():
		}
		for _, n := range s.take() {
			if ctx.Err() != nil {
				break
			}
			if err := send(n); err != nil {
				return err
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// admitInTime admits a node at its pace. One that comes and goes all the time
// waits, and is refused when that takes too long.
func (m *Master) admitInTime(ctx context.Context, connection string, h workload.Hello) error {
	for {
		n, err := m.admit(ctx, connection, h)
		if err != nil {
			return err
		}
		wait := m.live.paces.of(h.Node).attaches.take(time.Now(), 1)
		if wait == 0 {
			return nil
		}
		if wait > attachMaxLag {
			return fmt.Errorf("attach node %s: %w", n.Name, topology.ErrTooOften)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// admit refuses nodes that do not belong here and second holders of an
// identity.
func (m *Master) admit(ctx context.Context, connection string, h workload.Hello) (topology.Node, error) {
	n, err := m.member(ctx, h.Node)
	if err != nil {
		return n, err
	}
	if n.MachineID != "" && h.MachineID != "" && n.MachineID != h.MachineID {
		return n, m.refuseIdentity(ctx, n, h.IP)
	}
	if old := m.sessions.get(h.Node); old != nil && old.connection == connection {
		return n, nil
	}
	// The same board after a power cut, or in another network, leaves a
	// session behind that nobody answers on; two boards both answer. What the
	// hello says of itself proves nothing: others can know it.
	if m.answers(ctx, h.Node) {
		return n, m.refuseIdentity(ctx, n, h.IP)
	}
	return n, nil
}

func (m *Master) refuseIdentity(ctx context.Context, n topology.Node, from string) error {
	m.raise(ctx, workload.Alert{
		Kind: identityInUse, Node: n.ID, Severity: workload.SeverityError,
		Message: fmt.Sprintf("a second machine at %s uses the identity of node %s and was refused", from, n.Name),
		Hint:    "if the board was copied or replaced: `piccolo reset` on the wrong one; if the identity was stolen: `piccolo node rm " + n.Name + "` and join the board anew",
	})
	return fmt.Errorf("refuse node %s from %s: %w; `piccolo reset` removes it here, then join anew", n.Name, from, topology.ErrIdentityInUse)
}

// attendee returns the record of a node that belongs to the cluster and the
// session that it has on this connection. A certificate alone is not enough:
// it may be a copy.
func (m *Master) attendee(ctx context.Context, connection, id string) (topology.Node, *session, error) {
	n, err := m.member(ctx, id)
	if err != nil {
		return n, nil, err
	}
	s := m.sessions.get(id)
	switch {
	case s != nil && s.connection == connection:
		return n, s, nil
	case s == nil || s.former == connection:
		return n, nil, fmt.Errorf("call of node %s: %w: it must attach first, over the same connection", n.Name, topology.ErrTransition)
	}
	from, _, err := net.SplitHostPort(connection)
	if err != nil {
		from = "another connection"
	}
	return n, nil, m.refuseIdentity(ctx, n, from)
}

// NextPlan is Plan for the node itself, over the connection of its session.
func (m *Master) NextPlan(ctx context.Context, connection, id string, applied int64, applyError string) (*workload.Plan, error) {
	n, _, err := m.attendee(ctx, connection, id)
	if err != nil {
		return nil, err
	}
	if applied, err = m.knownRevision(id, applied); err != nil {
		return nil, fmt.Errorf("fetch plan of node %s: %w", n.Name, err)
	}
	return m.Plan(ctx, id, applied, tidy(applyError, maxMessage))
}

// member returns the record of a node that belongs to the cluster, or the
// error that tells the node why not.
func (m *Master) member(ctx context.Context, id string) (topology.Node, error) {
	if r, ok := m.nodes.get(id); ok {
		switch r.Value.Status {
		case topology.StatusPending:
			return r.Value, fmt.Errorf("node %s waits for approval: %w", r.Value.Name, topology.ErrTransition)
		case topology.StatusTerminating:
			return r.Value, fmt.Errorf("%w: %s is being removed", topology.ErrRemoved, r.Value.Name)
		}
		return r.Value, nil
	}
	if _, err := m.nodes.collection.Get(ctx, id); errors.Is(err, store.ErrUnreadable) {
		return topology.Node{}, fmt.Errorf("find out whether node %s belongs here: %w", clip(id), err)
	}
	r, err := m.revoked.Get(ctx, id)
	switch {
	case err == nil:
		return topology.Node{}, r.Value.refusal()
	case !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrInvalid): // ErrInvalid: an id that no node can have
		return topology.Node{}, fmt.Errorf("find out whether node %s belongs here: %w", clip(id), err)
	}
	// Not ErrRemoved, which ends an agent for good: a store that was lost or
	// restored from an older copy knows less than the nodes.
	return topology.Node{}, fmt.Errorf("node %s is not known here: %w", clip(id), store.ErrNotFound)
}

// attached brings the record up to date with what the node said of itself
// and clears what its return disproves.
func (m *Master) attached(ctx context.Context, h workload.Hello) error {
	r, ok := m.nodes.get(h.Node)
	if ok && (r.Value.IP != h.IP || r.Value.GossipPort != h.GossipPort || r.Value.APIPort != h.APIPort || r.Value.Version != h.Version) {
		if _, err := m.changeNode(ctx, h.Node, func(n *topology.Node) error {
			n.IP, n.GossipPort, n.APIPort, n.Version = h.IP, h.GossipPort, h.APIPort, h.Version
			return nil
		}); err != nil {
			return err
		}
	}
	m.live.edit(h.Node, func(f *figures) { f.applied = h.AppliedRevision })
	if a, ok := m.alerts.get(alertID(identityInUse, h.Node)); ok && m.o.Now().Sub(a.Value.RaisedAt) > identityAlertKept {
		m.clear(ctx, a.Key)
	}
	if err := m.renewLease(ctx, h.Node); err != nil {
		return err
	}
	m.clear(ctx, alertID(degradedLink, h.Node))
	m.signOfLife(h.Node)
	return nil
}

// detach is the end of a session: the cheap witness speaks.
func (m *Master) detach(s *session) {
	if !m.sessions.remove(s) {
		return // a newer session has taken its place
	}
	m.presences.changed(s.hello.Node)
	m.leading(func(o *office) { o.monitor.suspect(s.hello.Node, "session") })
}
