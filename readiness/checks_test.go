package readiness

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shirou/gopsutil/v3/disk"
)

// one is a table row: a change to a healthy Pi Zero 2 and what one check says
// of it at the join gate.
type one struct {
	name, check string
	change      func(*Options, *probe)
	want        Severity
	found, mend string
}

func (tt one) run(t *testing.T) {
	t.Run(tt.check+"/"+tt.name, func(t *testing.T) {
		res := find(t, boardChecker(t, "pi-zero-2", tt.change).Run(t.Context(), GateJoin), tt.check)
		if res.Severity != tt.want || !strings.Contains(res.Found, tt.found) || !strings.Contains(res.Mend, tt.mend) {
			t.Errorf("got %+v\nwant %s, found %q, mend %q", res, tt.want, tt.found, tt.mend)
		}
	})
}

func clockAt(at time.Time) func(*Options, *probe) {
	return func(_ *Options, p *probe) { p.now = func() time.Time { return at } }
}

func mastersClock(at time.Time) func(*Options, *probe) {
	return func(o *Options, _ *probe) {
		o.MasterTime = func(context.Context) (time.Time, error) { return at, nil }
	}
}

func podmanSays(version string, err error) func(*Options, *probe) {
	return func(o *Options, _ *probe) {
		o.PodmanVersion = func(context.Context) (string, error) { return version, err }
	}
}

func named(name, hostname string, taken ...string) func(*Options, *probe) {
	return func(o *Options, p *probe) {
		o.Name = name
		p.hostname = func() (string, error) { return hostname, nil }
		if taken != nil {
			o.TakenNames = func(context.Context) ([]string, error) { return taken, nil }
		}
	}
}

func diskOf(u disk.UsageStat) func(*Options, *probe) {
	return func(_ *Options, p *probe) {
		p.usage = func(context.Context, string) (*disk.UsageStat, error) { return &u, nil }
	}
}

func fsyncFails(err error, took ...time.Duration) func(*Options, *probe) {
	return func(_ *Options, p *probe) {
		p.fsync = func(context.Context, string) ([]time.Duration, error) { return took, err }
	}
}

// hinted is an error that knows what to try.
type hinted struct{ error }

func (hinted) Hint() string { return "run piccolo as root" }

