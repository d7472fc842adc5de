//go:build lab

package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestPowerCut(t *testing.T) {
	t.Parallel()
	for _, base := range []string{"host", "trixie"} {
		t.Run(base, func(t *testing.T) {
			t.Parallel()
			l := Up(t, 1, Options{Base: base})
			b := l.Board(1)
			b.Containers(3)
			b.Exec("sh", "-c", "cd /var/lib/piccolo && echo x >synced && sync synced && echo x >unsynced && echo x >/run/gone")
			b.PowerCut()
			b.Start()
			b.Exec("grep", "-q", "x", "/var/lib/piccolo/synced")
			if _, err := b.TryExec(t.Context(), "grep", "-q", "x", "/var/lib/piccolo/unsynced"); err == nil {
				t.Error("what was never synced survived the power cut")
			}
			if _, err := b.TryExec(t.Context(), "test", "-e", "/run/gone"); err == nil {
				t.Error("/run survived the power cut")
			}
			for name, state := range b.containers() {
				if state == "running" {
					t.Errorf("%s runs after the power cut", name)
				}
			}
			b.Exec("podman", "start", "web", "sensor", "worker")
			if got := b.containers(); len(got) != 3 || got["web"] != "running" {
				t.Errorf("containers after a start: %v", got)
			}
		})
	}
}

// containers are the states by name.
func (b *Board) containers() map[string]string {
	b.lab.t.Helper()
	var list []struct {
		Names []string
		State string
	}
	if err := json.Unmarshal([]byte(b.Exec("podman", "ps", "--all", "--format", "json")), &list); err != nil {
		b.lab.t.Fatalf("podman ps on %s: %v", b.Name, err)
	}
	states := map[string]string{}
	for _, c := range list {
		states[c.Names[0]] = c.State
	}
	return states
}

func TestReboot(t *testing.T) {
	t.Parallel()
	l := Up(t, 1, Options{})
	b := l.Board(1)
	b.Containers(1)
	b.WriteFile("/var/lib/piccolo/unsynced", "x")
	b.WriteFile("/etc/rc.local", "#!/bin/sh\necho started >/run/rc\n")
	b.Exec("chmod", "+x", "/etc/rc.local")
	b.SetAddress("10.77.0.99")
	b.Reboot()
	expect(t, "unsynced file", b.Exec("cat", "/var/lib/piccolo/unsynced"), "x")
	expect(t, "address", b.Exec("ip", "addr", "show", "eth0"), "10.77.0.99/24")
	l.Eventually(10*time.Second, "rc.local ran", func() error {
		_, err := b.TryExec(t.Context(), "grep", "started", "/run/rc")
		return err
	})
	if got := b.containers(); got["web"] == "" || got["web"] == "running" {
		t.Errorf("containers after a reboot: %v, want web to be there and not to run", got)
	}
}

func TestSystemdBoard(t *testing.T) {
	t.Parallel()
	for _, base := range []string{"bookworm", "trixie"} {
		t.Run(base, func(t *testing.T) {
			t.Parallel()
			l := Up(t, 2, Options{Base: base})
			b := l.Board(1)
			expect(t, "init", b.Exec("cat", "/proc/1/comm"), "systemd")
			running := func() {
				t.Helper()
				out, err := b.TryExec(t.Context(), "systemctl", "is-system-running", "--wait")
				if err != nil || strings.TrimSpace(out) != "running" {
					t.Errorf("systemctl is-system-running: %q, %v; failed units: %s", out, err, b.Exec("systemctl", "--failed", "--no-legend"))
				}
			}
			running()
			b.Containers(1)
			health := func(want string) {
				t.Helper()
				l.Eventually(30*time.Second, "web is "+want, func() error {
					if got := b.Exec("podman", "ps", "--format", "{{.Status}}", "--filter", "name=web"); !strings.Contains(got, "("+want+")") {
						return errors.New(got)
					}
					return nil
				})
			}
			health("healthy")
			l.Board(2).Exec("curl", "-sS", "--max-time", "5", "-d", "state=bad", "http://board1:8080/healthz")
			health("unhealthy")
			b.WriteFile("/etc/systemd/system/mine.service", "[Service]\nExecStart=/bin/sleep 1003\nMemoryMax=64M\nProtectSystem=strict\n[Install]\nWantedBy=multi-user.target\n")
			b.Exec("systemctl", "enable", "--quiet", "--now", "mine.service")
			b.Reboot()
			running()
			expect(t, "enabled unit after a reboot", b.Exec("systemctl", "is-active", "mine.service"), "active")
		})
	}
}

func TestContainers(t *testing.T) {
	t.Parallel()
	l := Up(t, 2, Options{})
	b := l.Board(1)
	b.Containers(3)
	expect(t, "published port", l.Board(2).Exec("curl", "-sS", "--max-time", "5", "http://board1:8080/"), "hello from")
	l.Eventually(10*time.Second, "worker logs", func() error {
		if out := b.Exec("podman", "logs", "worker"); !strings.Contains(out, "worker: 1") {
			return fmt.Errorf("it logged %q", out)
		}
		return nil
	})
	if got := l.Board(2).containers(); len(got) != 0 {
		t.Errorf("board2 has containers too: %v", got)
	}
}
