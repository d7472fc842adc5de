package gossip_test

import (
	"flag"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"piccolo.io/piccolo/gossip"
)

// measure makes the tests of this file run as long as DESIGN.md's figures need.
var measure = flag.Bool("measure", false, "take many samples, and print them")

// faults by name; each is ended by mend.
var faults = map[string]func(*cluster, *node){
	"freeze": func(c *cluster, n *node) { c.net.Freeze(n.host) },
	"unplug": func(c *cluster, n *node) { c.net.Unplug(n.host) },
	"mute":   func(c *cluster, n *node) { c.oneWay(n, true) },
	"deaf":   func(c *cluster, n *node) { c.oneWay(n, false) },
}

// oneWay cuts what a node says, or what it hears.
func (c *cluster) oneWay(n *node, says bool) {
	for _, o := range c.nodes {
		if o != n && says {
			c.net.CutOneWay(n.host, o.host)
		} else if o != n {
			c.net.CutOneWay(o.host, n.host)
		}
	}
}

func (c *cluster) mend() {
	c.net.Heal()
	for _, n := range c.nodes {
		c.net.Thaw(n.host)
	}
}

func TestLossIsFoundInTime(t *testing.T) {
	limits := map[gossip.Profile]time.Duration{gossip.ProfileLAN: time.Second, gossip.ProfileWiFi: 3 * time.Second, gossip.ProfileWAN: 10 * time.Second}
	samples := 3
	if *measure {
		samples = 100
	}
	for _, p := range []gossip.Profile{gossip.ProfileLAN, gossip.ProfileWiFi, gossip.ProfileWAN} {
		for _, size := range []int{2, 3, 5, 10} {
			for fault, strike := range faults {
				t.Run(fmt.Sprintf("%s/%d/%s", p, size, fault), func(t *testing.T) {
					watched(t, size, p, func(t *testing.T, c *cluster, j *judge) {
						var took, heal []time.Duration
						for i := range samples {
							victim := c.nodes[1+i%(size-1)]
							time.Sleep(time.Duration(i*37%1000) * limits[p] / 1000) // any phase
							j.forget()
							began := time.Now()
							strike(c, victim)
							eventually(t, "the loss of "+victim.id+" is found", func() bool { return !j.lost(victim.id).IsZero() })
							took = append(took, j.lost(victim.id).Sub(began))
							if i%3 == 0 {
								time.Sleep(30 * time.Second) // memberlist finds it too
							}
							if wrong := j.condemned(victim.id); len(wrong) > 0 {
								t.Errorf("innocent, condemned: %v", wrong)
							}
							c.mend()
							heal = append(heal, c.agreed())
							time.Sleep(5 * time.Second)
						}
						report(t, "loss to verdict", took)
						report(t, "heal to agreement", heal)
						if worst := slices.Max(took); worst > limits[p] {
							t.Errorf("found after %v, limit %v", worst, limits[p])
						}
						if worst := slices.Max(heal); worst > 3*time.Second {
							t.Errorf("agreed after %v", worst)
						}
					})
				})
			}
		}
	}
}

func report(t *testing.T, what string, took []time.Duration) {
	if *measure {
		slices.Sort(took)
		t.Logf("%s: n=%d p50 %v p99 %v max %v", what, len(took), took[len(took)/2].Round(time.Millisecond),
			took[len(took)*99/100].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond))
	}
}

func TestNobodyIsCondemnedForLostPackets(t *testing.T) {
	span := 2 * time.Minute
	if *measure {
		span = 60 * time.Minute
	}
	for _, p := range []gossip.Profile{gossip.ProfileLAN, gossip.ProfileWiFi, gossip.ProfileWAN} {
		for _, size := range []int{2, 3, 5, 10} {
			for _, loss := range []float64{0.1, 0.2} {
				t.Run(fmt.Sprintf("%s/%d/%.0f%%", p, size, 100*loss), func(t *testing.T) {
					watched(t, size, p, func(t *testing.T, c *cluster, j *judge) {
						c.net.Loss(loss)
						time.Sleep(span)
						silent, died := j.count()
						wrong := j.condemned()
						if *measure {
							t.Logf("per hour: silent %.1f, died %.1f, condemned %d", float64(silent)/span.Hours(), float64(died)/span.Hours(), len(wrong))
						}
						if len(wrong) > 0 {
							t.Errorf("condemned: %v", wrong)
						}
						c.net.Loss(0)
						c.settled(c.nodes...)
					})
				})
			}
		}
	}
}

