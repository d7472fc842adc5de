package gossip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/memberlist"
	"golang.org/x/net/netutil"
)

const (
	// maxStreams bounds incoming streams that are open at once; the kernel queues the rest.
	maxStreams = 64
	// portTries is how often a free port that serves TCP and UDP is looked for.
	portTries = 10
	// maxPause bounds the pause after an error of a socket.
	maxPause = time.Second
	// dialLimit bounds one dial. The kernel repeats its first packet after a second, then two, then four: a new dial
	// finds a mended link sooner.
	dialLimit = time.Second
)

// transport carries memberlist's packets and streams over a Network. memberlist has its own, which allocates 64 KiB
// per packet, counts nothing and leaves open streams behind when it shuts down.
type transport struct {
	net       Network
	packetsIO net.PacketConn
	listener  net.Listener
	advertise netip.AddrPort
	log       *slog.Logger
	box       *box
	own       func(content []byte, from netip.AddrPort) // takes this room's own datagrams
	born      time.Time
	lastIn    atomic.Int64 // when a packet last came in, in nanoseconds since born

	packets chan *memberlist.Packet
	streams chan net.Conn
	ctx     context.Context // ends with the transport, and with it every dial
	cancel  context.CancelFunc
	wg      sync.WaitGroup

	mu   sync.Mutex
	open map[*stream]struct{}

	traffic traffic
}

// traffic counts what went through, without headers of IP, UDP and TCP.
type traffic struct {
	packetsIn, packetsOut, bytesIn, bytesOut, streamsIn, streamsOut atomic.Uint64
}

var _ memberlist.NodeAwareTransport = (*transport)(nil)

// listen opens both sockets and starts reading them; Shutdown ends it.
func listen(o Options, b *box, own func([]byte, netip.AddrPort)) (*transport, error) {
	ln, pc, err := openPair(o.Network, plain(o.Bind))
	if err != nil {
		return nil, err
	}
	t := &transport{
		net: o.Network, packetsIO: pc, log: o.Logger, box: b, own: own, born: time.Now(),
		listener:  netutil.LimitListener(ln, maxStreams),
		advertise: plain(o.Advertise),
		packets:   make(chan *memberlist.Packet),
		streams:   make(chan net.Conn),
		open:      map[*stream]struct{}{},
	}
	if t.advertise.Port() == 0 {
		t.advertise = netip.AddrPortFrom(t.advertise.Addr(), portOf(ln.Addr()))
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.wg.Go(t.readPackets)
	t.wg.Go(t.acceptStreams)
	return t, nil
}

func portOf(a net.Addr) uint16 {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return 0
	}
	return tcp.AddrPort().Port()
}

func openPair(n Network, at netip.AddrPort) (net.Listener, net.PacketConn, error) {
	for try := 1; ; try++ {
		ln, err := n.Listen(at)
		if err != nil {
			return nil, nil, fmt.Errorf("listen on tcp %s: %w", at, err)
		}
		pc, err := n.ListenPacket(netip.AddrPortFrom(at.Addr(), portOf(ln.Addr())))
		if err == nil {
			return ln, pc, nil
		}
		_ = ln.Close()
		if at.Port() != 0 || try == portTries || !errors.Is(err, syscall.EADDRINUSE) {
			return nil, nil, fmt.Errorf("listen on udp %s: %w", at, err)
		}
	}
}

func (t *transport) readPackets() {
	buf := make([]byte, 64<<10)
	var pause time.Duration
	for {
		n, from, err := t.packetsIO.ReadFrom(buf)
		now := time.Now()
		if err != nil {
			if pause = t.pauseAfter(err, pause); pause == 0 {
				return
			}
			continue
		}
		pause = 0
		if n == 0 {
			continue
		}
		t.traffic.packetsIn.Add(1)
		t.traffic.bytesIn.Add(uint64(n))
		t.lastIn.Store(int64(now.Sub(t.born)))
		if buf[0] == ownMark {
			if content, ok := t.box.open(buf[:n]); ok {
				t.own(content, addrPort(from))
			}
			continue
		}
		p := &memberlist.Packet{Buf: append([]byte(nil), buf[:n]...), From: from, Timestamp: now}
		select {
		case t.packets <- p:
		case <-t.ctx.Done():
			return
		}
	}
}

func addrPort(a net.Addr) netip.AddrPort {
	if udp, ok := a.(*net.UDPAddr); ok {
		return plain(udp.AddrPort())
	}
	return netip.AddrPort{}
}

// heardSince reports whether a packet has come in since then, from anybody.
func (t *transport) heardSince(then time.Time) bool {
	return time.Duration(t.lastIn.Load()) >= then.Sub(t.born)
}

// send seals and sends one of this room's own datagrams.
func (t *transport) send(to netip.AddrPort, content []byte) error {
	return t.write(t.box.seal(content), to)
}

func (t *transport) acceptStreams() {
	var pause time.Duration
	for {
		c, err := t.listener.Accept()
		if err != nil {
			if pause = t.pauseAfter(err, pause); pause == 0 {
				return
			}
			continue
		}
		pause = 0
		t.traffic.streamsIn.Add(1)
		s, err := t.track(c)
		if err != nil {
			return
		}
		select {
		case t.streams <- s:
		case <-t.ctx.Done():
			return
		}
	}
}

// pauseAfter waits after a socket's error, twice as long each time. 0 means that the transport has ended.
func (t *transport) pauseAfter(err error, last time.Duration) time.Duration {
	next := min(max(5*time.Millisecond, 2*last), maxPause)
	if t.ctx.Err() != nil {
		return 0
	}
	t.log.Warn("gossip socket failed, will try again", "error", err, "pause", next)
	timer := time.NewTimer(next)
	defer timer.Stop()
	select {
	case <-timer.C:
		return next
	case <-t.ctx.Done():
		return 0
	}
}

// FinalAdvertiseAddr is part of memberlist.Transport. memberlist compares the bytes of addresses, so IPv4 has
// always its short form.
func (t *transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return t.advertise.Addr().AsSlice(), int(t.advertise.Port()), nil
}

// WriteTo is part of memberlist.Transport.
func (t *transport) WriteTo(b []byte, addr string) (time.Time, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return time.Time{}, fmt.Errorf("send to %q: %w", addr, err)
	}
	if err := t.write(b, to); err != nil {
		return time.Time{}, err // as it is: memberlist looks at its type
	}
	return time.Now(), nil
}

func (t *transport) write(b []byte, to netip.AddrPort) error {
	n, err := t.packetsIO.WriteTo(b, net.UDPAddrFromAddrPort(plain(to)))
	if err != nil {
		return err
	}
	t.traffic.packetsOut.Add(1)
	t.traffic.bytesOut.Add(uint64(n))
	return nil
}

// WriteToAddress is part of memberlist.NodeAwareTransport.
func (t *transport) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	return t.WriteTo(b, a.Addr)
}

// DialTimeout is part of memberlist.Transport.
func (t *transport) DialTimeout(addr string, limit time.Duration) (net.Conn, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, fmt.Errorf("dial %q: %w", addr, err)
	}
	ctx, cancel := context.WithTimeout(t.ctx, min(limit, dialLimit))
	defer cancel()
	return t.dial(ctx, plain(to))
}

// DialAddressTimeout is part of memberlist.NodeAwareTransport.
func (t *transport) DialAddressTimeout(a memberlist.Address, limit time.Duration) (net.Conn, error) {
	return t.DialTimeout(a.Addr, limit)
}

func (t *transport) dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	c, err := t.net.Dial(ctx, to)
	if err != nil {
		return nil, err
	}
	t.traffic.streamsOut.Add(1)
	return t.track(c)
}

// PacketCh is part of memberlist.Transport.
func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.packets }

// StreamCh is part of memberlist.Transport.
func (t *transport) StreamCh() <-chan net.Conn { return t.streams }

// Shutdown is part of memberlist.Transport. It closes the sockets and every open stream, and waits for the readers.
func (t *transport) Shutdown() error {
	t.cancel()
	err := errors.Join(t.listener.Close(), t.packetsIO.Close())
	t.mu.Lock()
	open := t.open
	t.open = nil
	t.mu.Unlock()
	for s := range open {
		_ = s.Conn.Close()
	}
	t.wg.Wait()
	return err
}

// stream is a connection that is counted, and closed with the transport.
type stream struct {
	net.Conn
	t *transport
}

func (t *transport) track(c net.Conn) (*stream, error) {
	s := &stream{c, t}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open == nil {
		_ = c.Close()
		return nil, net.ErrClosed
	}
	t.open[s] = struct{}{}
	return s, nil
}

func (s *stream) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	s.t.traffic.bytesIn.Add(uint64(n))
	return n, err
}

func (s *stream) Write(b []byte) (int, error) {
	n, err := s.Conn.Write(b)
	s.t.traffic.bytesOut.Add(uint64(n))
	return n, err
}

func (s *stream) Close() error {
	s.t.mu.Lock()
	delete(s.t.open, s)
	s.t.mu.Unlock()
	return s.Conn.Close()
}
