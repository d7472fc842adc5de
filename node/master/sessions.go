package master

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/topology"
)

const (
	// pingTimeout bounds the question to a session whether its node lives: the
	// design's 300 ms for a confirmation.
	pingTimeout = 300 * time.Millisecond
	// maxQueries bounds the questions that wait to be sent down one session;
	// one more is refused.
	maxQueries = 16
)

// ErrIdentityInUse: another machine with the same identity is attached.
var ErrIdentityInUse = errors.New("this identity is in use by another machine")

// errReplaced ends a session whose node has opened a newer one.
var errReplaced = errors.New("replaced by a newer session of the same node")

// sessions holds the open session of each attached node.
type sessions struct {
	m       *Master
	counter atomic.Uint64

	mu   sync.Mutex
	open map[string]*session
}

func newSessions(m *Master) *sessions { return &sessions{m: m, open: map[string]*session{}} }

// session is one node's open connection. What is to be sent waits in a
// mailbox of one place per kind, where the newest replaces the older, so that
// a slow node costs no memory.
type session struct {
	hello workload.Hello
	end   context.CancelCauseFunc
	wake  chan struct{}

	mu      sync.Mutex
	plan    int64
	view    *workload.View
	keyring *workload.Keyring
	removed string
	queries []workload.Notice
	// waiting holds who asked, by the question's number.
	waiting map[uint64]chan workload.Answer
}

// Attach keeps the session of one node until ctx ends, the node goes, or a
// newer session replaces it.
func (m *Master) Attach(ctx context.Context, h workload.Hello, send func(workload.Notice) error, receive func() (workload.Answer, error)) error {
	if err := m.admit(ctx, h); err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	s := &session{hello: h, end: end, wake: make(chan struct{}, 1), waiting: map[uint64]chan workload.Answer{}}
	m.sessions.put(s)
	defer m.detach(s)
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
	view := m.view()
	s.post(workload.Notice{View: &view})
	if p, ok := m.plans.get(h.Node); ok && p.Revision > h.AppliedRevision {
		s.post(workload.Notice{PlanRevision: p.Revision})
	}
	for {
		select {
		case <-s.wake:
			for _, n := range s.take() {
				if err := send(n); err != nil {
					return err
				}
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// admit refuses nodes that do not belong here and second holders of an
// identity.
func (m *Master) admit(ctx context.Context, h workload.Hello) error {
	n, err := m.member(ctx, h.Node)
	if err != nil {
		return err
	}
	if n.MachineID != "" && h.MachineID != "" && n.MachineID != h.MachineID {
		return m.refuseIdentity(ctx, n, h)
	}
	old := m.sessions.get(h.Node)
	if old == nil || old.hello.Instance == h.Instance {
		return nil
	}
	// Another run of the daemon. The same board after a power cut leaves a
	// session behind that nobody answers on; two boards both answer.
	if m.sessions.ping(ctx, h.Node) {
		return m.refuseIdentity(ctx, n, h)
	}
	return nil
}

func (m *Master) refuseIdentity(ctx context.Context, n topology.Node, h workload.Hello) error {
	m.raise(ctx, workload.Alert{
		Kind: "IdentityInUse", Node: n.ID, Severity: workload.SeverityError,
		Message: fmt.Sprintf("a second machine at %s uses the identity of node %s and was refused", h.IP, n.Name),
		Hint:    "if the board was copied or replaced: `piccolo reset` on the wrong one; if the identity was stolen: `piccolo node rm " + n.Name + "` and join the board anew",
	})
	return fmt.Errorf("attach node %s from %s: %w; `piccolo reset` removes it here, then join anew: %w", n.Name, h.IP, ErrIdentityInUse, topology.ErrInvalid)
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
	if r, err := m.revoked.Get(ctx, id); err == nil {
		return topology.Node{}, r.Value.refusal()
	}
	return topology.Node{}, fmt.Errorf("%w: node %s is not known here", topology.ErrRemoved, id)
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
	if err := m.renewLease(ctx, h.Node); err != nil {
		return err
	}
	return m.returned(ctx, h.Node)
}

// detach is the end of a session: the cheap witness speaks.
func (m *Master) detach(s *session) {
	if !m.sessions.remove(s) {
		return // a newer session has taken its place
	}
	m.monitor.sessionEnded(s.hello.Node)
}

func (s *sessions) put(n *session) {
	s.mu.Lock()
	old := s.open[n.hello.Node]
	s.open[n.hello.Node] = n
	s.mu.Unlock()
	if old != nil {
		old.end(errReplaced)
	}
}

func (s *sessions) remove(n *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[n.hello.Node] != n {
		return false
	}
	delete(s.open, n.hello.Node)
	return true
}

func (s *sessions) get(id string) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open[id]
}

func (s *sessions) all() []*session {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*session, 0, len(s.open))
	for _, n := range s.open {
		out = append(out, n)
	}
	return out
}

// notify reports whether the node has a session to be told through.
func (s *sessions) notify(id string, n workload.Notice) bool {
	open := s.get(id)
	if open == nil {
		return false
	}
	return open.post(n)
}

// ask sends a question down the node's session and waits for its answer until
// ctx ends.
func (s *sessions) ask(ctx context.Context, id string, question func(number uint64) workload.Notice) (workload.Answer, error) {
	open := s.get(id)
	if open == nil {
		return workload.Answer{}, errors.New("it is not attached")
	}
	number, answered := s.counter.Add(1), make(chan workload.Answer, 1)
	open.mu.Lock()
	open.waiting[number] = answered
	open.mu.Unlock()
	defer func() {
		open.mu.Lock()
		delete(open.waiting, number)
		open.mu.Unlock()
	}()
	if !open.post(question(number)) {
		return workload.Answer{}, fmt.Errorf("%d questions wait already", maxQueries)
	}
	select {
	case a := <-answered:
		return a, nil
	case <-ctx.Done():
		return workload.Answer{}, ctx.Err()
	}
}

// ping reports whether the node answers through its open session now.
func (s *sessions) ping(ctx context.Context, id string) bool {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	_, err := s.ask(ctx, id, func(n uint64) workload.Notice { return workload.Notice{Ping: n} })
	return err == nil
}

// ContainerStats asks a node for the figures of its containers.
func (m *Master) ContainerStats(ctx context.Context, id string) (map[string]workload.ContainerStats, error) {
	a, err := m.sessions.ask(ctx, id, func(n uint64) workload.Notice { return workload.Notice{StatsQuery: n} })
	switch {
	case err != nil:
		return nil, fmt.Errorf("ask node %s for figures: %w", id, err)
	case a.Stats == nil:
		return nil, fmt.Errorf("ask node %s for figures: its answer has none", id)
	case a.Stats.Error != "":
		return nil, fmt.Errorf("ask node %s for figures: %s", id, a.Stats.Error)
	}
	return a.Stats.Stats, nil
}

// post puts a notice into the mailbox; false when it has no place.
func (s *session) post(n workload.Notice) bool {
	s.mu.Lock()
	switch {
	case n.View != nil:
		s.view = n.View
	case n.Keyring != nil:
		s.keyring = n.Keyring
	case n.Removed != "":
		s.removed = n.Removed
	case n.PlanRevision != 0:
		s.plan = max(s.plan, n.PlanRevision)
	case len(s.queries) >= maxQueries:
		s.mu.Unlock()
		return false
	default:
		s.queries = append(s.queries, n)
	}
	s.mu.Unlock()
	trigger(s.wake)
	return true
}

// take empties the mailbox, the most urgent first.
func (s *session) take() []workload.Notice {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.queries
	s.queries = nil
	if s.removed != "" {
		out = append(out, workload.Notice{Removed: s.removed})
		s.removed = ""
	}
	if s.keyring != nil {
		out = append(out, workload.Notice{Keyring: s.keyring})
		s.keyring = nil
	}
	if s.plan != 0 {
		out = append(out, workload.Notice{PlanRevision: s.plan})
		s.plan = 0
	}
	if s.view != nil {
		out = append(out, workload.Notice{View: s.view})
		s.view = nil
	}
	return out
}

// answer hands an answer to whoever asked; nobody waits for a late one.
func (s *session) answer(a workload.Answer) {
	number := a.Pong
	if a.Stats != nil {
		number = a.Stats.Query
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.waiting[number]; ok {
		delete(s.waiting, number)
		c <- a
	}
}
