//go:build lab

package readiness

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"piccolo.io/piccolo/topology"
)

// These tests mount real file systems, in a mount namespace of their own, and
// need root: go test -tags lab ./readiness.

// inNamespace reports whether the test runs in a mount namespace of its own.
// If not it runs the same test again in one and passes on how that ended.
func inNamespace(t *testing.T) bool {
	t.Helper()
	const child = "PICCOLO_READINESS_NAMESPACE"
	if os.Getenv(child) != "" {
		return true
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), child+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatalf("in a mount namespace of its own (needs root): %v", err)
	}
	return false
}

// tmpfs mounts one and returns a checker whose data lies on it.
func tmpfs(t *testing.T, options string) (*Checker, string) {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	c, err := New(Options{DataDir: dir, PodmanRoot: "/"})
	if err != nil {
		t.Fatal(err)
	}
	return c, dir
}

func expect(t *testing.T, c *Checker, gate Gate, check string, severity Severity, found string, condition topology.Reason) Report {
	t.Helper()
	report := c.Run(t.Context(), gate)
	res := find(t, report, check)
	t.Logf("%-8s %-14s %-8s %s; mend: %s", gate, res.Check, res.Severity, res.Found, res.Mend)
	if res.Severity != severity || !strings.Contains(res.Found, found) || res.Condition != condition {
		t.Errorf("%+v\nwant %s %q %q", res, severity, found, condition)
	}
	return report
}

func TestFullDisk(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	c, dir := tmpfs(t, "size=300m,mode=0700")
	expect(t, c, GateJoin, "data_disk", SeverityWarning, "300 MiB", "")
	fill := filepath.Join(dir, "fill")
	f, err := os.Create(fill)
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, MiB)
	for err == nil {
		_, err = f.Write(block)
	}
	if f.Close(); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	expect(t, c, GateJoin, "data_disk", SeverityError, "0 MiB of 300 MiB free", "")
	expect(t, c, GateJoin, "fsync_latency", SeverityWarning, "is full", "")
	standing := Conditions(nil, expect(t, c, GateRunning, "data_disk", SeverityError, "limit", topology.ReasonDiskPressure))
	if !standing.Has(topology.ReasonDiskPressure) {
		t.Errorf("%s", standing)
	}
	if err := os.Truncate(fill, 150*MiB); err != nil { // between the limits
		t.Fatal(err)
	}
	standing = Conditions(standing, expect(t, c, GateRunning, "data_disk", SeverityWarning, "150 MiB", topology.ReasonDiskPressure))
	if !standing.Has(topology.ReasonDiskPressure) {
		t.Errorf("between the limits: %s", standing)
	}
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	if standing = Conditions(standing, c.Run(t.Context(), GateRunning)); standing.Has(topology.ReasonDiskPressure) {
		t.Errorf("after space was freed: %s", standing)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestNoInodes(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	c, dir := tmpfs(t, "size=600m,nr_inodes=100,mode=0700")
	for i := 0; ; i++ {
		err := os.WriteFile(filepath.Join(dir, "f"+strings.Repeat("x", i)), nil, 0o600)
		if errors.Is(err, syscall.ENOSPC) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	expect(t, c, GateJoin, "data_disk", SeverityError, "0 % of the inodes", "")
	expect(t, c, GateJoin, "fsync_latency", SeverityWarning, "is full", "")
	expect(t, c, GateRunning, "data_disk", SeverityError, "0 % of the inodes", topology.ReasonDiskPressure)
}

func TestReadOnlyDisk(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	c, dir := tmpfs(t, "size=2g,mode=0700")
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	expect(t, c, GateJoin, "data_disk", SeverityError, "is read-only", "")
	expect(t, c, GateJoin, "fsync_latency", SeverityWarning, "is read-only", "")
	expect(t, c, GateStart, "data_disk", SeverityWarning, "is read-only", "")
	report := expect(t, c, GateRunning, "data_disk", SeverityError, "is read-only", topology.ReasonReadinessFailed)
	standing := Conditions(nil, report)
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT, ""); err != nil {
		t.Fatal(err)
	}
	if standing = Conditions(standing, expect(t, c, GateRunning, "data_disk", SeverityOK, "MiB", "")); standing.Has(topology.ReasonReadinessFailed) {
		t.Errorf("after the remount: %s", standing)
	}
}
