package gossip

import (
	"fmt"
	"time"

	"github.com/hashicorp/memberlist"
)

// Profile names a link: how good the network is that a node hangs on, and so how soon its silence means anything. It
// travels in the node's [Meta]. A link is judged by its worse end's.
type Profile string

const (
	// ProfileLAN is for cable and good Wi-Fi: a loss is known and confirmed within a second; a stall of 300 ms is none.
	ProfileLAN Profile = "lan"
	// ProfileWiFi is for links that stall for up to 1.5 s: a loss is known within 3 s.
	ProfileWiFi Profile = "wifi"
	// ProfileWAN is for round trips of up to 500 ms between sites: a loss is known within 10 s.
	ProfileWAN Profile = "wan"
)

// tuning is one row of the table: memberlist's knobs and our own.
type tuning struct {
	probe       time.Duration // between two probes of this node; also how long one probe may take
	timeout     time.Duration // wait for a direct ack, after which others are asked to try
	suspicion   int           // a suspect has suspicion × max(1, log10 n) × probe to refute
	suspicionTo int           // upper bound of that, as a multiple, while nobody confirms (suspicion > 2 only)
	gossip      time.Duration // between two rounds of spreading news
	pushPull    time.Duration // between two full exchanges with a random node
	stream      time.Duration // limit of one TCP exchange
	packet      int           // bytes per UDP packet
	beat        time.Duration // between two beats to the watchers
	silence     time.Duration // without a beat or an answer, after which a watcher tells Silent
	reach       time.Duration // of one Reach
}

// DESIGN.md beside this file has the measurements behind the numbers.
func (p Profile) tuning() tuning {
	t := tuning{suspicion: 3, suspicionTo: 2, gossip: 500 * time.Millisecond, pushPull: 30 * time.Second, packet: 1400}
	switch p {
	case ProfileWiFi:
		t.probe, t.timeout, t.stream = 1500*time.Millisecond, 500*time.Millisecond, 3*time.Second
		t.beat, t.silence, t.reach = 500*time.Millisecond, 2200*time.Millisecond, 600*time.Millisecond
	case ProfileWAN:
		t.probe, t.timeout, t.stream, t.packet = 2*time.Second, 800*time.Millisecond, 8*time.Second, 1200
		t.beat, t.silence, t.reach = 1500*time.Millisecond, 6*time.Second, 2*time.Second
	default:
		t.probe, t.timeout, t.stream = time.Second, 200*time.Millisecond, 2*time.Second
		t.beat, t.silence, t.reach = 160*time.Millisecond, 510*time.Millisecond, 300*time.Millisecond
	}
	return t
}

// suspecting is how long a node may be suspect to memberlist before it is held for dead.
func (t tuning) suspecting() time.Duration {
	return time.Duration(t.suspicion*t.suspicionTo+maxAwareness) * t.probe
}

// reaching is how one Reach asks.
func (t tuning) reaching() asking { return asking{t.reach / reachTries, t.reach} }

// ParseProfile checks a name that came from outside. The error lists what there is.
func ParseProfile(s string) (Profile, error) {
	switch p := Profile(s); p {
	case ProfileLAN, ProfileWiFi, ProfileWAN:
		return p, nil
	}
	return "", fmt.Errorf("%w: no profile %q: there are %s, %s and %s", ErrInvalid, s,
		ProfileLAN, ProfileWiFi, ProfileWAN)
}

const (
	// maxAwareness bounds how far memberlist slows its probes down while it doubts itself. Its default of 8 would
	// let a lossy link stretch detection to many seconds; callers confirm with Reach, so less doubt is enough.
	maxAwareness = 3
	// retransmit is how often each node passes news on, times a logarithm. At memberlist's default of 4 each node of ten
	// misses a piece of news with a probability of e⁻⁸, and of five e⁻⁴: a refutation that is missed is a false death.
	retransmit = 8
	// deadKept is how long memberlist keeps gossiping to the dead, and remembers them.
	deadKept = 30 * time.Second
)

func (t tuning) config() *memberlist.Config {
	c := memberlist.DefaultLANConfig()
	c.ProbeInterval = t.probe
	c.ProbeTimeout = t.timeout
	c.SuspicionMult = t.suspicion
	c.RetransmitMult = retransmit
	c.SuspicionMaxTimeoutMult = t.suspicionTo
	c.GossipInterval = t.gossip
	c.GossipToTheDeadTime = deadKept
	c.PushPullInterval = t.pushPull
	c.TCPTimeout = t.stream
	c.UDPBufferSize = t.packet
	c.AwarenessMaxMultiplier = maxAwareness
	// A node is its key, never its address: once it is dead here it may come back from anywhere.
	c.DeadNodeReclaimTime = time.Millisecond
	// Messages are tens of bytes and encrypted; LZW costs CPU and saves nothing.
	c.EnableCompression = false
	return c
}
