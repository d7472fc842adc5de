package readiness

import (
	"context"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestThisMachine runs every gate against the machine the test runs on, with
// nothing replaced. It can't know what is wrong here, so it asserts only what
// is true of any Linux machine that runs Go's tests.
func TestThisMachine(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := t.TempDir()
	c, err := New(Options{
		DataDir: dir, BuildTime: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Master: l.Addr().String(),
		Ports: []Port{{"api", "tcp", "127.0.0.1:0"}, {"gossip", "udp", "127.0.0.1:0"}},
		PodmanVersion: func(ctx context.Context) (string, error) {
			out, err := exec.CommandContext(ctx, "podman", "version", "--format", "{{.Client.Version}}").Output()
			return strings.TrimSpace(string(out)), err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, gate := range []Gate{GateJoin, GateStart, GateRunning} {
		report := c.Run(t.Context(), gate)
		for _, res := range report.Results {
			t.Logf("%-8s %-17s %-8s %s", gate, res.Check, res.Severity, res.Found)
			if res.Mend != "" {
				t.Logf("%36s mend: %s", "", res.Mend)
			}
			if res.Found == "" {
				t.Errorf("%+v", res)
			}
		}
		if gate == GateRunning {
			continue
		}
		for _, check := range []string{"memory_size", "memory_available", "cpu_load", "architecture"} {
			if res := find(t, report, check); strings.Contains(res.Found, "not tell") {
				t.Errorf("%+v", res)
			}
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("the checks left %v behind (%v)", left, err)
	}
}

// BenchmarkRunning is what the node pays for each look while it works.
func BenchmarkRunning(b *testing.B) {
	c, err := New(Options{PodmanVersion: func(context.Context) (string, error) { return "5.4.2", nil }})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		c.Run(b.Context(), GateRunning)
	}
}
