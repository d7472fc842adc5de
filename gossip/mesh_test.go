package gossip_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"piccolo.io/piccolo/gossip"
	"piccolo.io/piccolo/gossip/gossiptest"
)

func TestTenNodesJoinAndKnowEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 10)
		for _, n := range c.nodes {
			for _, m := range n.Members() {
				if m.State != gossip.Alive || m.Meta.Role != "sub" || m.Meta.Instance == "" || !m.Addr.IsValid() {
					t.Errorf("%s sees %+v", n.id, m)
				}
			}
		}
		first := c.nodes[0]
		before := first.Stats().Dials
		never(t, time.Second, "a dial although all views agree", func() bool { return first.Stats().Dials != before })
		c.net.Delay(time.Millisecond, 0) // virtual time would not move
		eventually(t, "round trips are measured", func() bool { return first.Members()[0].RTT > 0 })
	})
}

func TestKilledNodeIsLostAndReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 4)
		dead := c.nodes[3]
		c.net.Kill(dead.host)
		for _, n := range c.nodes[:3] {
			eventually(t, n.id+" is told of the death", func() bool { return n.log.has(gossip.Died, dead.id) })
			if got := n.state(dead.id); got != gossip.Lost {
				t.Errorf("%s holds the killed node for %v", n.id, got)
			}
		}
		dead.stop()
		c.net.Revive(dead.host)
		c.nodes = c.nodes[:3]
		c.start(dead.id, "10.0.0.4", nil)
		c.settled(c.nodes...)
	})
}

func TestGracefulLeaveIsDepartedAndNotDied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 5)
		gone := c.nodes[4]
		gone.stop()
		for _, n := range c.nodes[:4] {
			eventually(t, n.id+" is told of the goodbye", func() bool { return n.log.has(gossip.Departed, gone.id) })
			if n.log.has(gossip.Died, gone.id) {
				t.Errorf("%s was told of a death", n.id)
			}
		}
		one := c.nodes[0]
		before := one.Stats().Dials
		never(t, time.Second, "somebody who left was dialled", func() bool { return one.Stats().Dials != before })
		one.Forget(gone.id)
		if one.state(gone.id) != 0 {
			t.Error("a forgotten member is still listed")
		}
	})
}

func TestGoodbyeReachesWhoWasCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 4)
		cut, gone := c.nodes[0], c.nodes[3]
		c.net.Unplug(cut.host)
		eventually(t, "the cut node lost the others", func() bool { return cut.Stats().Lost == 3 })
		gone.stop()
		c.net.Heal()
		eventually(t, "the goodbye is learnt afterwards", func() bool { return cut.state(gone.id) == gossip.Left })
	})
}

func TestViewsAgreeAgainAfterMutualDeath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 6)
		left, right := c.nodes[:3], c.nodes[3:]
		for _, a := range left {
			for _, b := range right {
				c.net.Cut(a.host, b.host)
			}
		}
		for _, n := range c.nodes {
			eventually(t, n.id+" lost the other half", func() bool { return n.Stats().Lost == 3 && n.Stats().Alive == 2 })
		}
		c.net.Heal()
		c.settled(c.nodes...)
	})
}

func TestTwoNodesMeetAgainWithoutConfiguredPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 2)
		for _, n := range c.nodes {
			if err := n.SetPeers(nil); err != nil {
				t.Fatal(err)
			}
		}
		c.net.Cut(c.nodes[0].host, c.nodes[1].host)
		for _, n := range c.nodes {
			eventually(t, n.id+" lost the other", func() bool { return n.Stats().Lost == 1 })
		}
		c.net.Heal()
		c.nodes[0].Redial()
		c.settled(c.nodes...)
	})
}

func TestFrozenNodeIsLostAndReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 4)
		frozen := c.nodes[3]
		c.net.Freeze(frozen.host)
		for _, n := range c.nodes[:3] {
			eventually(t, n.id+" lost the frozen node", func() bool { return n.state(frozen.id) == gossip.Lost })
		}
		c.net.Thaw(frozen.host)
		c.settled(c.nodes...)
	})
}

func TestMetaReachesEverybody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 4)
		was := c.nodes[0].Meta()
		next := gossip.Meta{Role: "master", API: netip.MustParseAddrPort("[fd00::1]:7443"), Version: "1.1", Instance: "mine"}
		if err := c.nodes[0].SetMeta(next); err != nil {
			t.Fatal(err)
		}
		next.Instance, next.Profile = was.Instance, was.Profile
		for _, n := range c.nodes[1:] {
			eventually(t, n.id+" has the new meta", func() bool { return n.Members()[0].Meta == next })
			if !n.log.has(gossip.Updated, "n-01") {
				eventually(t, "an event tells of it", func() bool { return n.log.has(gossip.Updated, "n-01") })
			}
		}
		if err := c.nodes[0].SetMeta(gossip.Meta{Role: strings.Repeat("x", 600)}); !errors.Is(err, gossip.ErrInvalid) {
			t.Errorf("a meta that is too long: %v", err)
		}
	})
}

func TestRestartTellsOfTheNewProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		old := c.nodes[2]
		was := old.Meta().Instance
		c.net.Kill(old.host)
		old.stop()
		c.net.Revive(old.host)
		c.nodes = c.nodes[:2]
		again := c.start(old.id, "10.0.0.3", nil)
		now := again.Meta().Instance
		if was == now {
			t.Fatal("two processes have one instance id")
		}
		for _, n := range c.nodes[:2] {
			eventually(t, n.id+" is told of the new process", func() bool {
				for _, e := range n.log.all() {
					if e.Kind == gossip.Joined && e.Member.Meta.Instance == now {
						return true
					}
				}
				return false
			})
		}
	})
}

