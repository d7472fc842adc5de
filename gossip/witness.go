package gossip

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// settling is how long memberlist's word is held back that may come from a stall of this node.
	settling = 3 * time.Second
	// company is how many others are asked at the same time as one that is silent: if they are silent too, it is this
	// node that hears nobody.
	company = 2
)

// witness beats for this node's watchers and listens for those that it watches. One that has missed its beats is
// asked; one that doesn't answer either is told to the observers.
type witness struct {
	m     *Mesh
	beats time.Duration // between two beats
	born  time.Time
	wake  chan struct{} // capacity 1: somebody's time may be over

	turns atomic.Int64 // when it has its next turn at the latest, in nanoseconds since born
	woke  atomic.Int64 // when the last stall of this node ended; 0 for never

	mu       sync.Mutex // guards what follows
	timer    *time.Timer
	next     time.Time // of the next beat
	deaf     time.Time // when this node last found that it hears nobody
	view     uint64    // the digest of this node's
	watchers []Member
	subjects map[string]*subject
}

// subject is a node that this one listens for: because the ring says so, or because it beats for this node, whose ring
// may be another yet.
type subject struct {
	limit time.Duration      // of its silence
	due   time.Time          // when it is asked
	mine  bool               // by this node's ring
	deaf  bool               // its last beat said so
	tell  bool               // that it is, at the next look, even if it hears again: packets may overtake each other
	stop  context.CancelFunc // ends the question under way; nil without
	views difference
}

// heard begins a new time of silence. Its last third is for asking.
func (s *subject) heard() {
	s.due, s.deaf = time.Now().Add(s.limit-s.limit/3), false
	if s.stop != nil {
		s.stop()
		s.stop = nil
	}
}

// asking is how it is asked, six times.
func (s *subject) asking() asking { return asking{s.limit / 18, s.limit / 3} }

func newWitness(m *Mesh) *witness {
	return &witness{m: m, beats: m.tune.beat, born: time.Now(), wake: make(chan struct{}, 1), subjects: map[string]*subject{}}
}

// run works until ctx ends.
func (w *witness) run(ctx context.Context, r *running) {
	w.mu.Lock()
	w.timer = time.NewTimer(0)
	w.turns.Store(int64(time.Since(w.born)))
	w.mu.Unlock()
	defer w.timer.Stop()
	w.turn()
	for {
		select {
		case <-w.timer.C:
		case <-w.wake:
		case <-w.m.view.turned:
			w.turn()
		case <-ctx.Done():
			return
		}
		w.look(ctx, r)
	}
}

// turn brings the subjects in line with the ring. Who is new may take its whole time to beat. A new watcher gets its
// first beat now.
func (w *witness) turn() {
	g, self := w.m.view.ring(w.m.self())
	view := g.digest(w.m.raw)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.view, w.watchers = view, g.watchers(self)
	w.next = time.Time{}
	for _, s := range w.subjects {
		s.mine = false
	}
	for _, o := range g.subjects(w.m.opts.ID) {
		s := w.subjects[o.ID]
		if s == nil {
			s = &subject{limit: w.limit(o.Meta.Profile.tuning().silence)}
			s.heard()
			w.subjects[o.ID] = s
		}
		s.mine = true
	}
	for id, s := range w.subjects {
		if _, lives := w.m.view.member(id); !s.mine && !lives {
			s.end()
			delete(w.subjects, id)
		}
	}
}

func (s *subject) end() {
	if s.stop != nil {
		s.stop()
	}
}

// limit is the slower end's: a link is as good as its worse end.
func (w *witness) limit(theirs time.Duration) time.Duration { return max(theirs, w.m.tune.silence) }

// heard takes in a beat. If this node's own is nearly due it goes out now: soon all nodes beat at the same moment, and
// each wakes up once for all of them. A wake-up costs more than the packets.
func (w *witness) heard(r *running, b beat, from netip.AddrPort) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.subjects[b.id]
	if s == nil {
		if len(w.subjects) >= maxPeers || w.timer == nil {
			return
		}
		s = &subject{}
		w.subjects[b.id] = s
	}
	s.limit = w.limit(b.limit)
	switch {
	case !b.deaf || w.stalled(s.limit): // it could not hear this node, which was stalled
		s.heard()
	case !s.deaf:
		s.deaf, s.tell = true, true
		kick(w.wake)
	}
	if s.views.due(w.view, b.view, w.beats) {
		w.m.exchange(r, b.id, from)
	}
	if time.Until(w.next) < w.beats/4 {
		w.beat(r)
	}
}

