package topology_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"piccolo.io/piccolo/topology"
)

var facts = rapid.Custom(func(t *rapid.T) topology.Facts {
	f := topology.Facts{
		Unreachable: rapid.Bool().Draw(t, "unreachable"), HeartbeatMissed: rapid.Bool().Draw(t, "missed"),
		Reported: rapid.Bool().Draw(t, "reported"), Configured: rapid.Bool().Draw(t, "configured"), Late: rapid.Bool().Draw(t, "late"),
	}
	for _, r := range topology.AllReasons() {
		if f.Reported && r.FromNode() && rapid.Bool().Draw(t, string(r)) {
			f.Conditions = f.Conditions.With(r)
		}
	}
	return f
})

// TestJudge: whatever happens in whatever order, every step follows the table,
// NotReady always has a reason and Ready none, judging twice changes nothing,
// and a node of which nothing bad is known becomes Ready.
func TestJudge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := topology.Node{ID: "n-1", Name: "kitchen", Status: rapid.SampledFrom(topology.Statuses()).Draw(t, "status")}
		if n.Status == topology.StatusNotReady {
			n.Reasons = topology.Reasons{topology.ReasonUnreachable}
		}
		decided := n.Status == topology.StatusPending || n.Status == topology.StatusTerminating
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			f := facts.Draw(t, "facts")
			next, changed, err := topology.Judge(n, f, time.Unix(1, 0))
			if err != nil {
				t.Fatalf("%+v with %+v: %v", n, f, err)
			}
			if !changed && (next.Status != n.Status || next.Reasons.String() != n.Reasons.String()) {
				t.Fatalf("no change, but %+v", next)
			}
			if decided && changed {
				t.Fatalf("%s is not the judge's to change", n.Status)
			}
			if next.Status != n.Status && !listed(n.Status, next.Status) {
				t.Fatalf("from %s to %s", n.Status, next.Status)
			}
			if (next.Status == topology.StatusNotReady) != (len(next.Reasons) > 0) && next.Status != topology.StatusMaintenance {
				t.Fatalf("%s with %q", next.Status, next.Reasons)
			}
			if _, again, err := topology.Judge(next, f, time.Unix(2, 0)); again || err != nil {
				t.Fatalf("judged twice: %v, %v", again, err)
			}
			n = next
		}
		good := topology.Facts{Reported: true, Configured: true}
		n, _, err := topology.Judge(n, good, time.Unix(3, 0))
		if err != nil || !decided && n.Status != topology.StatusReady && n.Status != topology.StatusMaintenance {
			t.Fatalf("at the end %s (%s), %v", n.Status, n.Reasons, err)
		}
	})
}

func listed(from, to topology.NodeStatus) bool {
	for _, tr := range topology.Transitions() {
		if tr.From == from && (tr.To == to || tr.Impaired == to) {
			return true
		}
	}
	return false
}
