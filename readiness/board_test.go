package readiness

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/shirou/gopsutil/v3/disk"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// built is the build time in all tests, and now is a month later.
var (
	built = time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)
	now   = built.AddDate(0, 1, 0)
)

// unpack writes a board of testdata/boards into a new directory.
func unpack(t *testing.T, name string) string {
	t.Helper()
	archive, err := txtar.ParseFile(filepath.Join("testdata", "boards", name+".txtar"))
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	for _, f := range archive.Files {
		path := filepath.Join(root, f.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// healthyProbe is a board with nothing wrong that isn't in its files.
func healthyProbe() probe {
	return probe{
		now:         func() time.Time { return now },
		hostname:    func() (string, error) { return "kitchen", nil },
		machine:     func() (string, error) { return "aarch64", nil },
		clockSynced: func() (bool, error) { return false, nil },
		usage: func(context.Context, string) (*disk.UsageStat, error) {
			return &disk.UsageStat{Total: 14000 * MiB, Free: 9000 * MiB, InodesTotal: 900000, InodesFree: 800000}, nil
		},
		readOnly: func(string) (bool, error) { return false, nil },
		fsync: func(context.Context, string) ([]time.Duration, error) {
			return []time.Duration{8 * time.Millisecond, 300 * time.Millisecond, 7 * time.Millisecond}, nil
		},
		pageSize: 4096, goarch: "arm64",
	}
}

// boardChecker returns a checker for a board of testdata/boards; change may
// alter what it is made of.
func boardChecker(t *testing.T, name string, change func(*Options, *probe)) *Checker {
	t.Helper()
	opts := Options{
		Root: unpack(t, name), DataDir: t.TempDir(), PodmanRoot: t.TempDir(), BuildTime: built,
		PodmanVersion: func(context.Context) (string, error) { return "5.4.2", nil },
	}
	if err := os.Chmod(opts.DataDir, 0o700); err != nil {
		t.Fatal(err)
	}
	p := healthyProbe()
	if change != nil {
		change(&opts, &p)
	}
	c, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	c.probe = p
	return c
}

// find returns the result of a check.
func find(t *testing.T, r Report, check string) Result {
	t.Helper()
	for _, res := range r.Results {
		if res.Check == check {
			return res
		}
	}
	t.Fatalf("no result of %q in the report of gate %s", check, r.Gate)
	return Result{}
}

func TestBoards(t *testing.T) {
	type expect struct {
		severity    Severity
		found, mend string // parts of the texts
	}
	tests := []struct {
		board  string
		change func(*Options, *probe)
		want   map[string]expect // at the join gate; all others are ok
	}{
		{board: "pi-zero-2", want: map[string]expect{}},
		{board: "pi-3", change: func(_ *Options, p *probe) {
			p.hostname = func() (string, error) { return "raspberrypi", nil }
		}, want: map[string]expect{
			"memory_cgroup":  {SeverityError, "switched off", "add 'cgroup_enable=memory cgroup_memory=1' to the end of the one line in /boot/firmware/cmdline.txt, then reboot"},
			"kernel_overlay": {SeverityWarning, "not loaded", "modprobe overlay"},
			"time_service":   {SeverityWarning, "does not run", "systemctl enable --now systemd-timesyncd"},
			"under_voltage":  {SeverityWarning, "since boot", "power supply"},
			"hostname":       {SeverityWarning, "image", "hostnamectl"},
		}},
		{board: "pi-4", want: map[string]expect{
			"cpu_load":      {SeverityWarning, "2.80 per core", "top"},
			"architecture":  {SeverityWarning, "32-bit userland", "armv7 tarball"},
			"temperature":   {SeverityWarning, "83 °C", "fan"},
			"under_voltage": {SeverityWarning, "too low now", "power supply"},
		}},
		{board: "pi-5", change: func(_ *Options, p *probe) { p.pageSize = 16384 }, want: map[string]expect{}},
		{board: "pi-5", change: func(_ *Options, p *probe) { p.pageSize, p.goarch, p.goarm = 16384, "arm", "6" }, want: map[string]expect{
			"architecture": {SeverityWarning, "armv6 binary on aarch64, 16 KiB pages", "arm64 tarball"},
		}},
		{board: "x86-vm", change: func(_ *Options, p *probe) {
			p.goarch, p.machine = "amd64", func() (string, error) { return "x86_64", nil }
		}, want: map[string]expect{}},
		{board: "container", change: func(o *Options, p *probe) {
			p.goarch, p.machine = "amd64", func() (string, error) { return "x86_64", nil }
			o.PodmanVersion = func(context.Context) (string, error) { return "", errors.New("dial unix: no such file") }
		}, want: map[string]expect{
			"podman":          {SeverityError, "not installed", "apt-get install -y podman"},
			"memory_cgroup":   {SeverityError, "neither mounted (v1) nor in cgroup.controllers (v2)", "systemd"},
			"kernel_firewall": {SeverityError, "neither nft nor iptables", "apt-get install"},
			"time_service":    {SeverityWarning, "no time service", "apt-get install -y systemd-timesyncd"},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.board, func(t *testing.T) {
			c := boardChecker(t, tt.board, tt.change)
			for _, res := range c.Run(t.Context(), GateJoin).Results {
				want, wrong := tt.want[res.Check]
				switch {
				case wrong:
				case res.Check == "master", res.Check == "gossip", res.Check == "ports":
					want.severity = SeveritySkipped // nobody has named any
				default:
					want.severity = SeverityOK
				}
				if res.Severity != want.severity || !strings.Contains(res.Found, want.found) || !strings.Contains(res.Mend, want.mend) {
					t.Errorf("%+v\nwant %+v", res, want)
				}
			}
		})
	}
}

// TestGates holds for every board and gate what the gates promise.
func TestGates(t *testing.T) {
	for _, board := range []string{"pi-zero-2", "pi-3", "pi-4", "pi-5", "x86-vm", "container"} {
		c := boardChecker(t, board, func(o *Options, p *probe) {
			o.PodmanVersion = func(context.Context) (string, error) { return "", errors.New("refused") }
			p.readOnly = func(string) (bool, error) { return true, nil }
			p.now = func() time.Time { return time.Unix(0, 0) }
		})
		for _, gate := range []Gate{GateJoin, GateStart, GateRunning} {
			report := c.Run(t.Context(), gate)
			if blocks := len(report.Blocking()) > 0; blocks != (gate == GateJoin) {
				t.Errorf("%s: gate %s blocks: %v", board, gate, blocks)
			}
			if gate == GateStart && report.Worst() != SeverityWarning {
				t.Errorf("%s: the start gate's worst is %s", board, report.Worst())
			}
			for _, res := range report.Results {
				if raised := res.Condition != "" && !res.Hold; raised != (gate == GateRunning && res.Severity == SeverityError) {
					t.Errorf("%s: gate %s: an error and a raised condition go together only at running: %+v", board, gate, res)
				}
				if res.Severity.Bad() == (res.Mend == "") {
					t.Errorf("%s: what is bad, and nothing else, has something to mend it: %+v", board, res)
				}
			}
			if gate == GateRunning && find(t, report, "clock").Severity != SeverityWarning {
				t.Errorf("%s: a wrong clock is only a warning while running", board)
			}
		}
	}
}
