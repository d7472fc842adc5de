//go:build lab

package release

import (
	"encoding/json"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"piccolo.io/piccolo/scripts/lab"
	"piccolo.io/piccolo/topology"
)

// armBoard is a board whose processor qemu plays for one program.
type armBoard struct {
	// arch is the release's, qemu how its programs are run.
	arch     string
	qemu     []string
	platform topology.Platform
}

// arms has the most common board and the weakest: what runs on an ARM1176
// (the first Raspberry Pi, and the Zero) runs on every later 32-bit one.
func arms() []armBoard {
	return []armBoard{
		{"arm64", []string{"qemu-aarch64-static"}, topology.Platform{OS: "linux", Arch: "arm64"}},
		{"armv6", []string{"qemu-arm-static", "-cpu", "arm1176"}, topology.Platform{OS: "linux", Arch: "arm", Variant: "v6"}},
	}
}

// testARM runs the ARM programs of the release: by themselves, and as nodes
// of a cluster whose master is this machine's own architecture.
func (r *releases) testARM(t *testing.T) {
	c := &cluster{t: t, Lab: lab.Up(t, 1+len(arms()), lab.Options{DataMB: 2048})}
	c.master = c.Board(1)
	c.put(c.master, "/usr/local/bin/piccolo", r.program(t, runtime.GOARCH))
	c.master.Spawn("piccolo", "init", "--foreground")
	c.waitSocket(c.master)
	for i, a := range arms() {
		b := c.Board(2 + i)
		c.put(b, "/opt/piccolo", r.program(t, a.arch))
		piccolo := append(a.qemu, "/opt/piccolo")
		c.alone(b, a, piccolo)

		at := time.Now()
		b.Spawn(append(append(piccolo, c.joinLine()[1:]...), "--foreground")...)
		n := c.ready(b, at, 60*time.Second)
		t.Logf("join of the %s agent under qemu: Ready after %v", a.arch, time.Since(at).Round(time.Millisecond))
		if n.Platform.OS != a.platform.OS || n.Platform.Arch != a.platform.Arch || n.Platform.Variant != a.platform.Variant {
			t.Errorf("the master takes the %s node for %+v", a.arch, n.Platform)
		}
		b.Containers(1)
		c.runs(b, "web")
	}
}

// alone: what the program does without a cluster.
func (c *cluster) alone(b *lab.Board, a armBoard, piccolo []string) {
	c.t.Helper()
	expect(c.t, "version", b.Exec(append(piccolo, "version")...), "piccolo "+testVersion+" linux/"+a.platform.Arch)
	// 5: a check found an error, which says nothing of the program.
	out, err := b.TryExec(c.t.Context(), append(piccolo, "check", "-o", "json")...)
	var failed *lab.Error
	if err != nil && (!errors.As(err, &failed) || failed.Code != 5) {
		c.t.Errorf("piccolo check on %s: %v", a.arch, err)
	}
	var answer struct {
		Results []struct{ Check, Severity, Found string }
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		c.t.Fatalf("piccolo check -o json on %s printed %q: %v", a.arch, out, err)
	}
	for _, result := range answer.Results {
		if result.Check == "architecture" {
			if !strings.HasPrefix(result.Found, a.arch+" binary") || result.Severity == "error" {
				c.t.Errorf("architecture check of the %s binary: %s: %s", a.arch, result.Severity, result.Found)
			}
			return
		}
	}
	c.t.Errorf("piccolo check on %s has no architecture among its results: %s", a.arch, out)
}
