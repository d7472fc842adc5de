package gossiptest

import (
	"context"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	// backlog is how many connections a listener holds that nobody has accepted.
	backlog = 64
	// repetition is what one lost segment of a stream costs.
	repetition = 200 * time.Millisecond
)

type listener struct {
	host *Host
	port uint16
	in   chan *conn
	done chan struct{}
	once sync.Once
}

// Listen opens a stream listener on the host. The address must be the host's or unspecified.
func (h *Host) Listen(at netip.AddrPort) (net.Listener, error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	port, err := h.claim("tcp", at, func(p uint16) bool { return h.listeners[p] != nil })
	if err != nil {
		return nil, err
	}
	l := &listener{host: h, port: port, in: make(chan *conn, backlog), done: make(chan struct{})}
	h.listeners[port] = l
	return l, nil
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		select {
		case c := <-l.in:
			if err := l.host.awake(l.done, nil); err != nil {
				_ = c.Close()
				return nil, err
			}
			return c, nil
		case <-l.done:
			return nil, net.ErrClosed
		}
	}
}

func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.done)
		for _, c := range l.withdraw() {
			_ = c.Close()
		}
	})
	return nil
}

// withdraw takes the listener off its host and gives the connections that nobody has accepted.
func (l *listener) withdraw() []*conn {
	l.host.net.mu.Lock()
	defer l.host.net.mu.Unlock()
	if l.host.listeners[l.port] == l {
		delete(l.host.listeners, l.port)
	}
	var waiting []*conn
	for {
		select {
		case c := <-l.in:
			waiting = append(waiting, c)
		default:
			return waiting
		}
	}
}

func (l *listener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.host.Addr(l.port)) }

// Dial opens a stream to another host. It needs the links of both directions; as in a kernel, one that is mended is
// found by the next repetition, after 1 s, 2 s more, 4 s more.
func (h *Host) Dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(to), Err: err}
	}
	for again := time.Second; ; again *= 2 {
		if err := h.awake(ctx.Done(), nil); err != nil {
			return fail(ctx.Err())
		}
		h.net.mu.Lock()
		peer := h.net.hosts[to.Addr().Unmap()]
		through := peer != nil && !h.killed && !h.net.cuts[[2]*Host{h, peer}] && !h.net.cuts[[2]*Host{peer, h}]
		h.net.mu.Unlock()
		if through {
			f := h.net.fate(h, peer)
			pause := 2 * f.delay
			if f.lost {
				pause += repetition
			}
			if err := sleep(ctx.Done(), pause, nil); err != nil {
				return fail(ctx.Err())
			}
			c, err := h.connect(peer, to.Port())
			if err != nil {
				return fail(err)
			}
			return c, nil
		}
		if err := sleep(ctx.Done(), again, nil); err != nil {
			return fail(ctx.Err())
		}
	}
}

func (h *Host) connect(peer *Host, port uint16) (*conn, error) {
	n := h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	l := peer.listeners[port]
	if l == nil {
		return nil, os.NewSyscallError("connect", syscall.ECONNREFUSED)
	}
	h.nextPort++
	near, far := net.Pipe()
	mine := &conn{Conn: near, host: h, peer: peer, local: h.Addr(h.nextPort), remote: peer.Addr(port), done: make(chan struct{})}
	theirs := &conn{Conn: far, host: peer, peer: h, local: mine.remote, remote: mine.local, done: make(chan struct{})}
	select {
	case l.in <- theirs:
	default:
		return nil, os.NewSyscallError("connect", syscall.ETIMEDOUT)
	}
	h.streams[mine], peer.streams[theirs] = struct{}{}, struct{}{}
	return mine, nil
}

// conn is one end of a stream. A write waits for the link; a read waits for its own host to be awake.
type conn struct {
	net.Conn
	host, peer    *Host
	local, remote netip.AddrPort
	done          chan struct{}
	once          sync.Once

	mu       sync.Mutex
	deadline time.Time
}

func (c *conn) Write(b []byte) (int, error) {
	late, stop := c.alarm()
	defer stop()
	for {
		if err := c.host.awake(c.done, late); err != nil {
			return 0, err
		}
		f := c.host.net.fate(c.host, c.peer)
		if f.open {
			if f.lost {
				f.delay += repetition
			}
			if err := sleep(c.done, f.delay, late); err != nil {
				return 0, err
			}
			return c.Conn.Write(b)
		}
		if err := wait(f.changed, c.done, late); err != nil {
			return 0, err
		}
	}
}

func (c *conn) Read(b []byte) (int, error) {
	late, stop := c.alarm()
	defer stop()
	if err := c.host.awake(c.done, late); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

// alarm gives a channel that fires at the deadline which is set now.
func (c *conn) alarm() (<-chan time.Time, func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.deadline.IsZero() {
		return nil, func() {}
	}
	t := time.NewTimer(time.Until(c.deadline))
	return t.C, func() { t.Stop() }
}

func (c *conn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	c.deadline = t
	c.mu.Unlock()
	return c.Conn.SetDeadline(t)
}

func (c *conn) Close() error {
	c.once.Do(func() {
		close(c.done)
		c.host.net.mu.Lock()
		defer c.host.net.mu.Unlock()
		delete(c.host.streams, c)
	})
	return c.Conn.Close()
}

func (c *conn) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(c.local) }
func (c *conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }

// wait ends without error when changed is closed.
func wait(changed, end <-chan struct{}, late <-chan time.Time) error {
	select {
	case <-changed:
		return nil
	case <-end:
		return net.ErrClosed
	case <-late:
		return os.ErrDeadlineExceeded
	}
}

// sleep ends without error after d.
func sleep(end <-chan struct{}, d time.Duration, late <-chan time.Time) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-end:
		return net.ErrClosed
	case <-late:
		return os.ErrDeadlineExceeded
	}
}
