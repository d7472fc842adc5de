package master

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"piccolo.io/piccolo/node/workload"
)

const (
	// pingTimeout bounds the question to a session whether its node lives: the
	// design's 300 ms for a confirmation.
	pingTimeout = 300 * time.Millisecond
	// maxQueries bounds the questions that wait to be sent down one session;
	// one more is refused.
	maxQueries = 16
)

// errReplaced ends a session whose node has opened a newer one.
var errReplaced = errors.New("replaced by a newer session of the same node")

// sessions holds the open session of each attached node.
type sessions struct {
	m       *Master
	counter atomic.Uint64
	// registering has one place: registrations go one after the other, so
	// that a name is taken once.
	registering chan struct{}

	mu   sync.Mutex
	open map[string]*session
}

func newSessions(m *Master) *sessions {
	return &sessions{m: m, registering: make(chan struct{}, 1), open: map[string]*session{}}
}

// session is one node's open connection. What is to be sent waits in a
// mailbox of one place per kind, where the newest replaces the older, so that
// a slow node costs no memory.
type session struct {
	hello workload.Hello
	told  news
	// connection is the one that carries the session, and former the one that
	// carried the session before, whose last calls may still be on their way.
	connection, former string
	end                context.CancelCauseFunc
	wake               chan struct{}
	// reporting has one place, for whoever keeps a report; overdue says that
	// one waits.
	reporting, overdue chan struct{}

	mu sync.Mutex
	// report waits for its node's pace, at this cost.
	report *workload.Report
	cost   int
	plan   int64
	// view and keyring are to be told, as they are when that is done.
	view, keyring bool
	removed       string
	queries       []workload.Notice
	// waiting holds who asked, by the question's number.
	waiting map[uint64]chan workload.Answer
}

// news is what every node is told, as it is now.
type news interface {
	view() workload.View
	keyring() workload.Keyring
}

func newSession(h workload.Hello, connection string, end context.CancelCauseFunc, told news) *session {
	return &session{
		hello: h, told: told, connection: connection, end: end, wake: make(chan struct{}, 1), reporting: make(chan struct{}, 1), overdue: make(chan struct{}, 1),
		waiting: map[uint64]chan workload.Answer{},
	}
}

func (s *sessions) put(n *session) {
	s.mu.Lock()
	old := s.open[n.hello.Node]
	if old != nil && old.connection != n.connection {
		n.former = old.connection
	}
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
	if master := m.presences.where(id); m.sessions.get(id) == nil && master != "" && m.o.Peers != nil {
		a, err := m.o.Peers.Inquire(ctx, master, workload.Inquiry{Node: id, Stats: true})
		if err != nil {
			return nil, fmt.Errorf("ask node %s for figures: %w", id, err)
		}
		return a.Stats, nil
	}
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

// tellView has the node told what the cluster looks like.
func (s *session) tellView() {
	s.mu.Lock()
	s.view = true
	s.mu.Unlock()
	trigger(s.wake)
}

// tellKeyring has the node told the keys of the mesh.
func (s *session) tellKeyring() {
	s.mu.Lock()
	s.keyring = true
	s.mu.Unlock()
	trigger(s.wake)
}

// post puts a notice into the mailbox; false when it has no place.
func (s *session) post(n workload.Notice) bool {
	s.mu.Lock()
	switch {
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

// late replaces the report that waits, by nil too, and returns the old one.
func (s *session) late(r *workload.Report, cost int) *workload.Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.report
	s.report, s.cost = r, cost
	return old
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
	if s.keyring {
		keys := s.told.keyring()
		out = append(out, workload.Notice{Keyring: &keys})
		s.keyring = false
	}
	if s.plan != 0 {
		out = append(out, workload.Notice{PlanRevision: s.plan})
		s.plan = 0
	}
	if s.view {
		view := s.told.view()
		out = append(out, workload.Notice{View: &view})
		s.view = false
	}
	return out
}

// answer hands an answer to whoever asked; nobody waits for a late one.
func (s *session) answer(a workload.Answer) {
	number := a.Pong
	if a.Stats != nil {
		number = a.Stats.Query
		tidyStats(a.Stats)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.waiting[number]; ok {
		delete(s.waiting, number)
		c <- a
	}
}
