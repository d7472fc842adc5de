package gossip

import (
	"net/netip"
	"time"
)

// State is what the mesh currently believes of a member.
type State int

const (
	// Alive: probes are answered, or it hasn't been told otherwise yet. memberlist's *suspect* is Alive here: it
	// has no callback for it.
	Alive State = iota + 1
	// Lost: declared dead. A suspicion, to be confirmed with [Mesh.Reach].
	Lost
	// Left: it said goodbye.
	Left
)

func (s State) String() string {
	switch s {
	case Alive:
		return "alive"
	case Lost:
		return "lost"
	case Left:
		return "left"
	}
	return "unknown"
}

// Member is another node as this one sees it.
type Member struct {
	ID    string
	Addr  netip.AddrPort // gossip address
	Meta  Meta           // zero where the node's meta could not be read
	State State
	// Since is when State began, with this machine's monotonic clock.
	Since time.Time
	// RTT is the round trip of the last direct probe that was answered; 0 before the first.
	RTT time.Duration
}

// Kind says what happened to a member.
type Kind int

const (
	// Joined: the member is alive and either wasn't before or is another process now (its Meta.Instance differs).
	Joined Kind = iota + 1
	// Updated: the member's meta changed, its process is the same.
	Updated
	// Died: memberlist declared the member dead; its state is Lost. Confirm with [Mesh.Reach] before acting.
	Died
	// Departed: the member said goodbye; its state is Left. It may follow a Died that was told too early.
	Departed
	// Conflict: two machines answer to one id, each was asked and each answered. Member is the one that the mesh
	// holds, Other the address of the second.
	Conflict
	// Silent: the member has stopped beating and has not answered the node that watches it, which memberlist will take
	// seconds to notice. Its state is still Alive. Only told to observers ([Mesh.SetObservers]), and again while it
	// lasts. Confirm with [Mesh.Reach] before acting.
	Silent
	// Rewired: other links are broken than before ([Mesh.Links]). Member is empty.
	Rewired
)

func (k Kind) String() string {
	switch k {
	case Joined:
		return "joined"
	case Updated:
		return "updated"
	case Died:
		return "lost"
	case Departed:
		return "left"
	case Conflict:
		return "conflict"
	case Silent:
		return "silent"
	case Rewired:
		return "rewired"
	}
	return "unknown"
}

// Event is one change. Member is the state after it.
type Event struct {
	Kind   Kind
	Member Member
	// Other is the second address of a Conflict.
	Other netip.AddrPort
	// By is the node that found the member Silent, or [Unwatched].
	By string
	// Snapshot marks what was so already when Follow began.
	Snapshot bool
}
