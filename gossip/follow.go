package gossip

import (
	"cmp"
	"context"
	"slices"
	"sync"
)

// follower is one reader's queue. Its bound is one presence event, one conflict and one silence per known node, and one
// change of links: a newer event takes the place of an older one of the same node that hasn't been read.
type follower struct {
	ready chan struct{} // capacity 1

	mu    sync.Mutex
	order []slot
	held  map[slot]Event
}

// slot is a place in the queue: one for presence (kind 0), one each for a conflict, a silence and the links.
type slot struct {
	id   string
	kind Kind
}

func (f *follower) put(e Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := slot{id: e.Member.ID}
	switch e.Kind {
	case Conflict, Silent, Rewired:
		s.kind = e.Kind
	}
	old, waiting := f.held[s]
	if !waiting {
		f.order = append(f.order, s)
	}
	if waiting && old.Kind == Joined && e.Kind == Updated {
		e.Kind = Joined // the reader hasn't heard of the arrival yet
	}
	f.held[s] = e
	kick(f.ready)
}

func (f *follower) take() (Event, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.order) == 0 {
		return Event{}, false
	}
	s := f.order[0]
	f.order = f.order[1:]
	e := f.held[s]
	delete(f.held, s)
	return e, true
}

// Follow calls fn with every event until ctx ends, whose error it returns: first one event per member that is known
// now (marked Snapshot, sorted by id), then the changes in order. fn runs in the caller's goroutine and may take its
// time: a reader that falls behind gets, per node, only the newest event, so it may miss a loss that has healed
// meanwhile, but never what is so at the end. Follow may be called before Run and ends with ctx alone, not with Run.
func (m *Mesh) Follow(ctx context.Context, fn func(Event)) error {
	f := &follower{ready: make(chan struct{}, 1), held: map[slot]Event{}}
	m.view.follow(f)
	defer m.view.unfollow(f)
	for {
		for ctx.Err() == nil {
			e, ok := f.take()
			if !ok {
				break
			}
			fn(e)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-f.ready:
		}
	}
}

func (v *view) follow(f *follower) {
	v.mu.Lock()
	defer v.mu.Unlock()
	all := make([]Event, 0, len(v.members))
	for _, e := range v.members {
		kind := Joined
		switch e.State {
		case Lost:
			kind = Died
		case Left:
			kind = Departed
		}
		all = append(all, Event{Kind: kind, Member: e.Member, Snapshot: true})
	}
	slices.SortFunc(all, func(a, b Event) int { return cmp.Compare(a.Member.ID, b.Member.ID) })
	for _, e := range all {
		f.put(e)
	}
	v.followers[f] = struct{}{}
}

func (v *view) unfollow(f *follower) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.followers, f)
}
