//go:build lab

package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestBench runs every group once in the smallest cluster, so that the
// program does not rot. What it measures here is not looked at.
func TestBench(t *testing.T) {
	binary := cmp.Or(os.Getenv("PICCOLO_BIN"), "../../bin/piccolo")
	file, page := filepath.Join(t.TempDir(), "bench.json"), filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(page, []byte(beginMark+"\n"+endMark+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o, err := parse([]string{"-binary", binary, "-json", file, "-markdown", page,
		"-runs", "1", "-nodes", "2", "-settle", "0s", "-window", "1s", "-rest", "1s", "-loss", "1s"}, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	var answer, talk bytes.Buffer
	if err := run(t.Context(), o, &answer, &talk); err != nil {
		t.Fatalf("%v\n%s", err, talk.String())
	}
	checkFile(t, file)
	written, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{answer.String(), string(written)} {
		if !strings.Contains(text, "piccolo join → Ready") || strings.Contains(text, "pic1.") {
			t.Errorf("the table lacks the join, or shows a token:\n%s", text)
		}
	}
	left, err := filepath.Glob("/run/netns/pl-" + o.lab.Own(labOwner, 2).Name + "-*")
	if err != nil || len(left) > 0 {
		t.Errorf("left of the lab: %v, %v", left, err)
	}
}

func checkFile(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var r report
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range r.Figures {
		names = append(names, f.Name)
		if len(f.Samples) == 0 || f.Missed > 0 {
			t.Errorf("%s: samples %v, %d missed", f.Name, f.Samples, f.Missed)
		}
		if f.Unit != "MB/day" && f.Unit != "%" && f.Unit != "KB/s" && f.Unit != "" && slices.Min(f.Samples) <= 0 {
			t.Errorf("%s: samples %v, want more than 0", f.Name, f.Samples)
		}
	}
	for _, want := range []string{
		"piccolo join → Ready", "kill -9 → NotReady", "SIGSTOP → NotReady", "unplug → NotReady", "unplug: return → Ready",
		"master, idle: memory (RSS)", "sub, idle: CPU of one core", "master, idle: written to its disk", "container change → in REST",
		"GET /api/v1/nodes, 50 a second", "configuration changed → confirmed by every node", "master: start → API ready",
		"sub: start → attached", "false alarms, a tenth of all packets lost", "binary, linux/" + r.Machine.Arch,
	} {
		if !slices.Contains(names, want) {
			t.Errorf("%q is missing in %v", want, names)
		}
	}
	if r.Machine.Kernel == "" || r.Machine.Podman == "" || r.Machine.Piccolo == "" {
		t.Errorf("what was measured is not said: %+v", r.Machine)
	}
}
