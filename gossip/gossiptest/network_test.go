package gossiptest_test

import (
	"context"
	"errors"
	"net"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"piccolo.io/piccolo/gossip"
	"piccolo.io/piccolo/gossip/gossiptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var _ gossip.Network = (*gossiptest.Host)(nil)

func open(t *testing.T, h *gossiptest.Host) (net.PacketConn, <-chan string) {
	t.Helper()
	c, err := h.ListenPacket(h.Addr(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	got := make(chan string, 100)
	go func() {
		b := make([]byte, 100)
		for {
			n, _, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			got <- string(b[:n])
		}
	}()
	return c, got
}

func TestPacketsMeetTheirFaults(t *testing.T) {
	n := gossiptest.New(1)
	a, b := n.Host("10.0.0.1"), n.Host("10.0.0.2")
	ca, atA := open(t, a)
	cb, atB := open(t, b)
	send := func(c net.PacketConn, to *gossiptest.Host, s string) {
		t.Helper()
		if _, err := c.WriteTo([]byte(s), net.UDPAddrFromAddrPort(to.Addr(1))); err != nil {
			t.Fatal(err)
		}
	}
	// What is dropped is dropped at once, so the next thing that arrives shows that nothing did before it.
	next := func(from <-chan string, want string) {
		t.Helper()
		select {
		case got := <-from:
			if got != want {
				t.Fatalf("got %q, want %q", got, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%q did not arrive", want)
		}
	}
	n.CutOneWay(a, b)
	send(ca, b, "cut")
	send(cb, a, "the way back")
	next(atA, "the way back")
	n.Heal()
	n.Loss(1)
	send(ca, b, "lost")
	n.Loss(0)
	n.Delay(5*time.Millisecond, time.Millisecond)
	send(ca, b, "late")
	next(atB, "late")
	n.Delay(0, 0)
	n.Freeze(b)
	send(ca, b, "kept")
	n.Thaw(b)
	next(atB, "kept")
	n.Kill(b)
	send(ca, b, "to the dead")
	send(cb, a, "from the dead")
	send(ca, a, "to myself")
	next(atA, "to myself")
	if len(atB) != 0 {
		t.Error("a killed host received something")
	}
}

func TestStreamsMeetTheirFaults(t *testing.T) {
	n := gossiptest.New(1)
	a, b := n.Host("10.0.0.1"), n.Host("10.0.0.2")
	ln, err := b.Listen(b.Addr(0))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	to := ln.Addr().(*net.TCPAddr).AddrPort()
	if _, err := b.Listen(to); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("the port twice: %v", err)
	}
	if _, err := a.Dial(t.Context(), b.Addr(9)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a closed port: %v", err)
	}
	n.Cut(a, b)
	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := a.Dial(short, to); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("through a cut: %v", err)
	}
	n.Heal()
	n.Freeze(b)
	c, err := a.Dial(t.Context(), to)
	if err != nil {
		t.Fatalf("a frozen host's kernel accepts: %v", err)
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a frozen host answered")
	}
	n.Kill(b)
	if _, err := c.Write([]byte("x")); err == nil {
		t.Error("a stream outlived its host")
	}
	if _, err := a.Dial(t.Context(), to); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a killed host: %v", err)
	}
}
