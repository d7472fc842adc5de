//go:build lab

package lab

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// exitCode is the code of a command that ran and failed, or -1.
func exitCode(err error) int {
	var failed *Error
	if errors.As(err, &failed) {
		return failed.Code
	}
	return -1
}

// expect fails the test unless text has the part.
func expect(t *testing.T, what, text, part string) {
	t.Helper()
	if !strings.Contains(text, part) {
		t.Errorf("%s: %q is not in: %s", what, part, text)
	}
}

func TestExec(t *testing.T) {
	t.Parallel()
	l := Up(t, 1, Options{})
	b := l.Board(1)
	expect(t, "hostname", b.Exec("hostname"), "board1")
	expect(t, "cgroup", b.Exec("cat", "/proc/self/cgroup"), ":/\n")
	if _, err := b.TryExec(t.Context(), "sh", "-c", "echo no >&2; exit 7"); exitCode(err) != 7 {
		t.Errorf("a command that exits with 7: %v", err)
	} else {
		expect(t, "stderr", err.Error(), "no")
	}
	b.WriteFile("/etc/made-here", "x")
	expect(t, "written file", b.Exec("cat", "/etc/made-here"), "x")

	// A caller that gives up takes its command with it.
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := b.TryExec(ctx, "sleep", "1001")
		done <- err
	}()
	l.Eventually(10*time.Second, "the command runs", func() error { return b.hasProcess("sleep 1001", true) })
	cancel()
	if err := <-done; err == nil {
		t.Error("a cancelled command succeeded")
	}
	l.Eventually(10*time.Second, "the command is gone", func() error { return b.hasProcess("sleep 1001", false) })
}

func (b *Board) hasProcess(args string, want bool) error {
	if got := strings.Contains(b.Exec("ps", "-eo", "stat=,args="), args); got != want {
		return fmt.Errorf("%q runs on %s: %v", args, b.Name, got)
	}
	return nil
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	l := Up(t, 2, Options{})
	for _, test := range []struct {
		args string
		code int
		says string
	}{
		{"fly", 2, `no command "fly"`},
		{"up 3", 4, "stands already"},
		{"start 9", 3, "there are: board1 board2"},
		{"start ../../x", 3, "no board"},
		{"start", 2, "usage: lab start B"},
		{"exec 1", 2, "usage: lab exec"},
		{"kill 1", 3, `no process "piccolo" runs on board1`},
		{"loss 1 101", 2, "0 to 100 percent"},
		{"loss 1 x", 2, "0 to 100 percent"},
		{"delay 1 10", 1, "start the lab with --switch tap"},
		{"cut 1 1", 2, "both sides"},
		{"cut 1 2 --twice", 2, "usage: lab cut"},
		{"address 1 10.78.0.1", 2, "10.77.0.2 to 10.77.0.254"},
		{"address 1 10.77.0.12", 4, "board2 has the address"},
		{"containers 1 4", 2, "1 to 3"},
		{"add --base arch", 2, `no base "arch"`},
		{"add --base", 2, "lacks its value"},
	} {
		_, err := l.Run(t.Context(), nil, strings.Fields(test.args)...)
		if exitCode(err) != test.code {
			t.Errorf("lab %s: %v, want exit code %d", test.args, err, test.code)
			continue
		}
		expect(t, "lab "+test.args, err.Error(), test.says)
	}
	l.Board(1).Stop()
	if _, err := l.Board(1).TryExec(t.Context(), "true"); exitCode(err) != 5 {
		t.Errorf("a command on a board that is off: %v, want exit code 5", err)
	}
}

func TestFreezeThawKill(t *testing.T) {
	t.Parallel()
	l := Up(t, 1, Options{})
	b := l.Board(1)
	b.Spawn("sleep", "1002")
	state := func(want string) {
		t.Helper()
		l.Eventually(10*time.Second, "sleep is in state "+want, func() error {
			got, err := b.TryExec(t.Context(), "ps", "-C", "sleep", "-o", "stat=,args=")
			for line := range strings.Lines(got) {
				if strings.HasPrefix(line, want) && strings.Contains(line, "1002") {
					return nil
				}
			}
			return fmt.Errorf("%q, %v", got, err)
		})
	}
	state("S")
	b.Freeze("sleep")
	state("T")
	b.Thaw("sleep")
	state("S")

	// A caller that waits for its command goes on waiting, and gets its exit code.
	done := make(chan error, 1)
	go func() {
		_, err := b.TryExec(t.Context(), "sh", "-c", "tail -f /dev/null; exit 9")
		done <- err
	}()
	l.Eventually(10*time.Second, "tail runs", func() error { return b.hasProcess("tail -f", true) })
	b.Freeze("dash")
	b.Thaw("dash")
	b.Kill("tail")
	if err := <-done; exitCode(err) != 9 {
		t.Errorf("a command that was frozen and thawed: %v, want exit code 9", err)
	}

	b.Freeze(WholeBoard)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := b.TryExec(ctx, "true"); err == nil {
		t.Error("a frozen board runs a command")
	}
	b.Thaw(WholeBoard)
	b.Exec("true")

	b.Kill("sleep")
	l.Eventually(10*time.Second, "sleep is gone", func() error { return b.hasProcess("sleep 1002", false) })
}

func TestPodmanService(t *testing.T) {
	t.Parallel()
	for _, base := range []string{"host", "bookworm"} {
		t.Run(base, func(t *testing.T) {
			t.Parallel()
			l := Up(t, 1, Options{Base: base})
			b := l.Board(1)
			ping := []string{"curl", "-sS", "--max-time", "5", "--unix-socket", "/run/podman/podman.sock", "http://d/_ping"}
			expect(t, "ping", b.Exec(ping...), "OK")
			b.StopPodman()
			if out, err := b.TryExec(t.Context(), ping...); err == nil {
				t.Errorf("a stopped Podman answers %q", out)
			}
			b.StartPodman()
			expect(t, "ping after a start", b.Exec(ping...), "OK")
		})
	}
}

func TestDataDisk(t *testing.T) {
	t.Parallel()
	l := Up(t, 1, Options{DataMB: 64})
	b := l.Board(1)
	before := b.Disk()
	if before.Size < 50e6 || before.Size > 64<<20 {
		t.Errorf("size %d, want about 64 MB", before.Size)
	}
	b.Exec("dd", "if=/dev/zero", "of=/var/lib/piccolo/file", "bs=1M", "count=4", "conv=fsync", "status=none")
	// Four megabytes, and not much for the file system's own books.
	if written := b.Disk().Written - before.Written; written < 4<<20 || written > 6<<20 {
		t.Errorf("%d bytes written, want about 4 MB", written)
	}
	b.FillDisk()
	_, err := b.TryExec(t.Context(), "dd", "if=/dev/zero", "of=/var/lib/piccolo/more", "bs=4k", "count=1", "status=none")
	if err == nil {
		t.Error("a full disk takes more")
	} else {
		expect(t, "write to a full disk", err.Error(), "No space left on device")
	}
	b.Exec("dd", "if=/dev/zero", "of=/var/log/elsewhere", "bs=4k", "count=1", "status=none")
	b.FreeDisk()
	b.WriteFile("/var/lib/piccolo/more", "x")
}
