package gossip_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"piccolo.io/piccolo/gossip"
	"piccolo.io/piccolo/gossip/gossiptest"
)

func TestReach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 6)
		me, alive, killed, frozen, cut := c.nodes[0], c.nodes[1], c.nodes[2], c.nodes[3], c.nodes[4]
		c.net.Kill(killed.host)
		c.net.Freeze(frozen.host)
		c.net.Unplug(cut.host)
		cases := []struct {
			name string
			id   string
			at   netip.AddrPort
			want error
			text string
		}{
			{"alive", alive.id, alive.addr, nil, ""},
			{"killed", killed.id, killed.addr, gossip.ErrRefused, ""},
			{"frozen", frozen.id, frozen.addr, gossip.ErrUnreachable, "TCP connects"},
			{"cut", cut.id, cut.addr, gossip.ErrUnreachable, "TCP has not answered"},
			{"wrong name", "n-99", alive.addr, gossip.ErrUnreachable, "another id"},
			{"no host", alive.id, netip.MustParseAddrPort("10.9.9.9:7946"), gossip.ErrUnreachable, ""},
			{"no address", alive.id, netip.AddrPort{}, gossip.ErrInvalid, ""},
		}
		check := func(when string) {
			for _, tc := range cases {
				err := me.Reach(t.Context(), tc.id, tc.at)
				if !errors.Is(err, tc.want) || (tc.want != nil && !strings.Contains(err.Error(), tc.text)) {
					t.Errorf("%s, %s: %v, want %v", tc.name, when, err, tc.want)
				}
			}
		}
		check("at once")
		eventually(t, "three are held for dead", func() bool { return me.Stats().Lost == 3 })
		check("held for dead")

		c.net.Thaw(frozen.host)
		c.net.Heal()
		eventually(t, "who is back answers, whatever memberlist thinks of it", func() bool {
			return me.Reach(t.Context(), cut.id, cut.addr) == nil && me.Reach(t.Context(), frozen.id, frozen.addr) == nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := me.Reach(ctx, killed.id, netip.MustParseAddrPort("10.9.9.9:7946")); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
	})
}

// A process that is just dying accepts, lets go of what it has accepted, and only then refuses.
func TestReachKnocksAgain(t *testing.T) {
	for name, gap := range map[string]time.Duration{"at once": 0, "after one more is accepted": 10 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, 1)
				c.net.Delay(time.Millisecond, 0)
				dying := c.net.Host("10.0.0.50")
				ln, err := dying.Listen(dying.Addr(port))
				if err != nil {
					t.Fatal(err)
				}
				died := make(chan error, 1)
				go func() {
					conn, err := ln.Accept()
					if err == nil {
						time.Sleep(20 * time.Millisecond)
						err = conn.Close()
					}
					time.Sleep(gap)
					died <- errors.Join(err, ln.Close())
				}()
				began := time.Now()
				err = c.nodes[0].Reach(t.Context(), "n-dying", dying.Addr(port))
				if took := time.Since(began); !errors.Is(err, gossip.ErrRefused) || took > 50*time.Millisecond {
					t.Errorf("after %v: %v, want a refusal within 50 ms", took, err)
				}
				if err := <-died; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// Nobody may keep Reach busy by accepting and closing.
func TestReachKnocksOnlyAFewTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		c.net.Delay(time.Millisecond, 0)
		odd := c.net.Host("10.0.0.50")
		ln, err := odd.Listen(odd.Addr(port))
		if err != nil {
			t.Fatal(err)
		}
		accepted := make(chan int, 1)
		go func() {
			n := 0
			for conn, err := ln.Accept(); err == nil; conn, err = ln.Accept() {
				n++
				_ = conn.Close()
			}
			accepted <- n
		}()
		err = c.nodes[0].Reach(t.Context(), "n-odd", odd.Addr(port))
		if !errors.Is(err, gossip.ErrUnreachable) || !strings.Contains(err.Error(), "TCP connects") {
			t.Error(err)
		}
		_ = ln.Close()
		if n := <-accepted; n != 4 {
			t.Errorf("%d connections, want 4", n)
		}
	})
}

// slowHost is a host on which sending takes long a few times: its process was stalled.
type slowHost struct {
	*gossiptest.Host
	to    netip.AddrPort
	slow  int // times
	mu    sync.Mutex
	asked int
}

func (h *slowHost) ListenPacket(at netip.AddrPort) (net.PacketConn, error) {
	c, err := h.Host.ListenPacket(at)
	return slowConn{c, h}, err
}