// A node's stall is none if it is short, and all nodes' at once.
func TestShortStallsAreNoLoss(t *testing.T) {
	rounds := 20
	if *measure {
		rounds = 300
	}
	for p, stall := range map[gossip.Profile]time.Duration{gossip.ProfileLAN: 300 * time.Millisecond, gossip.ProfileWiFi: 1500 * time.Millisecond} {
		for _, size := range []int{2, 3, 10} {
			for _, all := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%d/all=%v", p, size, all), func(t *testing.T) {
					watched(t, size, p, func(t *testing.T, c *cluster, j *judge) {
						for i := range rounds {
							who := c.nodes[i%size : i%size+1]
							if all {
								who = c.nodes
							}
							for _, n := range who {
								c.net.Freeze(n.host)
							}
							time.Sleep(stall)
							for _, n := range who {
								c.net.Thaw(n.host)
							}
							time.Sleep(3*stall + time.Duration(i*13)*time.Millisecond)
						}
						time.Sleep(5 * time.Second)
						if silent, died := j.count(); silent+died > 0 || len(j.condemned()) > 0 {
							t.Errorf("%d silences, %d deaths, condemned %v", silent, died, j.condemned())
						}
					})
				})
			}
		}
	}
}

// An observer that was stalled itself suspects nobody when it wakes.
func TestObserverDoubtsItselfFirst(t *testing.T) {
	for _, stall := range []time.Duration{300 * time.Millisecond, 700 * time.Millisecond, 5 * time.Second, 5 * time.Minute} {
		for _, size := range []int{2, 3, 5, 10} {
			t.Run(fmt.Sprintf("%v/%d", stall, size), func(t *testing.T) {
				watched(t, size, gossip.ProfileLAN, func(t *testing.T, c *cluster, j *judge) {
					for range 5 {
						c.net.Freeze(c.nodes[0].host)
						time.Sleep(stall)
						c.net.Thaw(c.nodes[0].host)
						c.agreed()
						time.Sleep(8 * time.Second)
					}
					if silent, died := j.count(); silent+died > 0 || len(j.condemned()) > 0 {
						t.Errorf("%d silences, %d deaths, verdicts %v", silent, died, j.verdicts)
					}
				})
			})
		}
	}
}

func TestDelayAndJitterAreNoLossInWAN(t *testing.T) {
	for _, size := range []int{2, 5, 10} {
		watched(t, size, gossip.ProfileWAN, func(t *testing.T, c *cluster, j *judge) {
			c.net.Delay(150*time.Millisecond, 50*time.Millisecond)
			time.Sleep(10 * time.Minute)
			if silent, died := j.count(); silent+died > 0 || len(j.condemned()) > 0 {
				t.Errorf("%d nodes: %d silences, %d deaths, condemned %v", size, silent, died, j.condemned())
			}
		})
	}
}

// Watchers that are lost together with whom they watch leave nobody to tell of it.
func TestSeveralBoardsAtOnce(t *testing.T) {
	for _, tc := range []struct{ size, from, n int }{{3, 1, 2}, {4, 1, 2}, {5, 1, 3}, {5, 2, 3}, {10, 1, 9}, {10, 3, 3}, {10, 4, 5}, {10, 8, 2}} {
		t.Run(fmt.Sprintf("%d of %d", tc.n, tc.size), func(t *testing.T) {
			watched(t, tc.size, gossip.ProfileLAN, func(t *testing.T, c *cluster, j *judge) {
				began := time.Now()
				var gone []string
				for _, n := range c.nodes[tc.from : tc.from+tc.n] {
					c.net.Freeze(n.host)
					gone = append(gone, n.id)
				}
				for _, id := range gone {
					eventually(t, "the loss of "+id+" is found", func() bool { return !j.lost(id).IsZero() })
					if took := j.lost(id).Sub(began); took > 1200*time.Millisecond {
						t.Errorf("%s was found after %v", id, took)
					}
				}
				time.Sleep(10 * time.Second)
				if wrong := j.condemned(gone...); len(wrong) > 0 {
					t.Errorf("innocent, condemned: %v", wrong)
				}
				for _, e := range j.suspected(gone...) {
					if e.By != gossip.Unwatched {
						t.Errorf("%s lives and is suspected by %s", e.Member.ID, e.By)
					}
				}
				c.mend()
				c.agreed()
			})
		})
	}
}

// Boards that go one after the other are found, although the ring has not closed yet.
func TestBoardsOneAfterTheOther(t *testing.T) {
	watched(t, 10, gossip.ProfileLAN, func(t *testing.T, c *cluster, j *judge) {
		for _, i := range []int{6, 5, 4, 3} { // each is a watcher of the next
			began := time.Now()
			c.net.Unplug(c.nodes[i].host)
			eventually(t, "the loss of "+c.nodes[i].id+" is found", func() bool { return !j.lost(c.nodes[i].id).IsZero() })
			if took := j.lost(c.nodes[i].id).Sub(began); took > 1300*time.Millisecond {
				t.Errorf("%s was found after %v", c.nodes[i].id, took)
			}
		}
		if wrong := j.condemned("n-06", "n-05", "n-04", "n-03"); len(wrong) > 0 {
			t.Errorf("innocent, condemned: %v", wrong)
		}
	})
}