func TestChecks(t *testing.T) {
	const e, w, fine = SeverityError, SeverityWarning, SeverityOK
	unknown := errors.New("no way")
	for _, tt := range []one{
		{"1970", "clock", clockAt(time.Unix(0, 0)), e, "1970-01-01", "timedatectl"},
		{"2099", "clock", clockAt(time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)), e, "72 years after", "timedatectl"},
		{"just built", "clock", clockAt(built.Add(-time.Minute)), fine, "", ""},
		{"as the master", "clock", mastersClock(now.Add(4 * time.Minute)), fine, "within 5 min", ""},
		{"behind", "clock", mastersClock(now.Add(6 * time.Minute)), e, "6m0s behind", "timedatectl"},
		{"ahead", "clock", mastersClock(now.Add(-6 * time.Minute)), e, "6m0s ahead of", "timedatectl"},
		{"master silent", "clock", func(o *Options, _ *probe) {
			o.MasterTime = func(context.Context) (time.Time, error) { return time.Time{}, unknown }
		}, w, "not known", "master"},
		{"too old", "podman", podmanSays("3.0.1", nil), e, "older than 4.0", "Debian 12"},
		{"minimum", "podman", podmanSays("4.0.0", nil), fine, "4.0.0", ""},
		{"nonsense", "podman", podmanSays("yes", nil), e, "not a version", "reinstall"},
		{"socket down", "podman", podmanSays("", syscall.ECONNREFUSED), e, "does not answer", "systemctl enable --now podman.socket"},
		{"not allowed", "podman", podmanSays("", hinted{syscall.EACCES}), e, "permission denied", "run piccolo as root"},
		{"hangs", "podman", podmanSays("", context.DeadlineExceeded), e, "hangs", "systemctl restart"},
		{"spaces", "hostname", named("my board", "x"), e, "not valid", "--name"},
		{"unicode", "hostname", named("küche", "x"), e, "not valid", "--name"},
		{"long", "hostname", named(strings.Repeat("a", 300), "x"), e, "300 bytes", "--name"},
		{"localhost", "hostname", named("", "localhost.localdomain"), e, "every machine", "hostnamectl"},
		{"none", "hostname", named("", "(none)"), e, "not valid", "hostnamectl"},
		{"address", "hostname", named("", "192.168.1.7"), e, "an address", "hostnamectl"},
		{"taken", "hostname", named("", "raspberrypi", "attic", "RaspberryPi"), e, "another node", "hostnamectl"},
		{"free", "hostname", named("", "raspberrypi", "attic"), fine, "free", ""},
		{"full name", "hostname", named("", "Attic.example.org"), fine, "attic", ""},
		{"full", "data_disk", diskOf(disk.UsageStat{Total: 14000 * MiB, Free: 3 * MiB}), e, "at least 256 MiB", "free space"},
		{"tight", "data_disk", diskOf(disk.UsageStat{Total: 14000 * MiB, Free: 600 * MiB}), w, "600 MiB", "free space"},
		{"tight", "podman_disk", diskOf(disk.UsageStat{Total: 14000 * MiB, Free: 500 * MiB}), e, "at least 512 MiB", "prune"},
		{"inodes", "data_disk", diskOf(disk.UsageStat{Total: 14000 * MiB, Free: 9000 * MiB, InodesTotal: 1000, InodesFree: 10}), e, "1 % of the inodes", "inodes"},
		{"no inodes", "data_disk", diskOf(disk.UsageStat{Total: 14000 * MiB, Free: 9000 * MiB}), fine, "", ""},
		{"slow card", "fsync_latency", fsyncFails(nil, 10*time.Millisecond, 90*time.Millisecond, 80*time.Millisecond), w, "80ms", "A2"},
		{"full", "fsync_latency", fsyncFails(fmt.Errorf("write: %w", syscall.ENOSPC)), w, "full", "free space"},
		{"read-only", "fsync_latency", fsyncFails(fmt.Errorf("open: %w", syscall.EROFS)), w, "read-only", "remount"},
		{"absent", "data_directory", func(o *Options, _ *probe) { o.DataDir += "/new/one" }, fine, "will be made", ""},
		{"open", "data_directory", func(o *Options, _ *probe) { os.Chmod(o.DataDir, 0o755) }, w, "0755", "chmod 0700"},
		{"a file", "data_directory", func(o *Options, _ *probe) { o.DataDir = "/proc/version" }, e, "not a directory", "--data-dir"},
		{"below a file", "data_disk", func(o *Options, _ *probe) { o.DataDir = "/proc/version/x" }, e, "not a directory", "disk"},
		{"no answer", "gossip", func(o *Options, _ *probe) { o.Gossip = func(context.Context) error { return unknown } }, w, "no way", "7946"},
		{"answer", "gossip", func(o *Options, _ *probe) { o.Gossip = func(context.Context) error { return nil } }, fine, "passes", ""},
		{"unsure", "time_service", func(o *Options, p *probe) { os.Remove(filepath.Join(o.Root, "proc/412/comm")) }, w, "does not run", "systemd-timesyncd"},
		{"kernel says so", "time_service", func(o *Options, p *probe) {
			os.Remove(filepath.Join(o.Root, "proc/412/comm"))
			p.clockSynced = func() (bool, error) { return true, nil }
		}, fine, "synchronised", ""},
	} {
		tt.run(t)
	}
}

func TestPorts(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	c := boardChecker(t, "pi-zero-2", func(o *Options, _ *probe) {
		o.Ports = []Port{{"api", "tcp", tcp.Addr().String()}, {"gossip", "udp", udp.LocalAddr().String()},
			{"free", "tcp", "127.0.0.1:0"}, {"elsewhere", "tcp", "192.0.2.1:0"}}
	})
	res := find(t, c.Run(t.Context(), GateJoin), "ports")
	for _, part := range []string{"api", "gossip", "in use", "does not have the address"} {
		if res.Severity != SeverityError || !strings.Contains(res.Found, part) {
			t.Errorf("%q is missing in %+v", part, res)
		}
	}
	if strings.Contains(res.Found, "free") || !strings.Contains(res.Mend, "ss -Hlnpu sport = :") {
		t.Errorf("%+v", res)
	}
}

func TestMaster(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	to := func(addr string) func(*Options, *probe) { return func(o *Options, _ *probe) { o.Master = addr } }
	one{"up", "master", to(addr), SeverityOK, "answers", ""}.run(t)
	l.Close()
	one{"refused", "master", to(addr), SeverityError, "refused", "nothing listens"}.run(t)
}

