package readiness

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// recorder is the machine, but writes down commands instead of running them.
type recorder struct {
	machineSystem
	commands []string
	fails    error // what every command ends with
	readOnly bool  // refuse to write
}

func (r *recorder) Run(_ context.Context, name string, args ...string) (string, error) {
	r.commands = append(r.commands, strings.Join(append([]string{name}, args...), " "))
	return "said so", r.fails
}

func (r *recorder) WriteFile(path string, data []byte, perm fs.FileMode) error {
	if r.readOnly {
		return &fs.PathError{Op: "open", Path: path, Err: errors.New("read-only file system")}
	}
	return r.machineSystem.WriteFile(path, data, perm)
}

// sickPi is a Pi 3 as it comes, with Podman's socket off and no data directory.
func sickPi(t *testing.T, r *recorder) *Checker {
	return boardChecker(t, "pi-3", func(o *Options, _ *probe) {
		o.DataDir = filepath.Join(o.DataDir, "lib", "piccolo")
		o.PodmanVersion = func(context.Context) (string, error) { return "", errors.New("refused") }
		o.System = r
	})
}

func TestFix(t *testing.T) {
	r := &recorder{}
	c := sickPi(t, r)
	cmdline := c.path("/boot/firmware/cmdline.txt")
	old, err := os.ReadFile(cmdline)
	if err != nil {
		t.Fatal(err)
	}
	report := c.Run(t.Context(), GateJoin)
	outcomes := func(results []FixResult) map[string]string {
		out := map[string]string{}
		for _, f := range results {
			out[f.Check] = string(f.Outcome)
			if f.RebootNeeded {
				out[f.Check] += ", reboot"
			}
		}
		return out
	}
	want := map[string]string{"memory_cgroup": "applied, reboot", "podman": "applied", "time_service": "applied",
		"kernel_overlay": "applied", "data_directory": "applied", "under_voltage": "manual"}
	if diff := cmp.Diff(want, outcomes(c.Fix(t.Context(), report))); diff != "" {
		t.Error(diff)
	}
	commands := []string{"systemctl enable --now podman.socket", "modprobe overlay", "systemctl enable --now systemd-timesyncd.service"}
	if diff := cmp.Diff(commands, r.commands); diff != "" {
		t.Error(diff)
	}
	edited := strings.TrimSuffix(string(old), "\n") + " " + cgroupOptions + "\n"
	for path, text := range map[string]string{cmdline: edited, cmdline + backupSuffix: string(old), c.path(modulesFile): "overlay\n"} {
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("%s: %q (%v), want %q", path, got, err, text)
		}
	}
	if info, err := os.Stat(c.opts.DataDir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("data directory: %v %v", info, err)
	}

	// The same report again: nothing is done twice.
	want["memory_cgroup"], want["data_directory"] = "unchanged, reboot", "unchanged"
	if diff := cmp.Diff(want, outcomes(c.Fix(t.Context(), report))); diff != "" {
		t.Error("second time: " + diff)
	}
	if got, _ := os.ReadFile(cmdline); string(got) != edited {
		t.Errorf("second time: %q", got)
	}
	// A new look says that only the reboot is missing.
	res := find(t, c.Run(t.Context(), GateJoin), "memory_cgroup")
	if !res.RebootNeeded || res.Fix != "" || !strings.HasPrefix(res.Mend, "reboot") {
		t.Errorf("%+v", res)
	}
	if left, _ := filepath.Glob(c.path("/boot/firmware/.*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestFixFails(t *testing.T) {
	r := &recorder{fails: errors.New("exit status 1"), readOnly: true}
	c := sickPi(t, r)
	cmdline := c.path("/boot/firmware/cmdline.txt")
	old, _ := os.ReadFile(cmdline)
	for _, f := range c.Fix(t.Context(), c.Run(t.Context(), GateJoin)) {
		switch f.Check {
		case "memory_cgroup":
			if f.Outcome != OutcomeFailed || !strings.Contains(f.Detail, "read-only") || !strings.Contains(f.Detail, "by hand: add '") {
				t.Errorf("%+v", f)
			}
		case "podman", "time_service", "kernel_overlay":
			if f.Outcome != OutcomeFailed || !strings.Contains(f.Detail, "exit status 1: said so") {
				t.Errorf("%+v", f)
			}
		}
	}
	if got, _ := os.ReadFile(cmdline); string(got) != string(old) {
		t.Errorf("the file changed: %q", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r.commands = nil
	for _, f := range c.Fix(ctx, c.Run(t.Context(), GateJoin)) {
		if f.Outcome == OutcomeApplied || len(r.commands) > 0 {
			t.Errorf("after the end of the context: %+v %v", f, r.commands)
		}
	}
}

// TestFixKeepsItsHands: what needs packages or a person is only said, and a
// file that isn't one line is not touched.
func TestFixKeepsItsHands(t *testing.T) {
	r := &recorder{}
	c := boardChecker(t, "container", func(o *Options, _ *probe) {
		o.PodmanVersion, o.System = nil, r
	})
	for _, f := range c.Fix(t.Context(), c.Run(t.Context(), GateJoin)) {
		if f.Outcome != OutcomeManual || f.Detail == "" {
			t.Errorf("%+v", f)
		}
	}
	if len(r.commands) > 0 {
		t.Errorf("ran %v", r.commands)
	}

	c = sickPi(t, r)
	odd := "console=tty1\nrootwait\n"
	if err := os.WriteFile(c.path("/boot/firmware/cmdline.txt"), []byte(odd), 0o644); err != nil {
		t.Fatal(err)
	}
	if res := find(t, c.Run(t.Context(), GateJoin), "memory_cgroup"); res.Fix != "" || !strings.Contains(res.Mend, "several lines") {
		t.Errorf("%+v", res)
	}
	forced := c.Fix(t.Context(), Report{Results: []Result{{Check: "memory_cgroup", Fix: FixMemoryCgroup, Mend: "by hand"}}})
	if got, _ := os.ReadFile(c.path("/boot/firmware/cmdline.txt")); string(got) != odd || forced[0].Outcome != OutcomeFailed {
		t.Errorf("%q %+v", got, forced)
	}
}

func TestFixDataDir(t *testing.T) {
	c := boardChecker(t, "pi-zero-2", func(o *Options, _ *probe) { os.Chmod(o.DataDir, 0o755) })
	for _, want := range []Outcome{OutcomeApplied, OutcomeUnchanged} {
		got := c.Fix(t.Context(), Report{Results: []Result{{Check: "data_directory", Fix: FixRestrictDataDir}}})
		if info, err := os.Stat(c.opts.DataDir); err != nil || info.Mode().Perm() != 0o700 || got[0].Outcome != want {
			t.Errorf("%+v %v %v", got, info.Mode(), err)
		}
	}
}

func TestFixJSON(t *testing.T) {
	text, err := json.Marshal([]FixResult{{Check: "memory_cgroup", Fix: FixMemoryCgroup, Outcome: OutcomeApplied, Detail: "d", RebootNeeded: true}})
	const want = `[{"check":"memory_cgroup","fix":"enable_memory_cgroup","outcome":"applied","detail":"d","reboot_needed":true}]`
	if err != nil || string(text) != want {
		t.Errorf("%s %v", text, err)
	}
}
