package gossip_test

import (
	"net/netip"
	"testing"
	"time"

	"piccolo.io/piccolo/gossip"
)

// silences of node id that the first node of the cluster was told.
func (c *cluster) silences(id string) (n int) {
	for _, e := range c.nodes[0].log.all() {
		if e.Kind == gossip.Silent && e.Member.ID == id {
			n++
		}
	}
	return n
}

func TestSilenceIsToldBeforeDeath(t *testing.T) {
	virtual(t, 3, gossip.ProfileLAN, func(t *testing.T, c *cluster) {
		for _, n := range c.nodes {
			if err := n.SetWatchers([]netip.AddrPort{c.nodes[0].addr}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(5 * time.Second)
		if n := c.silences("b") + c.silences("c"); n > 0 {
			t.Fatalf("%d silences although all beats came", n)
		}
		c.net.Freeze(c.nodes[2].host)
		time.Sleep(600 * time.Millisecond) // 510 ms without a beat
		if c.silences("c") != 1 || c.silences("b") != 0 || c.deaths() != 0 {
			t.Errorf("after the freeze: %d silences of c, %d of b, %d deaths; want 1, 0, 0", c.silences("c"), c.silences("b"), c.deaths())
		}
		c.net.Thaw(c.nodes[2].host)
		time.Sleep(time.Second)
		c.net.Freeze(c.nodes[2].host)
		time.Sleep(600 * time.Millisecond)
		if c.silences("c") != 2 {
			t.Errorf("%d silences after a second freeze, want 2", c.silences("c"))
		}
		c.net.Thaw(c.nodes[2].host)
		c.settled(c.nodes...)
	})
}

// Whoever freezes right after coming back has beaten all the same.
func TestTheFirstBeatGoesOutAtOnce(t *testing.T) {
	virtual(t, 3, gossip.ProfileLAN, func(t *testing.T, c *cluster) {
		time.Sleep(time.Second)
		if err := c.nodes[2].SetWatchers([]netip.AddrPort{c.nodes[0].addr}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
		c.net.Freeze(c.nodes[2].host)
		time.Sleep(600 * time.Millisecond)
		if n := c.silences("c"); n != 1 {
			t.Errorf("%d silences of a node that froze 50 ms after its watchers were set, want 1", n)
		}
		c.net.Thaw(c.nodes[2].host)
		c.settled(c.nodes...)
	})
}

func TestNodesThatBeatForOthersAreNeverSilent(t *testing.T) {
	virtual(t, 3, gossip.ProfileLAN, func(t *testing.T, c *cluster) {
		if err := c.nodes[2].SetWatchers([]netip.AddrPort{c.nodes[1].addr}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		for _, n := range c.nodes[1:] { // one beats for another, one for nobody
			c.net.Freeze(n.host)
		}
		eventually(t, "both are lost", func() bool { return c.nodes[0].Stats().Lost == 2 })
		for _, n := range c.nodes[1:] {
			c.net.Thaw(n.host)
		}
		c.settled(c.nodes...)
		if n := c.silences("b") + c.silences("c"); n > 0 {
			t.Errorf("%d silences of nodes that never beat for this one", n)
		}
	})
}

// One beat in three may be lost without a word.
func TestLostBeatsAreNoSilence(t *testing.T) {
	virtual(t, 2, gossip.ProfileLAN, func(t *testing.T, c *cluster) {
		if err := c.nodes[1].SetWatchers([]netip.AddrPort{c.nodes[0].addr}); err != nil {
			t.Fatal(err)
		}
		c.net.Loss(0.10)
		time.Sleep(time.Minute)
		// Three in a row are lost once in 1000: 375 beats in a minute.
		if n := c.silences("b"); n > 4 {
			t.Errorf("%d silences in a minute at 10 %% loss", n)
		}
		c.net.Loss(0)
		c.settled(c.nodes...)
	})
}
