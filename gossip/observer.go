package gossip

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Unwatched is in place of a witness in a [Silent] event: those who would tell of the member are silent themselves.
const Unwatched = "its watchers are gone"

// maxObservers bounds SetObservers.
const maxObservers = 16

// observer is what is told of silences: to the nodes that SetObservers names, by all nodes that watch somebody.
type observer struct {
	m    *Mesh
	wake chan struct{} // capacity 1: somebody is silent

	mu     sync.Mutex
	ids    []string             // who is told
	silent map[string]time.Time // until when each is held for silent unless it is told again
	seen   map[string]uint64    // the last report of each witness of each node
}

func newObserver(m *Mesh) *observer {
	return &observer{m: m, wake: make(chan struct{}, 1), silent: map[string]time.Time{}, seen: map[string]uint64{}}
}

// SetObservers names the nodes that are told of silences, by id: the masters. At most 16. This node tells itself where
// it is one of them.
func (m *Mesh) SetObservers(ids []string) error {
	if len(ids) > maxObservers {
		return fmt.Errorf("set gossip observers: %w: %d nodes, at most %d", ErrInvalid, len(ids), maxObservers)
	}
	for _, id := range ids {
		if err := checkID(id); err != nil {
			return fmt.Errorf("set gossip observers: %q: %w", id, err)
		}
	}
	m.observer.mu.Lock()
	defer m.observer.mu.Unlock()
	m.observer.ids = slices.Clone(ids)
	return nil
}

func (o *observer) all() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.ids
}

// tell tells every observer that a node is silent: by a small packet that is repeated until it is acknowledged.
func (m *Mesh) tell(ctx context.Context, r *running, id string, how asking) {
	m.tellSelf(id)
	how.span *= 6
	for _, to := range m.observer.all() {
		if o, _ := m.view.member(to); o.Addr.IsValid() && to != id {
			q := message{Kind: kindSilent, To: to, From: m.opts.ID, About: id}
			r.wg.Go(func() { _, _ = m.ask(ctx, r, o.Addr, q, how) })
		}
	}
}

// tellSelf tells only this node, where it is an observer.
func (m *Mesh) tellSelf(id string) {
	if slices.Contains(m.observer.all(), m.opts.ID) {
		m.observer.note(id, m.opts.ID)
	}
}

// report takes in what a witness tells. The same report comes again when its acknowledgement was lost.
func (o *observer) report(id, by string, seq uint64) {
	o.mu.Lock()
	key := by + " " + id
	known := o.seen[key] == seq
	if len(o.seen) >= watched*maxPeers {
		clear(o.seen)
	}
	o.seen[key] = seq
	o.mu.Unlock()
	if !known {
		o.note(id, by)
	}
}

// note keeps a silence and tells of it.
func (o *observer) note(id, by string) {
	e, lives := o.m.view.member(id)
	if !lives {
		return // it has said goodbye, or is held for dead already
	}
	o.mu.Lock()
	o.silent[id] = time.Now().Add(5 * o.m.witness.limit(e.Meta.Profile.tuning().silence))
	o.mu.Unlock()
	o.m.view.silent(id, by)
	kick(o.wake)
}

// heard takes in a sign of life.
func (o *observer) heard(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.silent, id)
}

// run tells of those that nobody is left to watch, as long as that is so: at once, and then as often as a watcher
// would find them silent. It sleeps while nobody is silent.
func (o *observer) run(ctx context.Context) {
	told := map[string]time.Time{}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-o.wake:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		now := time.Now()
		for _, id := range o.unwatched(now) {
			if now.Sub(told[id]) >= o.m.tune.silence {
				told[id] = now
				o.m.view.silent(id, Unwatched)
			}
		}
		if o.anybody() {
			timer.Reset(o.m.tune.silence)
		} else {
			clear(told)
		}
	}
}

func (o *observer) anybody() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.silent) > 0
}

// unwatched forgets the silences that are over and gives whom nobody watches now.
func (o *observer) unwatched(now time.Time) []string {
	g, _ := o.m.view.ring(o.m.self())
	o.mu.Lock()
	defer o.mu.Unlock()
	for id, until := range o.silent {
		if now.After(until) {
			delete(o.silent, id)
		}
	}
	if len(o.silent) == 0 {
		return nil
	}
	return g.unwatched(o.m.opts.ID, func(id string) bool { _, is := o.silent[id]; return is })
}

// silent tells that a member is silent.
func (v *view) silent(id, by string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	e := v.members[id]
	if v.closed || e == nil || !e.lives() {
		return
	}
	v.tell(Event{Kind: Silent, Member: e.Member, By: by})
}
