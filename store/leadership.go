package store

import (
	"context"
	"fmt"
	"sync"

	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/raft/v3"
)

// Leader is who leads the members, as one of them knows it.
type Leader struct {
	// Name of the member that leads. Empty: none is known, because an election is
	// under way or because this member cannot reach the others. A learner takes no
	// part in elections: it names the last leader until it hears of another.
	Name string
	// Term is raft's. It grows with every election and has at most one leader.
	Term uint64
	// Self: it is this member.
	Self bool
}

// leadership is what one goroutine (watchLeader) learns from raft for everybody
// else. Reading it asks etcd nothing.
type leadership struct {
	heard chan struct{} // raft has said something; capacity 1

	mu      sync.Mutex
	now     leaderView
	changed chan struct{} // closed at the next change
}

// leaderView is Leader with raft's own name for the member; 0: none.
type leaderView struct {
	Leader
	id uint64
}

// same reports whether both are of one leader's term, its name apart: that may be
// learnt later.
func (v leaderView) same(w leaderView) bool {
	return v.id == w.id && v.Term == w.Term && v.Self == w.Self
}

// succeeds reports whether v is a leader that has taken over from was.
func (v leaderView) succeeds(was leaderView) bool {
	return was.id != raft.None && v.id != raft.None && (v.id != was.id || v.Term != was.Term)
}

func newLeadership() *leadership {
	return &leadership{heard: make(chan struct{}, 1), changed: make(chan struct{})}
}

// hear never waits: it is called by raft.
func (l *leadership) hear() {
	select {
	case l.heard <- struct{}{}:
	default: // somebody is about to look anyway
	}
}

// get returns the present and a channel that is closed when it has passed.
func (l *leadership) get() (leaderView, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now, l.changed
}

func (l *leadership) set(v leaderView) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if v == l.now {
		return
	}
	l.now = v
	close(l.changed)
	l.changed = make(chan struct{})
}

// watchLeader looks at raft's state whenever raft has said something, until the
// member ends. It waits for no disk: a leader that has lost its office must learn
// it even while its card stalls.
func (m *Member) watchLeader() {
	defer m.leads.set(leaderView{})
	names := make(map[uint64]string)
	for {
		select {
		case <-m.life.Done():
			return
		case <-m.leads.heard:
		}
		s := m.node.Status()
		v := leaderView{id: s.Lead, Leader: Leader{Term: s.GetTerm(), Self: s.RaftState == raft.StateLeader}}
		if v.id != raft.None && names[v.id] == "" {
			if peer := m.etcd.Server.Cluster().Member(types.ID(v.id)); peer != nil {
				names[v.id] = peer.Name // a member's name never changes
			}
		}
		v.Name = names[v.id]
		m.leads.set(v)
	}
}

// Leader tells who leads, as this member knows it now: it asks nobody. One that
// was cut off names the old leader for up to two election timeouts.
func (m *Member) Leader() Leader {
	v, _ := m.leads.get()
	return v.Leader
}

// FollowLeader calls fn with who leads now and again after each change; of
// changes in quick succession it may see the last one only. fn runs in the
// caller's goroutine. It returns fn's error, nil when ctx ends, and ErrClosed
// when the member stops.
func (m *Member) FollowLeader(ctx context.Context, fn func(Leader) error) error {
	for {
		v, changed := m.leads.get()
		if ctx.Err() != nil {
			return nil
		}
		if m.life.Err() != nil {
			return fmt.Errorf("follow the leader: %w", ErrClosed)
		}
		if err := fn(v.Leader); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
		case <-m.life.Done():
		}
	}
}
