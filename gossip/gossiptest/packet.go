package gossiptest

import (
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// socketBuffer is how many packets wait unread in a socket; more are lost, as in a kernel.
const socketBuffer = 256

type packet struct {
	from *net.UDPAddr
	data []byte
}

type packetConn struct {
	host *Host
	port uint16
	in   chan packet
	done chan struct{}
	once sync.Once
}

// ListenPacket opens a datagram socket on the host. The address must be the host's or unspecified.
func (h *Host) ListenPacket(at netip.AddrPort) (net.PacketConn, error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	port, err := h.claim("udp", at, func(p uint16) bool { return h.packets[p] != nil })
	if err != nil {
		return nil, err
	}
	c := &packetConn{host: h, port: port, in: make(chan packet, socketBuffer), done: make(chan struct{})}
	h.packets[port] = c
	return c, nil
}

// claim checks an address to bind and chooses a port for 0. The caller holds the network's mutex.
func (h *Host) claim(what string, at netip.AddrPort, taken func(uint16) bool) (uint16, error) {
	fail := func(no syscall.Errno) (uint16, error) {
		return 0, &net.OpError{Op: "listen", Net: what, Err: os.NewSyscallError("bind", no)}
	}
	if a := at.Addr().Unmap(); a != h.ip && !a.IsUnspecified() {
		return fail(syscall.EADDRNOTAVAIL)
	}
	port := at.Port()
	for ; port == 0; h.nextPort++ {
		if !taken(h.nextPort) {
			port = h.nextPort
		}
	}
	if taken(port) {
		return fail(syscall.EADDRINUSE)
	}
	return port, nil
}

func (c *packetConn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		if err := c.host.awake(c.done, nil); err != nil {
			return 0, nil, err
		}
		c.host.net.mu.Lock()
		changed := c.host.net.changed
		frozen := c.host.frozen
		c.host.net.mu.Unlock()
		if frozen {
			continue
		}
		select {
		case p := <-c.in:
			return copy(b, p.data), p.from, nil
		case <-changed:
		case <-c.done:
			return 0, nil, net.ErrClosed
		}
	}
}

func (c *packetConn) WriteTo(b []byte, to net.Addr) (int, error) {
	if err := c.host.awake(c.done, nil); err != nil {
		return 0, err
	}
	dst, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, &net.OpError{Op: "write", Net: "udp", Addr: to, Err: net.InvalidAddrError("not a UDP address")}
	}
	at := netip.AddrPortFrom(dst.AddrPort().Addr().Unmap(), dst.AddrPort().Port())
	n := c.host.net
	n.mu.Lock()
	host := n.hosts[at.Addr()]
	n.mu.Unlock()
	if host == nil {
		return len(b), nil
	}
	f := n.fate(c.host, host)
	if !f.open || f.lost {
		return len(b), nil
	}
	p := packet{net.UDPAddrFromAddrPort(c.host.Addr(c.port)), append([]byte(nil), b...)}
	if f.delay <= 0 {
		host.deliver(at.Port(), p)
	} else {
		time.AfterFunc(f.delay, func() { host.deliver(at.Port(), p) })
	}
	return len(b), nil
}

func (h *Host) deliver(port uint16, p packet) {
	h.net.mu.Lock()
	c := h.packets[port]
	h.net.mu.Unlock()
	if c == nil {
		return
	}
	select {
	case c.in <- p:
	default:
	}
}

func (c *packetConn) Close() error {
	c.once.Do(func() {
		close(c.done)
		c.host.net.mu.Lock()
		defer c.host.net.mu.Unlock()
		if c.host.packets[c.port] == c {
			delete(c.host.packets, c.port)
		}
	})
	return nil
}

func (c *packetConn) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(c.host.Addr(c.port)) }

// Deadlines of datagram sockets are not supported; gossip sets none.

func (c *packetConn) SetDeadline(time.Time) error      { return os.ErrNoDeadline }
func (c *packetConn) SetReadDeadline(time.Time) error  { return os.ErrNoDeadline }
func (c *packetConn) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }
