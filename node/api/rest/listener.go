package rest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/netutil"
	"golang.org/x/sys/unix"
)

// userTimeout is how long data that was sent may stay unacknowledged before
// the kernel gives a connection up: a peer that lost its power is noticed
// although there is always something on the way to it.
const userTimeout = 20 * time.Second

// listenTCP binds address with the bounds on connections in front.
func listenTCP(address string, max, maxPerIP int) (net.Listener, error) {
	config := net.ListenConfig{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3},
		// Accepted connections take it over from the listener.
		Control: func(_, _ string, c syscall.RawConn) error {
			var err error
			if e := c.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout/time.Millisecond))
			}); e != nil {
				return e
			}
			return err
		},
	}
	l, err := config.Listen(context.Background(), "tcp", address)
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			err = fmt.Errorf("%w: does another program use the port? `ss -ltnp` shows it", err)
		}
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	return netutil.LimitListener(&perIPListener{Listener: l, max: maxPerIP, open: map[netip.Addr]int{}}, max), nil
}

// perIPListener closes a connection at once when its address has max of them
// open already, so that one client cannot take all there are.
type perIPListener struct {
	net.Listener
	max int

	mu   sync.Mutex
	open map[netip.Addr]int
}

// Accept returns the next connection that is within the bound.
func (l *perIPListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		ip := clientNet(c.RemoteAddr().String())
		if l.enter(ip) {
			return &countedConn{Conn: c, leave: sync.OnceFunc(func() { l.exit(ip) })}, nil
		}
		_ = c.Close()
	}
}

func (l *perIPListener) enter(ip netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[ip] >= l.max {
		return false
	}
	l.open[ip]++
	return true
}

func (l *perIPListener) exit(ip netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[ip]--; l.open[ip] <= 0 {
		delete(l.open, ip)
	}
}

type countedConn struct {
	net.Conn
	leave func()
}

func (c *countedConn) Close() error {
	c.leave()
	return c.Conn.Close()
}

// clientNet is what counts as one client: an IPv4 address, or an IPv6
// network of 64 bits, since whoever has one address there has them all.
func clientNet(hostport string) netip.Addr {
	ap, err := netip.ParseAddrPort(hostport)
	if err != nil {
		return netip.Addr{}
	}
	ip := ap.Addr().Unmap().WithZone("")
	if ip.Is6() {
		p, _ := ip.Prefix(64)
		return p.Addr()
	}
	return ip
}

// listenUnix binds the local socket at path, for its owner only. A socket
// that nobody answers at is what a killed daemon left, and is taken away.
func listenUnix(path string, max int) (net.Listener, error) {
	if err := clearSocket(path); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	return netutil.LimitListener(&peerListener{l}, max), nil
}

func clearSocket(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != os.ModeSocket:
		return errors.New("there is a file that is not a socket: move it away")
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case err == nil:
		_ = c.Close()
		return fmt.Errorf("%w: another piccolo answers there", syscall.EADDRINUSE)
	case !errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w: whether somebody answers there is not known: %w", syscall.EADDRINUSE, err)
	}
	return os.Remove(path)
}

// peerListener asks the kernel who is at the other end.
type peerListener struct{ net.Listener }

// Accept returns the next connection whose peer the kernel names.
func (l *peerListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if uid, err := peerUID(c); err == nil {
			return &localConn{Conn: c, addr: localAddr{uid: uid}}, nil
		}
		_ = c.Close()
	}
}

// localConn carries the peer's user as its address, which stays visible
// through whatever wraps the connection.
type localConn struct {
	net.Conn
	addr localAddr
}

func (c *localConn) RemoteAddr() net.Addr { return c.addr }

// localAddr is the far end of a connection to the local socket.
type localAddr struct{ uid uint32 }

func (localAddr) Network() string  { return "unix" }
func (a localAddr) String() string { return fmt.Sprintf("local socket, user %d", a.uid) }

func peerUID(c net.Conn) (uint32, error) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return 0, errors.New("not a socket")
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	if e := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); e != nil {
		return 0, e
	}
	if err != nil {
		return 0, err
	}
	return cred.Uid, nil
}
