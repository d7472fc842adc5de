package store_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// BenchmarkFailover measures how long it takes, after the leader of three has been
// lost, until another member has accepted a write.
func BenchmarkFailover(b *testing.B) {
	for name, sig := range map[string]syscall.Signal{"killed": syscall.SIGKILL, "frozen": syscall.SIGSTOP} {
		b.Run(name, func(b *testing.B) {
			b.Setenv("PICCOLO_TEST_QUIET", "1")
			all := processes(b, 3)
			var took []time.Duration
			for i := range b.N {
				leader, others := leaderOf(b, all...)
				for _, p := range all {
					p.ask(b, "set warm 1")
				}
				leader.signal(b, sig)
				lost := time.Now()
				others[i%2].ask(b, fmt.Sprintf("set k%d %d", i, i))
				took = append(took, time.Since(lost))
				if sig == syscall.SIGSTOP {
					leader.signal(b, syscall.SIGCONT)
				} else {
					leader.start(b, "", nil)
				}
				leader.ask(b, fmt.Sprintf("get k%d", i))
			}
			slices.Sort(took)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(took[len(took)/2].Milliseconds()), "p50-ms")
			b.ReportMetric(float64(took[len(took)-1].Milliseconds()), "max-ms")
			b.Log(took)
		})
	}
}

// BenchmarkIdle measures what three members cost while nothing happens: the
// leader, and the dearer one of the others.
func BenchmarkIdle(b *testing.B) {
	b.Setenv("PICCOLO_TEST_QUIET", "1")
	const span = 30 * time.Second
	leader, others := leaderOf(b, processes(b, 3)...)
	leader.ask(b, "set warm 1")
	cost := make(map[*process]usage)
	for range b.N {
		before := make(map[*process]usage)
		for _, p := range append(others, leader) {
			before[p] = usageOf(b, p.cmd.Process.Pid)
		}
		<-time.After(span)
		for p, was := range before {
			now := usageOf(b, p.cmd.Process.Pid)
			cost[p] = usage{now.cpu - was.cpu, now.written - was.written, now.rss}
		}
	}
	other := cost[others[0]]
	if cost[others[1]].cpu > other.cpu {
		other = cost[others[1]]
	}
	b.ReportMetric(0, "ns/op")
	for who, u := range map[string]usage{"leader": cost[leader], "other": other} {
		b.ReportMetric(100*u.cpu.Seconds()/span.Seconds(), who+"-cpu-%")
		b.ReportMetric(float64(u.rss)/(1<<20), who+"-rss-MiB")
		b.ReportMetric(float64(u.written)/1024, who+"-written-KiB")
	}
}

// usage is what a process has cost so far.
type usage struct {
	cpu     time.Duration
	written int64 // bytes, to disk
	rss     int64 // bytes
}

func usageOf(b *testing.B, pid int) (u usage) {
	b.Helper()
	tasks := must[[]string](b)(filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid)))
	for _, task := range tasks {
		var ns int64
		_, _ = fmt.Sscan(string(must[[]byte](b)(os.ReadFile(task))), &ns)
		u.cpu += time.Duration(ns)
	}
	for file, field := range map[string]string{"io": "write_bytes:", "status": "VmRSS:"} {
		for line := range strings.Lines(string(must[[]byte](b)(os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))))) {
			value, ok := strings.CutPrefix(line, field)
			if !ok {
				continue
			}
			var n int64
			_, _ = fmt.Sscan(value, &n)
			if file == "io" {
				u.written = n
			} else {
				u.rss = n << 10
			}
		}
	}
	return u
}
