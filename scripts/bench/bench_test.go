package main

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestQuantile(t *testing.T) {
	twenty := make([]float64, 20)
	for i := range twenty {
		twenty[i] = float64(i + 1)
	}
	for _, tt := range []struct {
		values []float64
		q      float64
		want   float64
	}{
		{nil, 0.5, 0},
		{[]float64{7}, 0.5, 7},
		{[]float64{7}, 0.99, 7},
		{[]float64{1, 2}, 0.5, 1},
		{[]float64{1, 2, 3}, 0.5, 2},
		{twenty, 0.5, 10},
		{twenty, 0.99, 20},
		{twenty, 0.95, 19},
		{twenty, 0, 1},
		{twenty, 1, 20},
	} {
		if got := quantile(tt.values, tt.q); got != tt.want {
			t.Errorf("quantile(%v, %v) = %v, want %v", tt.values, tt.q, got, tt.want)
		}
	}
}

func TestVerdict(t *testing.T) {
	for _, tt := range []struct {
		name   string
		f      figure
		want   string
		wanted string // the first note
	}{
		{"nothing promised", figure{Samples: []float64{9}}, "", ""},
		{"kept to the limit", figure{Samples: []float64{1, 2}, promise: atMost(2, "")}, "ok", ""},
		{"one event over", figure{Samples: []float64{1, 2.1}, promise: atMost(2, "")}, "over", ""},
		{"one board over", figure{Samples: []float64{2.1, 1, 1}, promise: atMost(2, ""), boards: true}, "over", ""},
		{"a missed event", figure{Samples: []float64{1}, Missed: 1, promise: atMost(2, "")}, "over", "1 missed"},
		{"none is none", figure{Samples: []float64{0}, promise: atMost(0, "")}, "ok", ""},
	} {
		tt.f.compute()
		if note := strings.Join(tt.f.Notes, ""); tt.f.Verdict != tt.want || note != tt.wanted {
			t.Errorf("%s: %q, %q, want %q, %q", tt.name, tt.f.Verdict, note, tt.want, tt.wanted)
		}
	}
}

func TestShow(t *testing.T) {
	for _, tt := range []struct {
		unit   string
		values []float64
		want   string
	}{
		{"s", []float64{0.0061}, "6.10 ms"},
		{"s", []float64{0.312}, "312 ms"},
		{"s", []float64{1.049}, "1.05 s"},
		{"MB", []float64{40.34}, "40.3 MB"},
		{"", []float64{3}, "3"},
	} {
		f := figure{Unit: tt.unit, Samples: tt.values}
		f.compute()
		if got := f.show(f.P50); got != tt.want {
			t.Errorf("%v %s is shown as %q, want %q", tt.values, tt.unit, got, tt.want)
		}
	}
}

func TestBetween(t *testing.T) {
	page := "# Page\n" + beginMark + "\nold\n" + endMark + "\nrest " + endMark + "\n"
	want := "# Page\n" + beginMark + "\nnew\n" + endMark + "\nrest " + endMark + "\n"
	for range 2 { // a second time changes nothing
		got, err := between([]byte(page), "new\n")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("page (-want +got):\n%s", diff)
		}
		page = string(got)
	}
	for _, page := range []string{"", beginMark, endMark + beginMark} {
		if _, err := between([]byte(page), ""); err == nil {
			t.Errorf("a page %q without the two marks is taken", page)
		}
	}
}

func TestMarkdown(t *testing.T) {
	r := report{Began: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Failures: []string{"idle: broken\nand more"}}
	s := &session{report: &r, talk: io.Discard}
	f := newFigure(s, &cluster{size: 3}, "kill -9 → NotReady", "s", atMost(0.1, "≤ 100 ms"))
	f.sample(5 * time.Millisecond)
	f.sample(7 * time.Millisecond)
	f.add(s)
	newFigure(s, &cluster{}, "never measured", "s", none).add(s)
	got := r.markdown()
	for _, want := range []string{
		"| kill -9 → NotReady | 3 | 5.00 ms | 7.00 ms | 7.00 ms | 2 | ≤ 100 ms | ok |  |",
		"2026-01-02 03:04 UTC", "- not measured: idle: broken\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the page lacks %q:\n%s", want, got)
		}
	}
	if strings.Contains(got, "never") {
		t.Errorf("the page tells of what was not measured:\n%s", got)
	}
}

func TestParse(t *testing.T) {
	binary := t.TempDir() // anything that exists
	o, err := parse([]string{"-binary", binary, "-quick", "-runs", "7", "-only", "join,idle"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if o.runs != 7 || o.window != 10*time.Second || !cmp.Equal(o.nodes, []int{3}) || !cmp.Equal(o.only, []string{"join", "idle"}) {
		t.Errorf("-quick with others: %+v", o)
	}
	for _, tt := range []struct{ args, want string }{
		{"-only nothing", `there is no group "nothing"`},
		{"-nodes 1", `"1" is not a number from 2 to 50`},
		{"-nodes 3,", `"" is not a number`},
		{"-runs 0", "0 is not 1 to 1000"},
		{"-window 1ms", "must be a second at least"},
		{"-binary /nowhere", "make build"},
		{"now", `unexpected argument "now"`},
		{"-runs x", `invalid value "x"`},
	} {
		args := append([]string{"-binary", binary}, strings.Fields(tt.args)...)
		if _, err := parse(args, io.Discard); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", tt.args, err, tt.want)
		}
	}
}

func TestParseStat(t *testing.T) {
	text := "42 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 12 0 98765 1 2 3\n"
	got, err := parseStat(text)
	if err != nil {
		t.Fatal(err)
	}
	if want := (stat{cpu: 3 * time.Second, start: 987650 * time.Millisecond}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	for _, bad := range []string{"", "42", "42 (x", "42 (x) S 1", strings.Replace(text, "250", "x", 1)} {
		if _, err := parseStat(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// The kernel lets a process choose its name, which stands in the middle.
func TestParseStatNames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringN(0, 15, -1).Draw(t, "name")
		got, err := parseStat("42 (" + name + ") S 1 2 3 4 5 6 7 8 9 10 1 1 0 0 20 0 12 0 5 1")
		if err != nil || got.cpu != 2*tick || got.start != 5*tick {
			t.Fatalf("%+v, %v", got, err)
		}
	})
}

func FuzzParseStat(f *testing.F) {
	f.Add("42 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 12 0 98765 1 2 3\n")
	f.Add("42 (x")
	f.Fuzz(func(t *testing.T, text string) { _, _ = parseStat(text) })
}
