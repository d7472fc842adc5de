package gossip

import (
	"fmt"
	"time"

	"github.com/hashicorp/memberlist"
)

// Profile names a tuning of the mesh. Nodes with different profiles understand each other; each one's profile
// decides how soon *it* suspects the others.
type Profile string

const (
	// ProfileLAN is for cable and good Wi-Fi: a watcher is told of a silence in about half a second, everybody of a
	// death in seconds.
	ProfileLAN Profile = "lan"
	// ProfileWiFi is for links that stall for up to about a second.
	ProfileWiFi Profile = "wifi"
	// ProfileWAN is for round trips of up to 500 ms between sites.
	ProfileWAN Profile = "wan"
)

// tuning is one row of the table: memberlist's knobs and our own that follow from them.
type tuning struct {
	probe       time.Duration // between two probes of this node; also how long one probe may take
	timeout     time.Duration // wait for a direct ack, after which others are asked to try
	suspicion   int           // a suspect has suspicion × max(1, log10 n) × probe to refute
	suspicionTo int           // upper bound of that, as a multiple, while nobody confirms (suspicion > 2 only)
	gossip      time.Duration // between two rounds of spreading news
	pushPull    time.Duration // between two full exchanges with a random node
	stream      time.Duration // limit of one TCP exchange
	packet      int           // bytes per UDP packet
	redialMax   time.Duration // longest pause between two dials of an address that is not seen alive
	beat        time.Duration // between two beats to the watchers
	silence     time.Duration // without a beat, after which a watcher tells Silent
}

// DESIGN.md beside this file has the measurements behind the numbers.
func (p Profile) tuning() tuning {
	switch p {
	case ProfileWiFi:
		return tuning{400 * time.Millisecond, 200 * time.Millisecond, 4, 2, 100 * time.Millisecond,
			30 * time.Second, 3 * time.Second, 1400, 5 * time.Second, 500 * time.Millisecond, 2 * time.Second}
	case ProfileWAN:
		return tuning{1500 * time.Millisecond, 600 * time.Millisecond, 4, 3, 250 * time.Millisecond,
			60 * time.Second, 8 * time.Second, 1200, 15 * time.Second, 2 * time.Second, 7 * time.Second}
	default:
		return tuning{time.Second, 75 * time.Millisecond, 3, 2, 500 * time.Millisecond,
			30 * time.Second, 2 * time.Second, 1400, 5 * time.Second, 160 * time.Millisecond, 510 * time.Millisecond}
	}
}

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
	// deadKept is how long memberlist keeps gossiping to the dead, and remembers them.
	deadKept = 30 * time.Second
)

func (t tuning) config() *memberlist.Config {
	c := memberlist.DefaultLANConfig()
	c.ProbeInterval = t.probe
	c.ProbeTimeout = t.timeout
	c.SuspicionMult = t.suspicion
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

// reachTries is how many pings one Reach sends: as many as fill 300 ms, at least two.
func (t tuning) reachTries() int {
	return max(2, int((300*time.Millisecond+t.timeout-1)/t.timeout))
}
