package gossip_test

import (
	"fmt"
	"testing"
	"time"

	"piccolo.io/piccolo/gossip"
)

// agreed waits until all nodes that run see all the others, and the same of each, and gives how long that took.
func (c *cluster) agreed() time.Duration {
	c.t.Helper()
	began := time.Now()
	eventually(c.t, "all views agree", func() bool {
		for _, n := range c.nodes {
			for _, m := range n.Members() {
				if m.State != gossip.Alive || m.Meta != c.node(m.ID).Meta() {
					return false
				}
			}
			if n.Stats().Alive != len(c.nodes)-1 {
				return false
			}
		}
		return true
	})
	return time.Since(began)
}

func (c *cluster) node(id string) *node {
	for _, n := range c.nodes {
		if n.id == id {
			return n
		}
	}
	c.t.Fatalf("there is no node %s", id)
	return nil
}

// However long a cut lasts, and whatever news was missed meanwhile, all views agree within 3 s of its end.
func TestViewsAgreeSoonAfterACut(t *testing.T) {
	cuts := []time.Duration{2 * time.Second, 7 * time.Second, time.Minute}
	if *measure {
		cuts = append(cuts, 15*time.Minute)
	}
	for _, p := range []gossip.Profile{gossip.ProfileLAN, gossip.ProfileWiFi, gossip.ProfileWAN} {
		for _, lasts := range cuts {
			for _, cut := range []int{1, 5} { // nodes on one side
				t.Run(fmt.Sprintf("%s/%v/%d", p, lasts, cut), func(t *testing.T) {
					watched(t, 9, p, func(t *testing.T, c *cluster, _ *judge) {
						for _, a := range c.nodes[9-cut:] {
							for _, b := range c.nodes[:9-cut] {
								c.net.Cut(a.host, b.host)
							}
						}
						c.cutOff(c.start("n-99", "10.0.9.9", func(o *gossip.Options) { o.Profile = p }), cut)
						for i, n := range c.nodes[:9] {
							if err := n.SetMeta(gossip.Meta{Role: "sub", Version: fmt.Sprint("2.", i)}); err != nil {
								t.Fatal(err)
							}
						}
						time.Sleep(lasts)
						c.net.Heal()
						took := c.agreed()
						if *measure {
							t.Logf("agreed after %v", took)
						}
						if took > 3*time.Second {
							t.Errorf("agreed after %v", took)
						}
					})
				})
			}
		}
	}
}

// cutOff puts a newcomer on the side of the first nodes.
func (c *cluster) cutOff(n *node, cut int) {
	for _, a := range c.nodes[9-cut : 9] {
		c.net.Cut(a.host, n.host)
	}
}
