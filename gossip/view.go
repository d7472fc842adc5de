package gossip

import (
	"bytes"
	"cmp"
	"maps"
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
	raw     []byte // encoded meta
	goodbye bool   // this instance has announced that it leaves
}

// view is what the mesh believes. memberlist calls into it while it holds its own lock, so nothing here blocks and
// nothing here calls memberlist.
type view struct {
	self    string
	changed chan struct{} // capacity 1: somebody came or went, look at the dial list

	mu        sync.Mutex
	closed    bool
	members   map[string]*entry
	followers map[*follower]struct{}
}

func newView(self string) *view {
	return &view{
		self:      self,
		changed:   make(chan struct{}, 1),
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
	meta, _ := DecodeMeta(raw) // unreadable is shown as zero: the member is no less alive
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
	came := e.State != Alive
	if !came && !restarted && bytes.Equal(raw, e.raw) && addr == e.Addr {
		return
	}
	if came || restarted {
		e.goodbye = e.goodbye && !restarted
		e.Since = time.Now()
	}
	e.Addr, e.Meta, e.raw, e.State = addr, meta, bytes.Clone(raw), Alive
	kind := Updated
	if came || restarted {
		kind = Joined
	}
	v.tell(Event{Kind: kind, Member: e.Member})
	kick(v.changed)
}

// gone takes in that memberlist holds a member for dead.
func (v *view) gone(id string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	e := v.members[id]
	if v.closed || e == nil || e.State != Alive {
		return
	}
	e.Since = time.Now()
	if e.goodbye {
		e.State = Left
		v.tell(Event{Kind: Departed, Member: e.Member})
	} else {
		e.State = Lost
		v.tell(Event{Kind: Died, Member: e.Member})
	}
	v.trim()
	kick(v.changed)
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
	if e.State == Lost {
		e.State = Left
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
		e.RTT = d
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
	v.mu.Lock()
	defer v.mu.Unlock()
	out := make([]Member, 0, len(v.members))
	for _, e := range v.members {
		out = append(out, e.Member)
	}
	slices.SortFunc(out, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	return out
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
