package gossip

import (
	"bytes"
	"cmp"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// maxGone bounds how many Lost and Left members are remembered; the oldest are forgotten first.
	maxGone = 128
	// lostDialled is how long a Lost member's address is dialled although SetPeers doesn't name it.
	lostDialled = 10 * time.Minute
)

// entry is a member with what only the view needs.
type entry struct {
	Member
	raw     []byte    // encoded meta
	broken  []string  // whom it says that it doesn't reach
	direct  time.Time // when it last answered this node without help
	goodbye bool      // this instance has announced that it leaves
	held    bool      // its death has not been told, because this node was stalled
}

// lives reports whether the member takes part.
func (e *entry) lives() bool { return e.State == Alive && !e.goodbye }

// view is what the mesh believes. memberlist calls into it while it holds its own lock, so nothing here blocks and
// nothing here calls memberlist.
type view struct {
	self    string
	doubts  func() bool   // is this node stalled? Must not block.
	changed chan struct{} // capacity 1: somebody came or went, look at the dial list
	turned  chan struct{} // capacity 1: the ring is another
	accused chan struct{} // capacity 1: somebody says that it doesn't reach this node

	mu        sync.Mutex
	closed    bool
	members   map[string]*entry
	followers map[*follower]struct{}
}

func newView(self string) *view {
	return &view{
		self:      self,
		doubts:    func() bool { return false },
		changed:   make(chan struct{}, 1),
		turned:    make(chan struct{}, 1),
		accused:   make(chan struct{}, 1),
		members:   map[string]*entry{},
		followers: map[*follower]struct{}{},
	}
}

// close makes the view deaf: memberlist's timers may still fire for a while after its shutdown.
func (v *view) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.closed = true
}

// alive takes in that a member is there, with this address and this encoded meta.
func (v *view) alive(id string, addr netip.AddrPort, raw []byte) {
	if id == v.self {
		return
	}
	meta, broken, _ := decodeMeta(raw) // unreadable is shown as zero: the member is no less alive
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return
	}
	e := v.members[id]
	if e == nil {
		e = &entry{Member: Member{ID: id}}
		v.members[id] = e
	}
	restarted := meta.Instance != e.Meta.Instance
	came := e.State != Alive && !e.held
	if e.State == Alive && bytes.Equal(raw, e.raw) && addr == e.Addr {
		return
	}
	if e.State != Alive || restarted {
		e.goodbye = e.goodbye && !restarted
		e.Since = time.Now()
	}
	updated, rewired := addr != e.Addr || meta != e.Meta, !slices.Equal(broken, e.broken)
	e.Addr, e.Meta, e.raw, e.broken, e.State, e.held = addr, meta, bytes.Clone(raw), broken, Alive, false
	switch {
	case came || restarted:
		v.tell(Event{Kind: Joined, Member: e.Member})
	case updated:
		v.tell(Event{Kind: Updated, Member: e.Member})
	}
	if rewired {
		v.tell(Event{Kind: Rewired})
		kick(v.accused)
	}
	v.kick()
}

// kick says that somebody came, went or changed.
func (v *view) kick() {
	kick(v.changed)
	kick(v.turned)
}

// gone takes in that memberlist holds a member for dead. If this node was stalled, memberlist's timers have run out
// over that: the member is dialled, and told dead only if it hasn't come back.
func (v *view) gone(id string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	e := v.members[id]
	if v.closed || e == nil || e.State != Alive {
		return
	}
	e.Since = time.Now()
	switch {
	case e.goodbye:
		e.State = Left
		v.tell(Event{Kind: Departed, Member: e.Member})
	case v.doubts():
		e.State, e.held = Lost, true
		time.AfterFunc(settling, func() { v.release(id) })
	default:
		e.State = Lost
		v.tell(Event{Kind: Died, Member: e.Member})
	}
	v.drop(e)
	v.trim()
	v.kick()
}

// release tells of a death that was held back, when this node has been well for a while.
func (v *view) release(id string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	e := v.members[id]
	switch {
	case v.closed || e == nil || !e.held:
	case v.doubts():
		time.AfterFunc(settling, func() { v.release(id) })
	default:
		e.held = false
		v.tell(Event{Kind: Died, Member: e.Member})
	}
}

// drop forgets what a member that is gone said of its links.
func (v *view) drop(e *entry) {
	if len(e.broken) > 0 {
		e.broken = nil
		v.tell(Event{Kind: Rewired})
	}
}

