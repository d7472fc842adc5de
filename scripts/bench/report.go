package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/sys/unix"
)

// What stands between these two lines of a page is replaced.
const (
	beginMark = "<!-- bench:begin -->"
	endMark   = "<!-- bench:end -->"
)

// report is what bench.json holds.
type report struct {
	Machine   machine    `json:"machine"`
	Began     time.Time  `json:"began"`
	Seconds   float64    `json:"seconds"`
	LoadBegin [3]float64 `json:"load_begin"`
	LoadEnd   [3]float64 `json:"load_end"`
	Figures   []*figure  `json:"figures"`
	Failures  []string   `json:"failures,omitempty"`
}

// machine is where and what was measured.
type machine struct {
	CPU     string `json:"cpu"`
	Cores   int    `json:"cores"`
	Memory  int    `json:"memory_mb"`
	Arch    string `json:"arch"`
	Kernel  string `json:"kernel"`
	Podman  string `json:"podman"`
	Piccolo string `json:"piccolo"`
	Commit  string `json:"commit"`
}

func machineFacts(ctx context.Context, o options) machine {
	m := machine{CPU: "unknown", Cores: runtime.NumCPU(), Arch: runtime.GOARCH}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	if kb, err := field("/proc/meminfo", "MemTotal:", 1); err == nil {
		m.Memory = int(kb / 1024)
	}
	cpu, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(cpu)) {
		if key, value, ok := strings.Cut(line, ":"); ok && (strings.TrimSpace(key) == "model name" || strings.TrimSpace(key) == "Model") {
			m.CPU = strings.TrimSpace(value)
			break
		}
	}
	m.Podman = said(ctx, "podman", "--version")
	m.Piccolo = said(ctx, o.binary, "version")
	var build struct{ Commit string }
	if json.Unmarshal([]byte(said(ctx, o.binary, "version", "-o", "json")), &build) == nil {
		m.Commit = build.Commit
	}
	return m
}

// said is what a command printed, empty where it failed.
func said(ctx context.Context, name string, args ...string) string {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

func (r *report) table() table.Writer {
	t := table.NewWriter()
	t.AppendHeader(table.Row{"figure", "nodes", "p50", "p99", "max", "n", "promise", "", "remarks"})
	for _, f := range r.Figures {
		row := table.Row{f.Name, "", f.show(f.P50), "", "", "", f.Promise, f.Verdict, strings.Join(f.Notes, "; ")}
		if f.Nodes > 0 {
			row[1] = f.Nodes
		}
		if len(f.Samples) > 1 {
			row[4], row[5] = f.show(f.Max), len(f.Samples)
			if !f.boards {
				row[3] = f.show(f.P99)
			}
		}
		t.AppendRow(row)
	}
	return t
}

// facts describe the run in lines of a list.
func (r *report) facts() []string {
	m := r.Machine
	lines := []string{
		fmt.Sprintf("%s, %d cores, %d MB of memory, kernel %s, %s", m.CPU, m.Cores, m.Memory, m.Kernel, m.Podman),
		fmt.Sprintf("%s, commit %s", m.Piccolo, cmp.Or(m.Commit, "not known")),
		fmt.Sprintf("%s, for %.0f minutes; load of the machine %.1f at the beginning, %.1f at the end",
			r.Began.UTC().Format("2006-01-02 15:04 UTC"), r.Seconds/60, r.LoadBegin[0], r.LoadEnd[0]),
	}
	for _, f := range r.Failures {
		first, _, _ := strings.Cut(f, "\n")
		lines = append(lines, "not measured: "+first)
	}
	return lines
}

// text is the page for a terminal.
func (r *report) text() string {
	t := r.table()
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = text.FormatDefault
	return t.Render() + "\n" + strings.Join(r.facts(), "\n")
}

func (r *report) markdown() string {
	return "- " + strings.Join(r.facts(), "\n- ") + "\n\n" + r.table().RenderMarkdown() + "\n"
}

// write makes the files that were asked for.
func (r *report) write(o options) error {
	if o.json != "" {
		text, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return err
		}
		if err := renameio.WriteFile(o.json, append(text, '\n'), 0o644); err != nil {
			return fmt.Errorf("write the figures: %w", err)
		}
	}
	if o.markdown == "" {
		return nil
	}
	page, err := os.ReadFile(o.markdown)
	if err != nil {
		return fmt.Errorf("read the page for the table: %w", err)
	}
	if page, err = between(page, r.markdown()); err != nil {
		return fmt.Errorf("write the table into %s: %w", o.markdown, err)
	}
	return renameio.WriteFile(o.markdown, page, 0o644)
}

// between replaces what stands between the two marks of a page.
func between(page []byte, middle string) ([]byte, error) {
	head, rest, ok1 := bytes.Cut(page, []byte(beginMark))
	_, tail, ok2 := bytes.Cut(rest, []byte(endMark))
	if !ok1 || !ok2 {
		return nil, errors.New("it lacks the line " + beginMark + " or, after it, " + endMark)
	}
	return bytes.Join([][]byte{head, []byte(beginMark + "\n" + middle), append([]byte(endMark), tail...)}, nil), nil
}
