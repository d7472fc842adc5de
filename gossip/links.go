package gossip

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"
)

// Link is a pair of living nodes of which From gets no answer from To: neither hears the other, or only one of them.
type Link struct{ From, To string }

const (
	// mendedAfter is the pause between two looks at a broken link.
	mendedAfter = 500 * time.Millisecond
	// mendTries is how often one look asks.
	mendTries = 3
	// stale is how many rounds of memberlist's probes a member may be without a direct answer before this node asks
	// it: a round probes every member once, in any order, and tells only of answers.
	stale = 2
)

// links are those of this node that are broken though both ends live.
type links struct {
	mu     sync.Mutex
	broken []string      // ids, sorted
	wake   chan struct{} // capacity 1: there are other ones
}

// Links gives the broken links between living nodes, sorted: those of this node, and what the others tell of theirs.
// Each end tells its own.
func (m *Mesh) Links() []Link {
	var out []Link
	for _, id := range m.links.all() {
		out = append(out, Link{m.opts.ID, id})
	}
	out = append(out, m.view.links()...)
	slices.SortFunc(out, func(a, b Link) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To)) })
	return out
}

func (l *links) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.broken)
}

// set takes in whether this node's link to another is broken. It reports whether that is news.
func (l *links) set(id string, broken bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, is := slices.BinarySearch(l.broken, id)
	switch {
	case is == broken || broken && len(l.broken) >= maxBroken:
		return false
	case broken:
		l.broken = slices.Insert(l.broken, at, id)
	default:
		l.broken = slices.Delete(l.broken, at, at+1)
	}
	kick(l.wake)
	return true
}

// linked takes in whether this node's link to a member works, and tells all of news.
func (m *Mesh) linked(id string, works bool) {
	if _, lives := m.view.member(id); (works || lives) && m.links.set(id, !works) {
		m.publish()
	}
}

// reached takes in a direct answer.
func (m *Mesh) reached(id string) {
	m.view.reached(id)
	m.observer.heard(id)
	m.linked(id, true)
}

// publish tells of this node's broken links.
func (m *Mesh) publish() {
	m.mu.Lock()
	defer m.mu.Unlock()
	raw, err := m.meta.encode(m.links.all())
	if err != nil {
		return // cannot happen: the meta fits without them
	}
	m.rawMeta = raw
	kick(m.metaChanged)
	kick(m.view.turned)
	m.view.rewired()
}

// watchLinks looks after broken links until they are mended, and for others: those of members that have not answered
// without help for long, and those of which the other end tells. It ends with ctx.
func (m *Mesh) watchLinks(ctx context.Context, r *running) {
	for {
		pause := stale * m.tune.probe
		broken := m.links.all()
		if len(broken) > 0 {
			pause = mendedAfter
		}
		timer := time.NewTimer(pause)
		var doubtful []Member
		select {
		case <-timer.C:
			m.mend(ctx, r, broken)
			others := m.view.population() - 1
			doubtful = m.view.distant(stale * time.Duration(others) * m.tune.probe)
		case <-m.view.accused:
			doubtful = m.view.accusers()
		case <-m.links.wake:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
		for _, o := range doubtful {
			if !slices.Contains(broken, o.ID) {
				_ = m.Reach(ctx, o.ID, o.Addr) // it takes note
			}
		}
	}
}

// mend asks over the broken links.
func (m *Mesh) mend(ctx context.Context, r *running, broken []string) {
	var wg sync.WaitGroup
	for _, id := range broken {
		o, lives := m.view.member(id)
		if !lives {
			m.linked(id, true) // there is no link to speak of
			continue
		}
		wg.Go(func() {
			span := m.link(id).reach / 2
			if m.here(ctx, r, id, o.Addr, asking{span / mendTries, span}) == nil {
				m.reached(id)
			}
		})
	}
	wg.Wait()
}

// links gives what living members tell of their links to living ones.
func (v *view) links() (out []Link) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, e := range v.members {
		for _, to := range e.broken {
			if o := v.members[to]; e.State == Alive && (to == v.self || o != nil && o.State == Alive) {
				out = append(out, Link{e.ID, to})
			}
		}
	}
	return out
}

// accusers gives the living members that say they don't reach this node.
func (v *view) accusers() []Member {
	return v.some(func(e *entry) bool { return e.lives() && slices.Contains(e.broken, v.self) })
}

// rewired tells that this node's broken links are others.
func (v *view) rewired() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.closed {
		v.tell(Event{Kind: Rewired})
	}
}

// reached takes in a direct answer.
func (v *view) reached(id string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if e := v.members[id]; e != nil {
		e.direct = time.Now()
	}
}

// distant gives the living that have been without a direct answer for longer than d.
func (v *view) distant(d time.Duration) []Member {
	return v.some(func(e *entry) bool {
		return e.lives() && time.Since(e.Since) > d && time.Since(e.direct) > d
	})
}