// goodbye takes in that one instance of a member leaves. It reports whether that was news worth passing on.
func (v *view) goodbye(id, instance string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	e := v.members[id]
	if v.closed || e == nil || e.goodbye || e.Meta.Instance != instance {
		return false
	}
	e.goodbye = true
	kick(v.turned)
	if e.State == Lost {
		e.State, e.held = Left, false
		v.tell(Event{Kind: Departed, Member: e.Member})
		kick(v.changed)
	}
	return true
}

// conflict tells everybody of two machines with one id.
func (v *view) conflict(id string, held, other netip.AddrPort) {
	v.mu.Lock()
	defer v.mu.Unlock()
	m := Member{ID: id, Addr: held, State: Alive}
	if e := v.members[id]; e != nil {
		m = e.Member
	}
	if !v.closed {
		v.tell(Event{Kind: Conflict, Member: m, Other: other})
	}
}

func (v *view) rtt(id string, d time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if e := v.members[id]; e != nil && !v.closed {
		e.RTT, e.direct = d, time.Now()
	}
}

// forget drops a member that is not alive.
func (v *view) forget(id string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if e := v.members[id]; e != nil && e.State != Alive {
		delete(v.members, id)
		kick(v.changed)
	}
}

func (v *view) trim() {
	gone := []*entry{}
	for _, e := range v.members {
		if e.State != Alive {
			gone = append(gone, e)
		}
	}
	if len(gone) <= maxGone {
		return
	}
	slices.SortFunc(gone, func(a, b *entry) int { return a.Since.Compare(b.Since) })
	for _, e := range gone[:len(gone)-maxGone] {
		delete(v.members, e.ID)
	}
}

// list gives the members sorted by id.
func (v *view) list() []Member {
	return v.some(func(*entry) bool { return true })
}

// living gives those that take part.
func (v *view) living() []Member {
	return v.some((*entry).lives)
}

func (v *view) some(which func(*entry) bool) []Member {
	v.mu.Lock()
	defer v.mu.Unlock()
	out := make([]Member, 0, len(v.members))
	for _, e := range v.members {
		if which(e) {
			out = append(out, e.Member)
		}
	}
	slices.SortFunc(out, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// others gives up to n of the living at random, without one.
func (v *view) others(n int, without string) []Member {
	out := slices.DeleteFunc(v.living(), func(o Member) bool { return o.ID == without })
	rand.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out[:min(n, len(out))]
}

// member gives what is known of a node, and whether it takes part.
func (v *view) member(id string) (m Member, lives bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if e := v.members[id]; e != nil {
		return e.Member, e.lives()
	}
	return Member{}, false
}

func (v *view) raw(id string) []byte {
	v.mu.Lock()
	defer v.mu.Unlock()
	if e := v.members[id]; e != nil {
		return e.raw
	}
	return nil
}

// ring gives the ring of this node and the living, and the place of this node.
func (v *view) ring(self Member) (ring, int) {
	g := ring(v.living())
	at, _ := slices.BinarySearchFunc(g, self, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	return slices.Insert(g, at, self), at
}

// unseen gives the addresses worth dialling: the known ones and those of the recently lost, less those of members
// that are alive.
func (v *view) unseen(known []netip.AddrPort, self netip.AddrPort) []netip.AddrPort {
	v.mu.Lock()
	defer v.mu.Unlock()
	want := map[netip.AddrPort]struct{}{}
	for _, a := range known {
		want[a] = struct{}{}
	}
	for _, e := range v.members {
		if e.State == Lost && time.Since(e.Since) < lostDialled {
			want[e.Addr] = struct{}{}
		}
	}
	for _, e := range v.members {
		if e.State == Alive {
			delete(want, e.Addr)
		}
	}
	delete(want, self)
	return slices.Collect(maps.Keys(want))
}

// tell queues an event for every follower. The caller holds mu.
func (v *view) tell(e Event) {
	for f := range v.followers {
		f.put(e)
	}
}

func kick(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// population is how many nodes take part, this one included.
func (v *view) population() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	n := 1
	for _, e := range v.members {
		if e.State == Alive {
			n++
		}
	}
	return n
}

// departed gives the goodbyes that are remembered, the newest first.
func (v *view) departed() []farewell {
	v.mu.Lock()
	defer v.mu.Unlock()
	var left []*entry
	for _, e := range v.members {
		if e.State == Left {
			left = append(left, e)
		}
	}
	slices.SortFunc(left, func(a, b *entry) int { return b.Since.Compare(a.Since) })
	out := make([]farewell, 0, min(len(left), maxFarewells))
	for _, e := range left[:min(len(left), maxFarewells)] {
		out = append(out, farewell{e.ID, e.Meta.Instance})
	}
	return out
}