type slowConn struct {
	net.PacketConn
	h *slowHost
}

func (c slowConn) WriteTo(b []byte, to net.Addr) (int, error) {
	if to.String() != c.h.to.String() {
		return c.PacketConn.WriteTo(b, to)
	}
	c.h.mu.Lock()
	c.h.asked++
	stalled := c.h.asked <= c.h.slow
	c.h.mu.Unlock()
	if stalled {
		time.Sleep(time.Second)
	}
	return c.PacketConn.WriteTo(b, to)
}

// Time in which this machine was stalled gives the other none to answer.
func TestReachDoesNotCountItsOwnStalls(t *testing.T) {
	for slow, want := range map[int]error{5: gossip.ErrUnreachable, 1000: gossip.ErrNoPath} {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t, 0)
			host := &slowHost{Host: c.net.Host("10.0.0.1"), to: netip.MustParseAddrPort("10.0.0.9:7946"), slow: slow}
			me := c.start("n-01", "10.0.0.1", func(o *gossip.Options) { o.Network = host })
			err := me.Reach(t.Context(), "n-09", host.to)
			if !errors.Is(err, want) {
				t.Errorf("%d slow tries: %v, want %v", slow, err, want)
			}
			if asked := host.asked - slow; slow == 5 && asked != 10 {
				t.Errorf("%d tries counted, want 10", asked)
			}
		})
	}
}

func TestProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 2)
		newcomer := c.net.Host("10.0.0.77")
		o := gossip.Options{ID: "n-new", Bind: newcomer.Addr(port), Keyring: c.keys, Network: newcomer}
		at := c.nodes[0].addr
		if err := gossip.Probe(t.Context(), o, at, "n-01"); err != nil {
			t.Errorf("a master that can be reached: %v", err)
		}
		if err := gossip.Probe(t.Context(), o, netip.AddrPortFrom(at.Addr(), 1), "n-01"); !errors.Is(err, gossip.ErrRefused) {
			t.Errorf("a port where nobody listens: %v", err)
		}
		wrong := o
		wrong.Keyring.Primary = gossip.NewKey()
		if err := gossip.Probe(t.Context(), wrong, at, "n-01"); !errors.Is(err, gossip.ErrUnreachable) {
			t.Errorf("with a wrong key: %v", err)
		}
		if got := len(c.nodes[0].Members()); got != 1 {
			t.Errorf("after probing %d members are known, want 1", got)
		}
	})
}

// TestOnLoopback runs the real sockets, IPv4 and IPv6.
func TestOnLoopback(t *testing.T) {
	t.Parallel()
	for _, ip := range []string{"127.0.0.1", "::1"} {
		t.Run(ip, func(t *testing.T) {
			t.Parallel()
			bind := netip.AddrPortFrom(netip.MustParseAddr(ip), 0)
			keys := gossip.Keyring{Primary: gossip.NewKey()}
			var nodes []*node
			for i := range 3 {
				o := gossip.Options{ID: fmt.Sprintf("n-%d", i), Bind: bind, Keyring: keys}
				if i > 0 {
					o.Peers = []netip.AddrPort{nodes[0].Addr()}
				}
				nodes = append(nodes, launch(t, o))
			}
			for _, n := range nodes {
				eventually(t, n.id+" sees two others", func() bool { return n.Stats().Alive == 2 })
			}
			if err := nodes[0].Reach(t.Context(), "n-1", nodes[1].Addr()); err != nil {
				t.Error(err)
			}
			if err := nodes[0].Reach(t.Context(), "n-1", netip.AddrPortFrom(bind.Addr(), 1)); !errors.Is(err, gossip.ErrRefused) {
				t.Errorf("a closed port: %v", err)
			}
			nodes[2].stop()
			eventually(t, "the goodbye is seen", func() bool { return nodes[0].state("n-2") == gossip.Left })
			s := nodes[0].Stats()
			if s.PacketsIn == 0 || s.PacketsOut == 0 || s.BytesIn == 0 || s.BytesOut == 0 || s.StreamsIn == 0 || s.Left != 1 {
				t.Errorf("stats: %+v", s)
			}
		})
	}
}

func TestProfilesTalkToEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 2)
		for i, p := range []gossip.Profile{gossip.ProfileWiFi, gossip.ProfileWAN} {
			c.start(string(p), fmt.Sprintf("10.0.1.%d", i+1), func(o *gossip.Options) { o.Profile = p })
		}
		c.settled(c.nodes...)
		never(t, time.Second, "somebody is lost", func() bool { return c.nodes[0].Stats().Lost > 0 })
	})
}