// A node is judged by its own link where there are others to watch it whose links are no worse.
func TestMixedProfiles(t *testing.T) {
	profiles := []gossip.Profile{gossip.ProfileWiFi, gossip.ProfileLAN, gossip.ProfileWiFi, gossip.ProfileLAN, gossip.ProfileWAN, gossip.ProfileLAN, gossip.ProfileWiFi}
	limits := map[gossip.Profile]time.Duration{gossip.ProfileLAN: time.Second, gossip.ProfileWiFi: 3 * time.Second, gossip.ProfileWAN: 10 * time.Second}
	mixed(t, profiles, func(t *testing.T, c *cluster) {
		j := appoint(t, c.nodes[1])
		for i, p := range profiles {
			if i == 1 {
				continue
			}
			victim, began := c.nodes[i], time.Now()
			c.net.Freeze(victim.host)
			eventually(t, "the loss of "+victim.id+" is found", func() bool { return !j.lost(victim.id).IsZero() })
			if took := j.lost(victim.id).Sub(began); took > limits[p] {
				t.Errorf("%s, %s, was found after %v", victim.id, p, took)
			}
			if wrong := j.condemned(victim.id); len(wrong) > 0 {
				t.Errorf("innocent, condemned: %v", wrong)
			}
			c.net.Thaw(victim.host)
			c.agreed()
			j.forget()
		}
	})
}

// An observer whose radio stalls takes that for nobody else's loss.
func TestOwnRadioStalls(t *testing.T) {
	for _, others := range []int{1, 2, 5} {
		profiles := append([]gossip.Profile{gossip.ProfileWiFi}, slices.Repeat([]gossip.Profile{gossip.ProfileLAN}, others)...)
		mixed(t, profiles, func(t *testing.T, c *cluster) {
			j := appoint(t, c.nodes[0])
			for i := range 20 {
				c.oneWay(c.nodes[0], true)
				c.oneWay(c.nodes[0], false)
				time.Sleep(1500 * time.Millisecond)
				c.net.Heal()
				time.Sleep(5*time.Second + time.Duration(i*31)*time.Millisecond)
			}
			if wrong := j.condemned(); len(wrong) > 0 {
				t.Errorf("%d others, innocent, condemned: %v", others, wrong)
			}
		})
	}
}

// An observer that takes office later, or was stalled itself, is told of who is silent all the same.
func TestSilenceIsToldAgain(t *testing.T) {
	watched(t, 5, gossip.ProfileLAN, func(t *testing.T, c *cluster, _ *judge) {
		c.net.Freeze(c.nodes[0].host)
		c.net.Freeze(c.nodes[3].host)
		time.Sleep(time.Second) // the only observer has missed it
		c.observed(1)
		j := appoint(t, c.nodes[1])
		time.Sleep(2100 * time.Millisecond) // 2 × 510 ms, the time to ask again, and to confirm
		if j.lost("n-03").IsZero() || j.lost("n-00").IsZero() {
			t.Errorf("the new observer knows nothing of it: %v", j.verdicts)
		}
		if silent, died := j.count(); died > 0 {
			t.Errorf("%d silences and %d deaths were told; this should not need memberlist", silent, died)
		}
	})
}

// mixed runs f with one node of each profile, of which the first two are observers.
func mixed(t *testing.T, profiles []gossip.Profile, f func(*testing.T, *cluster)) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 0)
		for i, p := range profiles {
			c.start(fmt.Sprintf("n-%02d", i), fmt.Sprintf("10.0.0.%d", i+1), func(o *gossip.Options) { o.Profile = p })
		}
		c.settled(c.nodes...)
		c.net.Delay(time.Millisecond, 0)
		c.observed(0, 1)
		time.Sleep(3 * time.Second)
		f(t, c)
	})
}

// A report whose acknowledgement is lost comes again, and is told once.
func TestReportIsToldOnce(t *testing.T) {
	watched(t, 5, gossip.ProfileLAN, func(t *testing.T, c *cluster, j *judge) {
		for _, witness := range c.nodes[2:4] { // they watch the next
			c.net.CutOneWay(c.nodes[0].host, witness.host)
		}
		time.Sleep(3 * time.Second)
		j.forget()
		c.net.Unplug(c.nodes[1].host)
		time.Sleep(1500 * time.Millisecond)
		if silent, _ := j.count(); silent == 0 || silent > 5 {
			t.Errorf("%d silences were told; 2 witnesses tell each second", silent)
		}
	})
}

// A death that happens while the observer is stalled is held back, not forgotten.
func TestDeathDuringOwnStallIsToldInTheEnd(t *testing.T) {
	watched(t, 3, gossip.ProfileLAN, func(t *testing.T, c *cluster, _ *judge) {
		me, other := c.nodes[0], c.nodes[2]
		c.net.Freeze(me.host)
		c.net.Kill(other.host)
		time.Sleep(20 * time.Second)
		c.net.Thaw(me.host)
		eventually(t, "the death is told", func() bool { return me.log.has(gossip.Died, other.id) })
	})
}
