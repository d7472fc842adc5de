package topology

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// signals is every signal there is, and one that there is not.
var signals = []Signal{
	SignalRequested, SignalApproved, SignalRejected, SignalExpired, SignalConfigured, SignalStalled, SignalImpaired,
	SignalRecovered, SignalMaintain, SignalResume, SignalRemove, SignalReleased, "made-up",
}

// law is the table of DESIGN §4, written down a second time: what a state
// becomes by a signal without and with a standing reason. "-" is refused.
var law = map[NodeStatus]map[Signal][2]NodeStatus{
	StatusNone: {SignalRequested: {StatusPending, StatusPending}},
	StatusPending: {
		SignalApproved: {StatusInitializing, StatusInitializing}, SignalRejected: {StatusTerminating, StatusTerminating},
		SignalExpired: {StatusTerminating, StatusTerminating}, SignalRemove: {StatusTerminating, StatusTerminating},
	},
	StatusInitializing: {
		SignalConfigured: {StatusReady, "-"}, SignalStalled: {"-", StatusNotReady},
		SignalRemove: {StatusTerminating, StatusTerminating},
	},
	StatusReady: {
		SignalImpaired: {"-", StatusNotReady}, SignalMaintain: {StatusMaintenance, StatusMaintenance},
		SignalRemove: {StatusTerminating, StatusTerminating},
	},
	StatusNotReady: {
		SignalRecovered: {StatusReady, "-"}, SignalMaintain: {StatusMaintenance, StatusMaintenance},
		SignalRemove: {StatusTerminating, StatusTerminating},
	},
	StatusMaintenance: {
		SignalResume: {StatusReady, StatusNotReady}, SignalRemove: {StatusTerminating, StatusTerminating},
	},
	StatusTerminating: {SignalReleased: {StatusNone, StatusNone}},
}

func TestEveryTransition(t *testing.T) {
	at := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	for _, from := range append(Statuses(), StatusNone) {
		for _, signal := range signals {
			for i, reasons := range []Reasons{nil, {ReasonPodmanDown}} {
				want := NodeStatus("-")
				if w, ok := law[from][signal]; ok {
					want = w[i]
				}
				n := Node{ID: "n-1", Name: "board", Status: from, StatusSince: at.Add(-time.Hour)}
				got, err := Apply(n, signal, reasons, at)
				if want == "-" {
					if !errors.Is(err, ErrTransition) || !reflect.DeepEqual(got, n) {
						t.Errorf("%q by %s with %v: %q, %v; it must be refused and change nothing", from, signal, reasons, got.Status, err)
					}
					if err != nil && (!strings.Contains(err.Error(), "board") || !strings.Contains(err.Error(), string(signal))) {
						t.Errorf("%q does not name the node and the signal", err)
					}
					continue
				}
				if err != nil || got.Status != want || got.StatusSince != at || got.Reasons.String() != reasons.String() {
					t.Errorf("%q by %s with %v: %q since %s with %v, %v; want %q", from, signal, reasons, got.Status, got.StatusSince, got.Reasons, err, want)
				}
			}
		}
	}
}

// TestTransitionsAreOfKnownWords keeps a row from being misspelt.
func TestTransitionsAreOfKnownWords(t *testing.T) {
	seen := map[[2]string]bool{}
	for _, row := range Transitions() {
		for _, s := range []NodeStatus{row.From, row.To, row.Impaired} {
			if s != StatusNone && !slices.Contains(Statuses(), s) {
				t.Errorf("%+v: %q is no state", row, s)
			}
		}
		if !slices.Contains(signals, row.Signal) {
			t.Errorf("%+v: %q is no signal", row, row.Signal)
		}
		key := [2]string{string(row.From), string(row.Signal)}
		if seen[key] {
			t.Errorf("%+v: a second row for the same state and signal", row)
		}
		seen[key] = true
	}
}

// TestLifeOfANode drives a node with random signals and reasons: NotReady has
// a reason, Ready has none, and what is refused changes nothing.
func TestLifeOfANode(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := Node{ID: "n-1", Name: "board", Labels: map[string]string{"a": "b"}}
		now := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
		standing := Reasons{}
		t.Repeat(map[string]func(*rapid.T){
			"raise": func(t *rapid.T) { standing = standing.With(rapid.SampledFrom(AllReasons()).Draw(t, "reason")) },
			"clear": func(t *rapid.T) { standing = standing.Without(rapid.SampledFrom(AllReasons()).Draw(t, "reason")) },
			"settle": func(t *rapid.T) {
				if s := n.Status.Settle(standing); s != "" {
					next, err := Apply(n, s, standing, now)
					if err != nil {
						t.Fatalf("what Settle asks for was refused: %v", err)
					}
					n = next
				}
			},
			"signal": func(t *rapid.T) {
				now = now.Add(time.Second)
				before := n.Clone()
				next, err := Apply(n, rapid.SampledFrom(signals).Draw(t, "signal"), standing, now)
				if err != nil && !reflect.DeepEqual(next, before) {
					t.Fatalf("refused, and yet it changed: %+v", next)
				}
				if !reflect.DeepEqual(n, before) {
					t.Fatalf("Apply changed its argument")
				}
				n = next
			},
			"": func(t *rapid.T) {
				if (n.Status == StatusNotReady) && len(n.Reasons) == 0 {
					t.Fatalf("NotReady without a reason")
				}
				if n.Status == StatusReady && len(n.Reasons) > 0 {
					t.Fatalf("Ready with %v", n.Reasons)
				}
				if n.Labels["a"] != "b" || n.ID != "n-1" {
					t.Fatalf("something else changed: %+v", n)
				}
			},
		})
	})
}

func TestSettle(t *testing.T) {
	for _, s := range append(Statuses(), StatusNone) {
		for _, reasons := range []Reasons{nil, {ReasonUnreachable}} {
			want := Signal("")
			switch {
			case s == StatusReady && len(reasons) > 0:
				want = SignalImpaired
			case s == StatusNotReady && len(reasons) == 0:
				want = SignalRecovered
			}
			if got := s.Settle(reasons); got != want {
				t.Errorf("%q with %v: %q, want %q", s, reasons, got, want)
			}
		}
	}
}

// TestEveryStateCanBeLeft: there is always a way to the end, and from every
// state between admission and removal one to Ready.
func TestEveryStateCanBeLeft(t *testing.T) {
	reach := func(from, to NodeStatus) bool {
		seen, todo := map[NodeStatus]bool{}, []NodeStatus{from}
		for len(todo) > 0 {
			s := todo[0]
			todo = todo[1:]
			for _, row := range Transitions() {
				if row.From != s {
					continue
				}
				for _, next := range []NodeStatus{row.To, row.Impaired} {
					if next == to && (next != StatusNone || row.Impaired == next || row.To == next) {
						return true
					}
					if next != StatusNone && !seen[next] {
						seen[next] = true
						todo = append(todo, next)
					}
				}
			}
		}
		return false
	}
	for _, s := range Statuses() {
		if !reach(s, StatusTerminating) && s != StatusTerminating {
			t.Errorf("from %s there is no way out", s)
		}
		if s != StatusTerminating && !reach(s, StatusReady) {
			t.Errorf("from %s there is no way to Ready", s)
		}
	}
}
