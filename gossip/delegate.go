package gossip

import (
	"encoding/json"
	"net/netip"
	"time"

	"github.com/hashicorp/memberlist"
)

// delegate hears memberlist. Most of its methods are called under memberlist's lock: they take a copy and return.
type delegate struct {
	m     *Mesh
	notes *memberlist.TransmitLimitedQueue
}

var (
	_ memberlist.Delegate         = (*delegate)(nil)
	_ memberlist.EventDelegate    = (*delegate)(nil)
	_ memberlist.ConflictDelegate = (*delegate)(nil)
	_ memberlist.PingDelegate     = (*delegate)(nil)
)

func addrOf(n *memberlist.Node) netip.AddrPort {
	ip, _ := netip.AddrFromSlice(n.Addr)
	return netip.AddrPortFrom(ip.Unmap(), n.Port)
}

func (d *delegate) NotifyJoin(n *memberlist.Node)   { d.m.view.alive(n.Name, addrOf(n), n.Meta) }
func (d *delegate) NotifyUpdate(n *memberlist.Node) { d.m.view.alive(n.Name, addrOf(n), n.Meta) }
func (d *delegate) NotifyLeave(n *memberlist.Node)  { d.m.view.gone(n.Name) }

func (d *delegate) NotifyConflict(existing, other *memberlist.Node) {
	t := suspectedTwins{existing.Name, addrOf(existing), addrOf(other)}
	select {
	case d.m.conflicts <- t:
	default:
	}
}

func (d *delegate) NodeMeta(int) []byte {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	return d.m.rawMeta
}

func (d *delegate) AckPayload() []byte { return nil }

func (d *delegate) NotifyPingComplete(n *memberlist.Node, rtt time.Duration, _ []byte) {
	d.m.view.rtt(n.Name, rtt)
}

func (d *delegate) NotifyMsg(b []byte) {
	for _, f := range decodeNote(b) {
		if d.m.view.goodbye(f.ID, f.Instance) {
			d.notes.QueueBroadcast(broadcast{f.ID, encodeNote([]farewell{f})})
		}
	}
}

func (d *delegate) GetBroadcasts(overhead, limit int) [][]byte {
	return d.notes.GetBroadcasts(overhead, limit)
}

// LocalState gives every full exchange the goodbyes that are remembered: who was cut off when they were said takes
// the death for a goodbye after all.
func (d *delegate) LocalState(bool) []byte {
	left := d.m.view.departed()
	if len(left) == 0 {
		return nil
	}
	return encodeNote(left)
}

func (d *delegate) MergeRemoteState(b []byte, _ bool) {
	for _, f := range decodeNote(b) {
		d.m.view.goodbye(f.ID, f.Instance)
	}
}

const (
	maxNote      = 16 << 10 // bytes of a note
	maxFarewells = 64       // goodbyes in a note
)

// farewell says that one instance of a node leaves on purpose.
type farewell struct {
	ID       string `json:"n"`
	Instance string `json:"i"`
}

// note is this room's own message beside memberlist's. Unknown fields are passed over.
type note struct {
	Bye []farewell `json:"bye,omitempty"`
}

func encodeNote(f []farewell) []byte {
	b, _ := json.Marshal(note{f}) // strings only: cannot fail
	return b
}

// decodeNote reads what another node sent; what cannot be read is nothing.
func decodeNote(b []byte) []farewell {
	var n note
	if len(b) > maxNote || json.Unmarshal(b, &n) != nil {
		return nil
	}
	return n.Bye[:min(len(n.Bye), maxFarewells)]
}

// broadcast is a note on its way to everybody; a newer one about the same node takes its place.
type broadcast struct {
	name string
	msg  []byte
}

var _ memberlist.NamedBroadcast = broadcast{}

func (b broadcast) Invalidates(memberlist.Broadcast) bool { return false }
func (b broadcast) Name() string                          { return b.name }
func (b broadcast) Message() []byte                       { return b.msg }
func (b broadcast) Finished()                             {}
