package main

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// promise is what a figure is held against.
type promise struct {
	text  string
	limit float64
	made  bool
}

// none is for figures about which nothing was promised.
var none = promise{}

func atMost(limit float64, text string) promise { return promise{text, limit, true} }

// figure is one row of the table.
type figure struct {
	Name string `json:"name"`
	// Nodes of the cluster; 0 where that means nothing.
	Nodes int    `json:"nodes,omitempty"`
	Unit  string `json:"unit,omitempty"`
	// Samples are all that was measured, in the order in which it was.
	Samples []float64 `json:"samples"`
	// Missed events never came, within a minute each.
	Missed  int     `json:"missed,omitempty"`
	P50     float64 `json:"p50"`
	P99     float64 `json:"p99"`
	Max     float64 `json:"max"`
	Promise string  `json:"promise,omitempty"`
	// Verdict is "ok" or "over", and empty without a promise.
	Verdict string   `json:"verdict,omitempty"`
	Notes   []string `json:"notes,omitempty"`

	promise promise
	// boards: a sample per board and not per event.
	boards bool
}

func newFigure(_ *session, c *cluster, name, unit string, p promise) *figure {
	return &figure{Name: name, Nodes: c.size, Unit: unit, Samples: []float64{}, Promise: p.text, promise: p}
}

func (f *figure) sample(d time.Duration) { f.value(d.Seconds()) }
func (f *figure) value(v float64)        { f.Samples = append(f.Samples, v) }

func (f *figure) note(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); text != "" {
		f.Notes = append(f.Notes, text)
	}
}

// add computes the figure and gives it to the report, unless nothing at all
// was measured.
func (f *figure) add(s *session) {
	if len(f.Samples) == 0 && f.Missed == 0 {
		return
	}
	f.compute()
	s.report.Figures = append(s.report.Figures, f)
	s.say("  %s: %s", f.Name, f.brief())
}

// compute sets the quantiles and the verdict: a promise holds for the 99th
// percentile of events, for every board, and is broken by a missed event.
func (f *figure) compute() {
	sorted := slices.Sorted(slices.Values(f.Samples))
	f.P50, f.P99, f.Max = quantile(sorted, 0.50), quantile(sorted, 0.99), quantile(sorted, 1)
	if f.Missed > 0 {
		f.note("%d missed", f.Missed)
	}
	if !f.promise.made {
		return
	}
	f.Verdict = "over"
	held := f.P99
	if f.boards {
		held = f.Max
	}
	if f.Missed == 0 && held <= f.promise.limit {
		f.Verdict = "ok"
	}
}

// quantile is the smallest of the sorted values below or at which the share q
// of them lies (nearest rank), 0 for no values.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(math.Ceil(q * float64(len(sorted))))
	return sorted[max(rank, 1)-1]
}

// show writes a value with three digits that say something.
func (f *figure) show(v float64) string {
	unit := f.Unit
	if unit == "s" && f.Max < 1 {
		unit, v = "ms", v*1000
	}
	digits := 0
	switch a := math.Abs(v); {
	case f.Unit == "":
	case a < 10:
		digits = 2
	case a < 100:
		digits = 1
	}
	text := fmt.Sprintf("%.*f", digits, v)
	if unit != "" {
		text += " " + unit
	}
	return text
}

func (f *figure) brief() string {
	text := f.show(f.P50)
	if len(f.Samples) > 1 {
		text = fmt.Sprintf("p50 %s, p99 %s, max %s, %d samples", f.show(f.P50), f.show(f.P99), f.show(f.Max), len(f.Samples))
	}
	if f.Verdict != "" {
		text += ": " + f.Verdict
	}
	return text
}
