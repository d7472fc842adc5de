package master

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/topology"
)

// Peers asks the other masters.
type Peers interface {
	// Inquire asks a node through the master that it is attached to.
	Inquire(ctx context.Context, master string, q workload.Inquiry) (*workload.StatsAnswer, error)
}

// freshSign is how old a heartbeat may be that another master tells of and that
// still counts as a sign of life now.
const freshSign = 2 * time.Second

// presences is what the masters tell each other of the nodes that are attached
// to them, so that each knows of all. Nothing of it is stored.
type presences struct {
	mu sync.Mutex
	// followers are the other masters that listen here.
	followers map[*follower]bool
	// away is where nodes are attached, by master, as the others say.
	away map[string]map[string]bool
}

func newPresences() *presences {
	return &presences{followers: map[*follower]bool{}, away: map[string]map[string]bool{}}
}

// follower is another master that listens. What it is to be told waits as one
// mark per node, so that a slow one costs no memory.
type follower struct {
	wake chan struct{}
	mu   sync.Mutex
	mark map[string]bool
}

func (f *follower) tell(id string) {
	f.mu.Lock()
	f.mark[id] = true
	f.mu.Unlock()
	trigger(f.wake)
}

func (f *follower) take() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]string, 0, len(f.mark))
	for id := range f.mark {
		out = append(out, id)
	}
	clear(f.mark)
	return out
}

// changed tells the other masters of a node.
func (p *presences) changed(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for f := range p.followers {
		f.tell(id)
	}
}

// where is the other master that a node is attached to, empty for none.
func (p *presences) where(id string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	for master, nodes := range p.away {
		if nodes[id] {
			return master
		}
	}
	return ""
}

// note keeps whether a node is attached to another master, and returns whether
// it was.
func (p *presences) note(master, id string, attached bool) (before bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	nodes := p.away[master]
	if nodes == nil {
		nodes = map[string]bool{}
		p.away[master] = nodes
	}
	before = nodes[id]
	if attached {
		nodes[id] = true
	} else {
		delete(nodes, id)
	}
	return before
}

// FollowPresence tells another master of every node that is attached here, and
// then of every change.
func (m *Master) FollowPresence(ctx context.Context, master string, send func(workload.Presence) error) error {
	if err := m.fellow(ctx, master); err != nil {
		return fmt.Errorf("follow presence: %w", err)
	}
	f := &follower{wake: make(chan struct{}, 1), mark: map[string]bool{}}
	m.presences.mu.Lock()
	m.presences.followers[f] = true
	m.presences.mu.Unlock()
	defer func() {
		m.presences.mu.Lock()
		defer m.presences.mu.Unlock()
		delete(m.presences.followers, f)
	}()
	for _, s := range m.sessions.all() {
		f.tell(s.hello.Node)
	}
	for {
		select {
		case <-f.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
		for _, id := range f.take() {
			if err := send(m.presence(id)); err != nil {
				return err
			}
		}
	}
}

// presence is what this master says of a node.
func (m *Master) presence(id string) workload.Presence {
	p := workload.Presence{Node: id, Attached: m.sessions.get(id) != nil}
	if l, ok := m.live.get(id); ok && !l.at.IsZero() && l.own {
		p.Heard, p.HeardAgo = true, max(0, m.o.Now().Sub(l.at))
		p.Heartbeat = workload.Heartbeat{Node: id, Usage: l.usage, AppliedRevision: l.applied, ApplyError: l.applyError}
	}
	return p
}

// TakePresence takes the word of another master.
func (m *Master) TakePresence(master string, p workload.Presence) {
	if _, ok := m.nodes.get(p.Node); !ok {
		return
	}
	before := m.presences.note(master, p.Node, p.Attached)
	if p.Heard && m.sessions.get(p.Node) == nil {
		m.live.heard(p.Heartbeat, m.o.Now().Add(-p.HeardAgo))
		m.publishNode(p.Node)
	}
	m.leading(func(o *office) {
		switch {
		case p.Attached && (!before || p.Heard && p.HeardAgo < freshSign):
			o.judge.alive(p.Node)
		case !p.Attached && before:
			o.monitor.suspect(p.Node, "session")
		}
	})
}

// LosePresence forgets what a master has said that is not heard any more. Its
// nodes attach elsewhere, or are lost with it.
func (m *Master) LosePresence(master string) {
	m.presences.mu.Lock()
	nodes := m.presences.away[master]
	delete(m.presences.away, master)
	m.presences.mu.Unlock()
	m.leading(func(o *office) {
		for id := range nodes {
			o.monitor.suspect(id, "session")
		}
	})
}

// attachedSomewhere reports whether a node has a session with any master.
func (m *Master) attachedSomewhere(id string) bool {
	return m.sessions.get(id) != nil || m.presences.where(id) != ""
}

// answers asks a node through its session, wherever that is.
func (m *Master) answers(ctx context.Context, id string) bool {
	if m.sessions.get(id) != nil {
		return m.sessions.ping(ctx, id)
	}
	master := m.presences.where(id)
	if master == "" || m.o.Peers == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	_, err := m.o.Peers.Inquire(ctx, master, workload.Inquiry{Node: id})
	return err == nil
}

var errNotAttached = errors.New("it is not attached")

// Inquire asks a node that is attached here, for another master.
func (m *Master) Inquire(ctx context.Context, master string, q workload.Inquiry) (*workload.StatsAnswer, error) {
	if err := m.fellow(ctx, master); err != nil {
		return nil, fmt.Errorf("inquire of node %s: %w", clip(q.Node), err)
	}
	if q.Stats {
		stats, err := m.ContainerStats(ctx, q.Node)
		if err != nil {
			return nil, err
		}
		return &workload.StatsAnswer{Stats: stats}, nil
	}
	if !m.sessions.ping(ctx, q.Node) {
		return nil, fmt.Errorf("inquire of node %s: %w, or does not answer", clip(q.Node), errNotAttached)
	}
	return nil, nil
}

// fellow refuses whoever is no master here any more, whatever its certificate
// says.
func (m *Master) fellow(ctx context.Context, id string) error {
	n, err := m.member(ctx, id)
	if err != nil {
		return err
	}
	if n.Role != topology.RoleMaster {
		return fmt.Errorf("%w: node %s is no master", auth.ErrDenied, n.Name)
	}
	return nil
}
