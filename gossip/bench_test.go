package gossip_test

import (
	"fmt"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"piccolo.io/piccolo/gossip"
)

// BenchmarkLoss measures from the fault until the last of nine survivors is told of it:
//
//	go test -run - -bench Loss -benchtime 30x ./gossip/
func BenchmarkLoss(b *testing.B) {
	for _, fault := range []string{"kill", "freeze", "cut"} {
		b.Run(fault, func(b *testing.B) {
			c := newCluster(b, 10)
			var took []time.Duration
			for b.Loop() {
				victim := c.nodes[len(c.nodes)-1]
				began := time.Now()
				switch fault {
				case "kill":
					c.net.Kill(victim.host)
				case "freeze":
					c.net.Freeze(victim.host)
				case "cut":
					c.net.Unplug(victim.host)
				}
				for _, n := range c.nodes[:9] {
					eventually(b, n.id+" lost the victim", func() bool { return n.state(victim.id) == gossip.Lost })
				}
				took = append(took, time.Since(began))
				c.net.Heal()
				c.net.Thaw(victim.host)
				if fault == "kill" {
					victim.stop()
					c.net.Revive(victim.host)
					c.nodes = c.nodes[:9]
					c.start(victim.id, victim.addr.Addr().String(), nil)
				}
				c.settled(c.nodes...)
			}
			slices.Sort(took)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(took[len(took)/2].Seconds(), "p50-s")
			b.ReportMetric(took[len(took)*99/100].Seconds(), "p99-s")
		})
	}
}

// BenchmarkIdle measures what one node of ten costs on real sockets when nothing happens:
//
//	go test -run - -bench Idle -benchtime 1x ./gossip/
func BenchmarkIdle(b *testing.B) {
	const nodes, span = 10, 20 * time.Second
	keys := gossip.Keyring{Primary: gossip.NewKey()}
	var all []*node
	for i := range nodes {
		o := gossip.Options{ID: fmt.Sprintf("n-%d", i), Keyring: keys,
			Bind: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), 0)}
		if i > 0 {
			o.Peers = []netip.AddrPort{all[0].Addr()}
		}
		all = append(all, launch(b, o))
	}
	for _, n := range all {
		eventually(b, n.id+" sees all", func() bool { return n.Stats().Alive == nodes-1 })
	}
	for b.Loop() {
		sent, cpu, began := bytesOut(all), cpuTime(b), time.Now()
		<-time.After(span)
		took := time.Since(began).Seconds()
		b.ReportMetric(100*(cpuTime(b)-cpu).Seconds()/took/nodes, "%cpu/node")
		b.ReportMetric(float64(bytesOut(all)-sent)/took/nodes, "B-sent/s/node")
	}
	b.ReportMetric(0, "ns/op")
}

func bytesOut(all []*node) (sum uint64) {
	for _, n := range all {
		sum += n.Stats().BytesOut
	}
	return sum
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
