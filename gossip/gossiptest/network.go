package gossiptest

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"piccolo.io/piccolo/gossip"
)

// Network joins hosts. Its methods may be called from any goroutine, also while traffic flows.
type Network struct {
	mu      sync.Mutex
	rand    *rand.Rand
	hosts   map[netip.Addr]*Host
	cuts    map[[2]*Host]bool // from, to
	delay   time.Duration
	jitter  time.Duration
	loss    float64
	changed chan struct{} // closed and replaced at every change, for whoever waits for a link or a thaw
}

// New makes a network without hosts. The seed decides which packets are lost; goroutines still run as they like.
func New(seed uint64) *Network {
	return &Network{
		rand:    rand.New(rand.NewPCG(seed, seed)),
		hosts:   map[netip.Addr]*Host{},
		cuts:    map[[2]*Host]bool{},
		changed: make(chan struct{}),
	}
}

// Host adds a host with one IP address, or returns the one that is there.
func (n *Network) Host(ip string) *Host {
	addr := netip.MustParseAddr(ip).Unmap()
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.hosts[addr]
	if h == nil {
		h = &Host{net: n, ip: addr, packets: map[uint16]*packetConn{}, listeners: map[uint16]*listener{},
			streams: map[*conn]struct{}{}, nextPort: 40000}
		n.hosts[addr] = h
	}
	return h
}

// Cut stops everything between a and b, both ways: packets vanish, streams stall, dials time out.
func (n *Network) Cut(a, b *Host) {
	n.change(func() { n.cuts[[2]*Host{a, b}], n.cuts[[2]*Host{b, a}] = true, true })
}

// CutOneWay stops what goes from one host to another; the way back stays open.
func (n *Network) CutOneWay(from, to *Host) {
	n.change(func() { n.cuts[[2]*Host{from, to}] = true })
}

// Unplug pulls a host's cable: it is cut from every other one, and its interface has no carrier.
func (n *Network) Unplug(h *Host) {
	n.change(func() {
		h.unplugged = true
		for _, o := range n.hosts {
			n.cuts[[2]*Host{h, o}], n.cuts[[2]*Host{o, h}] = true, true
		}
	})
}

// Heal removes every cut and plugs every cable in.
func (n *Network) Heal() {
	n.change(func() {
		clear(n.cuts)
		for _, h := range n.hosts {
			h.unplugged = false
		}
	})
}

// Delay holds everything back for d, give or take jitter. Packets may overtake each other.
func (n *Network) Delay(d, jitter time.Duration) { n.change(func() { n.delay, n.jitter = d, jitter }) }

// Loss loses packets at random with probability p (0 to 1). A stream doesn't lose; it waits for a repetition
// (200 ms, as TCP does) with the same probability.
func (n *Network) Loss(p float64) { n.change(func() { n.loss = p }) }

// Freeze stops a host like SIGSTOP stops a process: it neither sends nor reads, and whoever tries to waits. What
// is sent to it is kept as a socket's buffer keeps it, and its listeners still accept connections. Timers that
// its code has set go on.
func (n *Network) Freeze(h *Host) { n.change(func() { h.frozen = true }) }

// Thaw ends Freeze.
func (n *Network) Thaw(h *Host) { n.change(func() { h.frozen = false }) }

// Kill ends a host's process as far as others can see: its streams break, dials to it are refused, packets to it
// and from it vanish. Its code goes on talking to nobody until the test ends it. Revive lets a new process begin.
func (n *Network) Kill(h *Host) {
	var broken []*conn
	n.change(func() {
		h.killed = true
		h.packets, h.listeners = map[uint16]*packetConn{}, map[uint16]*listener{}
		for c := range h.streams {
			broken = append(broken, c)
		}
	})
	for _, c := range broken {
		_ = c.Close()
	}
}

// Revive makes a killed host's address usable for a new process. End the old one's code first.
func (n *Network) Revive(h *Host) { n.change(func() { h.killed = false }) }

func (n *Network) change(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
	close(n.changed)
	n.changed = make(chan struct{})
}

// fate is what happens to one thing sent between two hosts.
type fate struct {
	open    bool // false: it doesn't arrive
	lost    bool
	delay   time.Duration
	changed <-chan struct{}
}

func (n *Network) fate(from, to *Host) fate {
	n.mu.Lock()
	defer n.mu.Unlock()
	f := fate{open: !from.killed && !to.killed && !n.cuts[[2]*Host{from, to}], delay: n.delay, changed: n.changed}
	if n.jitter > 0 {
		f.delay += time.Duration(n.rand.Int64N(int64(2*n.jitter))) - n.jitter
	}
	f.lost = n.loss > 0 && n.rand.Float64() < n.loss
	return f
}

// Host is one machine with one address. It implements gossip.Network for the code that runs on it.
type Host struct {
	net *Network
	ip  netip.Addr

	// The network's mutex guards what follows.
	packets   map[uint16]*packetConn
	listeners map[uint16]*listener
	streams   map[*conn]struct{}
	nextPort  uint16
	frozen    bool
	killed    bool
	unplugged bool
}

// Addr is the host's address with a port.
func (h *Host) Addr(port uint16) netip.AddrPort { return netip.AddrPortFrom(h.ip, port) }

// Interface tells whether the host's cable is in.
func (h *Host) Interface(netip.Addr) gossip.Interface {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	return gossip.Interface{Down: h.unplugged}
}

func (h *Host) String() string { return fmt.Sprintf("host %s", h.ip) }

// awake waits until the host isn't frozen, or end is closed or the deadline is over.
func (h *Host) awake(end <-chan struct{}, late <-chan time.Time) error {
	for {
		h.net.mu.Lock()
		frozen, changed := h.frozen, h.net.changed
		h.net.mu.Unlock()
		if !frozen {
			return nil
		}
		if err := wait(changed, end, late); err != nil {
			return err
		}
	}
}
