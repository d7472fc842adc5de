package gossip_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"piccolo.io/piccolo/gossip"
)

func TestBrokenLinksAreKnownToAllUntilTheyAreMended(t *testing.T) {
	// A watcher finds its link broken in the time of a silence, and tells the other end. Otherwise it takes two rounds
	// of memberlist's probes over nine others.
	short := map[gossip.Profile]time.Duration{gossip.ProfileLAN: 4 * time.Second, gossip.ProfileWiFi: 7 * time.Second, gossip.ProfileWAN: 14 * time.Second}
	limits := map[gossip.Profile]time.Duration{gossip.ProfileLAN: 25 * time.Second, gossip.ProfileWiFi: 36 * time.Second, gossip.ProfileWAN: 50 * time.Second}
	for _, p := range []gossip.Profile{gossip.ProfileLAN, gossip.ProfileWiFi, gossip.ProfileWAN} {
		for _, pair := range [][2]int{{2, 3}, {0, 5}, {1, 8}} { // one is in the other's ring, or not
			for _, oneWay := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%v/one way %v", p, pair, oneWay), func(t *testing.T) {
					watched(t, 10, p, func(t *testing.T, c *cluster, j *judge) {
						a, b := c.nodes[pair[0]], c.nodes[pair[1]]
						began := time.Now()
						c.net.CutOneWay(a.host, b.host)
						if !oneWay {
							c.net.CutOneWay(b.host, a.host)
						}
						want := []gossip.Link{{From: a.id, To: b.id}, {From: b.id, To: a.id}}
						c.linked(want...)
						known := time.Since(began)
						limit := limits[p]
						if pair == [2]int{2, 3} {
							limit = short[p]
						}
						if known > limit {
							t.Errorf("known to all after %v, limit %v", known, limit)
						}
						time.Sleep(time.Minute)
						c.linked(want...)
						if len(j.condemned()) > 0 {
							t.Errorf("condemned: %v", j.condemned())
						}
						began = time.Now()
						c.net.Heal()
						c.linked()
						mended := time.Since(began)
						if mended > 3*time.Second {
							t.Errorf("told mended after %v", mended)
						}
						if *measure {
							t.Logf("known to all after %v, mended after %v", known, mended)
						}
					})
				})
			}
		}
	}
}

// linked waits until all nodes know the same broken links.
func (c *cluster) linked(want ...gossip.Link) {
	c.t.Helper()
	last := map[string][]gossip.Link{}
	ok := within(5*time.Minute, func() bool {
		all := true
		for _, n := range c.nodes {
			last[n.id] = n.Links()
			all = all && slices.Equal(last[n.id], want)
		}
		return all
	})
	if !ok {
		c.t.Fatalf("the broken links are not %v to all: %v", want, last)
	}
}

func TestReachTellsWhoReachesANodeThatItDoesNot(t *testing.T) {
	watched(t, 5, gossip.ProfileLAN, func(t *testing.T, c *cluster, _ *judge) {
		me, other := c.nodes[0], c.nodes[4]
		c.net.Cut(me.host, other.host)
		c.net.Cut(c.nodes[1].host, other.host)
		began := time.Now()
		err := me.Reach(t.Context(), other.id, other.addr)
		if took := time.Since(began); took > 310*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		degraded, is := errors.AsType[*gossip.DegradedError](err)
		if !is || !errors.Is(err, gossip.ErrDegraded) || errors.Is(err, gossip.ErrUnreachable) || !slices.Equal(degraded.By, []string{"n-02", "n-03"}) {
			t.Errorf("%v, want that n-02 and n-03 reach it", err)
		}
		if got := me.Links(); !slices.Equal(got, []gossip.Link{{From: "n-00", To: "n-04"}}) {
			t.Errorf("links at once: %v", got)
		}
		c.net.Unplug(me.host)
		if err := me.Reach(t.Context(), other.id, other.addr); !errors.Is(err, gossip.ErrNoPath) {
			t.Errorf("without a cable: %v", err)
		}
		c.net.Heal()
		c.linked()
	})
}

// A node whose own cable is out says nothing of others.
func TestOwnCableIsOut(t *testing.T) {
	for _, size := range []int{2, 5} {
		watched(t, size, gossip.ProfileLAN, func(t *testing.T, c *cluster, j *judge) {
			c.net.Unplug(c.nodes[0].host)
			time.Sleep(3 * time.Second)
			if silent, _ := j.count(); silent > 0 {
				t.Errorf("%d silences of %d nodes", silent, size)
			}
			time.Sleep(time.Minute) // memberlist tells deaths
			if _, died := j.count(); died != size-1 || len(j.condemned()) > 0 {
				t.Errorf("%d deaths of %d nodes, condemned %v", died, size, j.condemned())
			}
		})
	}
}
