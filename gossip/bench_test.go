package gossip_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"piccolo.io/piccolo/gossip"
)

// BenchmarkIdle measures what a node costs when nothing happens, each in a process of its own on real sockets, by the
// scheduler's account. The first node is the observer.
//
//	go test -run - -bench Idle -benchtime 1x ./gossip/
func BenchmarkIdle(b *testing.B) {
	const span = 40 * time.Second
	for i, p := range []gossip.Profile{gossip.ProfileLAN, gossip.ProfileWiFi, gossip.ProfileWAN} {
		for _, n := range []int{2, 3, 10} {
			b.Run(fmt.Sprintf("%s/%d", p, n), func(b *testing.B) {
				all := processes(b, 10+i, n, p)
				<-time.After(5 * time.Second) // what follows a start
				for b.Loop() {
					before, began := make([]time.Duration, n), time.Now()
					for i, c := range all {
						before[i] = cpuTime(b, c.cmd.Process.Pid)
					}
					<-time.After(span)
					took := time.Since(began).Seconds()
					var others float64
					for i, c := range all {
						percent := 100 * (cpuTime(b, c.cmd.Process.Pid) - before[i]).Seconds() / took
						if i == 0 {
							b.ReportMetric(percent, "%cpu-observer")
						} else {
							others += percent
						}
					}
					b.ReportMetric(others/float64(n-1), "%cpu-other")
				}
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// cpuTime is what all threads of a process have had of the processors; /proc/PID/stat counts in ticks, and is up to a
// half off.
func cpuTime(b *testing.B, pid int) (sum time.Duration) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(threads) == 0 {
		b.Fatalf("no threads of %d: %v", pid, err)
	}
	for _, name := range threads {
		text, err := os.ReadFile(name)
		var ran int64
		if err == nil {
			_, err = fmt.Sscan(strings.Fields(string(text))[0], &ran)
		}
		if err != nil {
			b.Fatal(err)
		}
		sum += time.Duration(ran)
	}
	return sum
}