// TestHang: checks that never answer end as results in time, are not started
// a second time meanwhile, and count again once they are free.
func TestHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release, calls := make(chan struct{}), atomic.Int32{}
		c := boardChecker(t, "pi-zero-2", func(o *Options, p *probe) {
			o.PodmanVersion = func(context.Context) (string, error) {
				calls.Add(1)
				<-release
				return "5.4.2", nil
			}
			p.readOnly = func(path string) (bool, error) {
				if path == o.DataDir {
					<-release
				}
				return false, nil
			}
		})
		for range 2 {
			began := time.Now()
			report := c.Run(t.Context(), GateRunning)
			if took := time.Since(began); took > maxTimeout {
				t.Errorf("the run took %s", took)
			}
			if res := find(t, report, "podman"); res.Severity != SeverityError || res.Condition != "PodmanDown" || res.Hold {
				t.Errorf("a hanging Podman is down: %+v", res)
			}
			if res := find(t, report, "data_disk"); res.Severity != SeverityWarning || res.Condition != "" || !res.Hold {
				t.Errorf("a hanging disk leaves things as they are: %+v", res)
			}
			if res := find(t, report, "podman_disk"); res.Severity != SeverityOK {
				t.Errorf("the others go on: %+v", res)
			}
		}
		if n := calls.Load(); n != 1 {
			t.Errorf("Podman was asked %d times while it hung", n)
		}
		close(release)
		synctest.Wait()
		if worst := c.Run(t.Context(), GateRunning).Worst(); worst != SeverityOK {
			t.Errorf("after the release: %s", worst)
		}
	})
}

// TestCancelled: a context that has ended gives results at once, not a hang.
func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got := len(boardChecker(t, "pi-zero-2", nil).Run(ctx, GateJoin).Results); got != len(table()) {
		t.Errorf("%d results", got)
	}
}

func TestTimeWrites(t *testing.T) {
	dir := t.TempDir()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tt := range []struct {
		ctx  context.Context
		want int
	}{{t.Context(), fsyncWrites}, {ended, 1}} {
		took, err := timeWrites(tt.ctx, dir)
		if err != nil || len(took) != tt.want {
			t.Errorf("%d writes (%v), want %d", len(took), err, tt.want)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestArchitecture(t *testing.T) {
	const e, w, fine = SeverityError, SeverityWarning, SeverityOK
	for _, tt := range []struct {
		goarch, goarm string
		board         board
		want          Severity
		mend          string
	}{
		{"amd64", "", board{"x86_64", 64, 4096}, fine, ""},
		{"arm64", "", board{"aarch64", 64, 4096}, fine, ""},
		{"arm64", "", board{"aarch64", 0, 16384}, fine, ""},
		{"arm64", "", board{"aarch64", 32, 4096}, w, "armv7"},
		{"arm64", "", board{"x86_64", 64, 4096}, e, "amd64"},
		{"arm64", "", board{"aarch64", 64, 131072}, e, "pages"},
		{"amd64", "", board{"aarch64", 64, 4096}, e, "arm64"},
		{"arm", "6", board{"armv6l", 32, 4096}, fine, ""},
		{"arm", "7", board{"armv6l", 32, 4096}, e, "armv6"},
		{"arm", "6", board{"armv7l", 32, 4096}, w, "armv7"},
		{"arm", "7", board{"armv7l", 32, 4096}, fine, ""},
		{"arm", "7", board{"armv8l", 32, 4096}, fine, ""},
		{"arm", "7", board{"aarch64", 32, 4096}, fine, ""},
		{"arm", "7", board{"aarch64", 32, 16384}, w, "kernel8.img"},
		{"arm", "7", board{"aarch64", 64, 4096}, w, "arm64"},
		{"arm", "", board{"x86_64", 64, 4096}, e, "amd64"},
		{"386", "", board{"x86_64", 64, 4096}, fine, ""},
		{"riscv64", "", board{"riscv64", 64, 4096}, fine, ""},
		{"loong64", "", board{"loongarch64", 64, 16384}, e, "loongarch64"},
	} {
		f := judgeArchitecture(tt.goarch, tt.goarm, tt.board)
		if f.severity != tt.want || !strings.Contains(f.mend, tt.mend) {
			t.Errorf("%s%s on %+v: %+v, want %s", tt.goarch, tt.goarm, tt.board, f, tt.want)
		}
	}
}

func TestOptions(t *testing.T) {
	for field, opts := range map[string]Options{
		"DataDir":                   {DataDir: "here"},
		"PodmanRoot":                {PodmanRoot: "here"},
		"Root":                      {Root: "."},
		"Ports[0].Network":          {Ports: []Port{{"x", "sctp", ":1"}}},
		"Ports[0].Addr":             {Ports: []Port{{"x", "tcp", "1"}}},
		"Master":                    {Master: "master"},
		"Timeout":                   {Timeout: time.Minute},
		"Thresholds.MemoryPressure": {Thresholds: Thresholds{MemoryPressure: Band{2, 1}}},
		"Thresholds.LoadPressure":   {Thresholds: Thresholds{LoadPressure: Band{1, 2}}},
		"Thresholds.FsyncWarn":      {Thresholds: Thresholds{FsyncWarn: -1}},
	} {
		if _, err := New(opts); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}
