//go:build lab

package podman_test

import (
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"piccolo.io/piccolo/podman"
	"piccolo.io/piccolo/podman/podmantest"
)

// roots are the Podmans that the contract is held against: the one that is installed here ("") and the
// one in the lab's root file system of Debian 13.
func roots(t testing.TB) map[string]string {
	t.Helper()
	out, err := exec.Command("../scripts/lab/rootfs", "trixie").Output()
	if err != nil {
		t.Fatalf("scripts/lab/rootfs trixie, which makes the root file system with Podman 5: %v", err)
	}
	return map[string]string{"installed": "", "trixie": strings.TrimSpace(string(out))}
}

func TestContractReal(t *testing.T) {
	for name, root := range roots(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			podmantest.Contract(t, podmantest.NewReal(t, root))
		})
	}
}

// BenchmarkReal logs the figures of DESIGN.md. Run it with -benchtime 1x: one round is 20 containers.
func BenchmarkReal(b *testing.B) {
	for name, root := range roots(b) {
		b.Run(name, func(t *testing.B) {
			r := podmantest.NewReal(t, root)
			e := engine(t, r.Socket(), podman.Timeouts{})
			w := podmantest.Watch(t, e)
			first, _ := w.Until(t, "the first picture", func(s podman.Snapshot) bool { return s.Up })
			var starts, ends []time.Duration
			for i := range 20 {
				id := r.Run(t, podmantest.Spec{Name: "c" + strconv.Itoa(i)})
				s, at := w.Until(t, "the container to run", podmantest.In(id, podman.StateRunning))
				c, _ := podmantest.Find(s, id)
				starts = append(starts, at.Sub(c.StartedAt))
				if i%2 == 0 {
					continue
				}
				r.Act(t, podmantest.Crash, id, "")
				s, at = w.Until(t, "the container to have ended", podmantest.In(id, podman.StateExited))
				c, _ = podmantest.Find(s, id)
				ends = append(ends, at.Sub(c.FinishedAt))
				r.Act(t, podmantest.Start, id, "")
			}
			w.Until(t, "20 containers to run", func(s podman.Snapshot) bool {
				return !slices.ContainsFunc(s.Containers, func(c podman.Container) bool { return c.State != podman.StateRunning })
			})
			report := func(what string, all []time.Duration) {
				slices.Sort(all)
				t.Logf("podman %s: %s: n %d, p50 %s, max %s", first.Version, what, len(all),
					all[len(all)/2].Round(time.Millisecond), all[len(all)-1].Round(time.Millisecond))
			}
			report("started → callback", starts)
			report("ended → callback", ends)
			began := time.Now()
			if _, err := e.List(t.Context()); err != nil {
				t.Fatal(err)
			}
			t.Logf("podman %s: list and inspect 20 containers: %s", first.Version, time.Since(began).Round(time.Millisecond))
			idle(t, first.Version, r)
		})
	}
}

// idle logs the CPU that a watch of 20 running containers costs here and in Podman.
func idle(t testing.TB, version string, r *podmantest.Real) {
	t.Helper()
	const span = 10 * time.Second
	tick := func() time.Duration {
		b, err := os.ReadFile("/proc/" + strconv.Itoa(r.ServicePID(t)) + "/stat")
		if err != nil {
			t.Fatal(err)
		}
		f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+2:]))
		user, _ := strconv.Atoi(f[11])
		system, _ := strconv.Atoi(f[12])
		return time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100, proc(5)
	}
	own := func() time.Duration {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	mine, its, began := own(), tick(), time.Now()
	<-time.After(span)
	took := time.Since(began)
	share := func(d time.Duration) float64 { return 100 * float64(d) / float64(took) }
	t.Logf("podman %s: watching 20 containers at rest: %.2f %% of a core here, %.2f %% in Podman", version, share(own()-mine), share(tick()-its))
}