func TestMovedNodeIsTheSameNode(t *testing.T) {
	for _, p := range []gossip.Profile{gossip.ProfileLAN, gossip.ProfileWiFi, gossip.ProfileWAN} {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t, 0)
			profile := func(o *gossip.Options) { o.Profile = p }
			for i := 1; i <= 4; i++ {
				c.start(fmt.Sprintf("n-%02d", i), fmt.Sprintf("10.0.0.%d", i), profile)
			}
			c.settled(c.nodes...)
			old := c.nodes[3]
			c.net.Kill(old.host)
			old.stop()
			c.nodes = c.nodes[:3]
			moved := c.start(old.id, "10.0.9.9", profile) // at once: the others still hold the old address for alive
			for _, n := range c.nodes[:3] {
				if !within(time.Minute, func() bool {
					m := n.Members()[2]
					return m.ID == old.id && m.State == gossip.Alive && m.Addr == moved.addr
				}) {
					t.Errorf("%s: %s has not got the new address: %+v", p, n.id, n.Members()[2])
				}
				if n.log.has(gossip.Conflict, old.id) {
					t.Errorf("%s: %s took a move for a second machine", p, n.id)
				}
			}
		})
	}
}

func TestSecondMachineWithTheSameIDIsAConflict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		real := c.nodes[2]
		twin := c.start(real.id, "10.0.0.66", nil)
		first := c.nodes[0]
		eventually(t, "the conflict is told", func() bool { return first.log.has(gossip.Conflict, real.id) })
		for _, e := range first.log.all() {
			if e.Kind == gossip.Conflict && (e.Member.Addr != real.addr || e.Other != twin.addr) {
				t.Errorf("conflict between %s and %s", e.Member.Addr, e.Other)
			}
		}
		if first.state(real.id) != gossip.Alive {
			t.Error("the first machine was pushed out")
		}
	})
}

func TestFollowBeginsWithASnapshotAndCoalesces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		first := c.nodes[0]
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var got []gossip.Event
		block := make(chan struct{})
		done := make(chan error, 1)
		go func() {
			done <- first.Follow(ctx, func(e gossip.Event) {
				got = append(got, e)
				if len(got) == 2 {
					<-block
				}
				if e.Member.Meta.Version == "v9" {
					cancel()
				}
			})
		}()
		for i := range 10 {
			version := fmt.Sprintf("v%d", i)
			if err := c.nodes[1].SetMeta(gossip.Meta{Version: version}); err != nil {
				t.Fatal(err)
			}
			eventually(t, version+" has arrived", func() bool { return first.Members()[0].Meta.Version == version })
		}
		close(block)
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if !got[0].Snapshot || !got[1].Snapshot || got[0].Member.ID != "n-02" || got[1].Member.ID != "n-03" {
			t.Errorf("the snapshot is %+v", got[:2])
		}
		if len(got) != 3 {
			t.Errorf("a reader that was behind got %d events, want the snapshot and the newest", len(got))
		}
	})
}

func TestRunOnlyOnceAndNotWithoutAPort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		if err := c.nodes[0].Run(t.Context()); !errors.Is(err, gossip.ErrNotRunning) {
			t.Errorf("a second Run: %v", err)
		}
		m, err := gossip.New(gossip.Options{ID: "x", Bind: c.nodes[0].addr, Keyring: c.keys, Network: c.nodes[0].host})
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "10.0.0.1:7946") {
			t.Errorf("a port that is taken: %v", err)
		}
		if err := m.Reach(t.Context(), "n-01", c.nodes[0].addr); !errors.Is(err, gossip.ErrNotRunning) {
			t.Errorf("Reach of a mesh that doesn't run: %v", err)
		}
	})
}

func TestOptionsNameTheField(t *testing.T) {
	host := gossiptest.New(1).Host("10.0.0.1")
	good := gossip.Options{ID: "n-1", Bind: host.Addr(1), Keyring: gossip.Keyring{Primary: gossip.NewKey()}, Network: host}
	for field, spoil := range map[string]func(*gossip.Options){
		"ID":          func(o *gossip.Options) { o.ID = "a b" },
		"ID ":         func(o *gossip.Options) { o.ID = "a/b" },
		"Bind":        func(o *gossip.Options) { o.Bind = netip.AddrPort{} },
		"Advertise":   func(o *gossip.Options) { o.Bind = netip.MustParseAddrPort("0.0.0.0:7946") },
		"Advertise ":  func(o *gossip.Options) { o.Advertise = netip.MustParseAddrPort("[fe80::1%eth0]:1") },
		"Keyring":     func(o *gossip.Options) { o.Keyring = gossip.Keyring{} },
		"Keyring:":    func(o *gossip.Options) { o.Keyring.Others = []gossip.Key{o.Keyring.Primary} },
		"Profile":     func(o *gossip.Options) { o.Profile = "moon" },
		"Meta: ":      func(o *gossip.Options) { o.Meta.Version = strings.Repeat("x", 65) },
		"Peers: 0.0.": func(o *gossip.Options) { o.Peers = []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:1")} },
		"Peers: 10.":  func(o *gossip.Options) { o.Peers = []netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:0")} },
	} {
		o := good
		spoil(&o)
		_, err := gossip.New(o)
		if !errors.Is(err, gossip.ErrInvalid) || !strings.Contains(err.Error(), "gossip options: "+strings.TrimSpace(field)) {
			t.Errorf("%s: %v", field, err)
		}
	}
	if _, err := gossip.New(good); err != nil {
		t.Error(err)
	}
}