// beat sends a beat to every watcher. The caller holds mu.
func (w *witness) beat(r *running) {
	now := time.Now()
	w.feel(now)
	b := beat{w.m.opts.ID, w.m.tune.silence, w.view, w.isDeaf(r)}.encode()
	for _, o := range w.watchers {
		_ = r.wire.send(o.Addr, b) // a beat that could not be sent is a beat that was lost
	}
	w.next = now.Add(w.beats)
	w.turns.Store(int64(w.next.Sub(w.born)))
	w.arm()
}

// feel notices a stall of this node: its turn came late.
func (w *witness) feel(now time.Time) {
	if at := now.Sub(w.born); at-time.Duration(w.turns.Load()) > lateness {
		w.woke.Store(int64(at))
	}
}

// stalled reports whether this node is stalled, or was less than d ago. It takes no lock.
func (w *witness) stalled(d time.Duration) bool {
	now, woke := time.Since(w.born), time.Duration(w.woke.Load())
	return now-time.Duration(w.turns.Load()) > lateness || woke > 0 && now-woke < d
}

// doubts reports whether what memberlist says may come from a stall of this node.
func (w *witness) doubts() bool { return w.stalled(w.m.tune.suspecting()) }

// isDeaf reports whether nothing has come in since this node found itself deaf. The caller holds mu.
func (w *witness) isDeaf(r *running) bool { return !w.deaf.IsZero() && !r.wire.heardSince(w.deaf) }

// arm sets the timer to the next beat, or to whoever is due before. The caller holds mu.
func (w *witness) arm() {
	first := w.next
	for _, s := range w.subjects {
		if s.stop == nil && s.due.Before(first) {
			first = s.due
		}
	}
	w.timer.Reset(time.Until(first))
}

// look beats if it is time, and asks whoever is due.
func (w *witness) look(ctx context.Context, r *running) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if !now.Before(w.next) {
		w.beat(r)
	}
	for id, s := range w.subjects {
		if s.tell {
			s.tell = false
			w.m.tell(ctx, r, id, s.asking())
		}
		if s.stop != nil || now.Before(s.due) {
			continue
		}
		o, lives := w.m.view.member(id)
		if !lives {
			delete(w.subjects, id)
			continue
		}
		asking, stop := context.WithCancel(ctx)
		s.stop = stop
		how, began := s.asking(), now
		r.wg.Go(func() {
			defer stop()
			w.keepCompany(asking, r, id, how)
			err := w.m.here(asking, r, id, o.Addr, how)
			if errors.Is(err, ErrUnreachable) && w.m.unplugged() {
				err = ErrNoPath
			}
			w.settle(ctx, r, o, s, began, err)
		})
	}
	w.arm()
}

// keepCompany asks a few others whether they are there, until ctx ends.
func (w *witness) keepCompany(ctx context.Context, r *running, id string, how asking) {
	for _, o := range w.m.view.others(company, id) {
		r.wg.Go(func() { _ = w.m.here(ctx, r, o.ID, o.Addr, how) })
	}
}

// settle takes in what became of a question.
func (w *witness) settle(ctx context.Context, r *running, o Member, s *subject, began time.Time, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.subjects[o.ID] != s || s.stop == nil || errors.Is(err, context.Canceled) {
		return // it has beaten meanwhile, or is none of ours any more
	}
	s.stop = nil
	deaf := !r.wire.heardSince(began)
	switch {
	case err == nil:
		s.heard()
		w.m.reached(o.ID)
	case !errors.Is(err, ErrUnreachable):
		s.due = time.Now().Add(s.limit / 3) // this machine was stalled or has no way: that says nothing
	default:
		s.due = time.Now().Add(2 * s.limit)
		w.suspect(ctx, r, o, s, deaf)
	}
	if !s.mine {
		delete(w.subjects, o.ID) // it lives and beats for others, or has been told
	}
	kick(w.wake)
}

// suspect tells that a subject is silent. The caller holds mu.
func (w *witness) suspect(ctx context.Context, r *running, o Member, s *subject, deaf bool) {
	if deaf {
		w.deaf, w.next = time.Now(), time.Time{} // say so at once
		w.m.tellSelf(o.ID)
		return
	}
	w.m.tell(ctx, r, o.ID, s.asking())
	r.wg.Go(func() { _ = w.m.Reach(ctx, o.ID, o.Addr) }) // perhaps it is only this link: Reach takes note of that
}
