package topology

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func reasonSets() *rapid.Generator[Reasons] {
	return rapid.Custom(func(t *rapid.T) Reasons {
		return Reasons{}.With(rapid.SliceOf(rapid.SampledFrom(AllReasons())).Draw(t, "reasons")...)
	})
}

// TestReasonsAreASet compares with the plain definition of a set.
func TestReasonsAreASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := reasonSets().Draw(t, "a"), reasonSets().Draw(t, "b")
		before := slices.Clone(a)
		with, without := a.With(b...), a.Without(b...)
		if !slices.Equal(a, before) {
			t.Fatal("the set itself was changed")
		}
		for _, r := range AllReasons() {
			if with.Has(r) != (a.Has(r) || b.Has(r)) {
				t.Fatalf("%v with %v: %v", a, b, with)
			}
			if without.Has(r) != (a.Has(r) && !b.Has(r)) {
				t.Fatalf("%v without %v: %v", a, b, without)
			}
		}
		for _, s := range []Reasons{with, without} {
			if !slices.IsSorted(s) || len(slices.Compact(slices.Clone(s))) != len(s) {
				t.Fatalf("%v is not sorted, or has something twice", s)
			}
		}
	})
}

func TestParseReason(t *testing.T) {
	for _, r := range AllReasons() {
		if got, err := ParseReason(string(r)); err != nil || got != r {
			t.Errorf("%s: %q, %v", r, got, err)
		}
	}
	for _, s := range []string{"", "unreachable", "Unreachable ", "Bored"} {
		if _, err := ParseReason(s); err == nil {
			t.Errorf("%q was accepted", s)
		}
	}
}

// TestWhoRaisesWhat: a node may not call itself reachable, nor a master judge
// a node's memory.
func TestWhoRaisesWhat(t *testing.T) {
	masters := Reasons{ReasonUnreachable, ReasonHeartbeatMissed, ReasonClockSkew, ReasonCertificateExpired}
	for _, r := range AllReasons() {
		if r.FromNode() == masters.Has(r) {
			t.Errorf("%s: FromNode is %v", r, r.FromNode())
		}
	}
	if Reason("made-up").FromNode() {
		t.Error("a reason that does not exist comes from no node")
	}
}
