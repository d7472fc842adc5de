package topology_test

import (
	"strings"
	"testing"

	"piccolo.io/piccolo/topology"
)

func TestVoters(t *testing.T) {
	for masters, want := range []int{0, 1, 1, 3, 3, 5, 5, 7} {
		if got := topology.Voters(masters); got != want {
			t.Errorf("of %d masters %d vote, not %d", masters, got, want)
		}
	}
}

func TestSurvival(t *testing.T) {
	for _, c := range []struct {
		masters, lost int
		want          string
	}{
		{0, 0, ""}, {1, 0, "it has one"}, {2, 0, "its standby"}, {3, 0, "one more master"}, {3, 1, "bring m back"}, {3, 2, "Too few masters"},
		{4, 1, "one more"}, {5, 0, "2 more masters"}, {5, 1, "one more"}, {5, 2, "no more master"}, {5, 3, "Too few"},
	} {
		nodes := []topology.Node{{Role: topology.RoleSub, Status: topology.StatusReady}, {Role: topology.RoleMaster, Status: topology.StatusPending}}
		for i := range c.masters {
			n := topology.Node{Name: "m", Role: topology.RoleMaster, Status: topology.StatusReady}
			if i < c.lost {
				n.Status, n.Reasons = topology.StatusNotReady, topology.Reasons{topology.ReasonUnreachable}
			}
			nodes = append(nodes, n)
		}
		if got := topology.Survival(nodes); !strings.Contains(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%d masters, %d lost: %q", c.masters, c.lost, got)
		}
	}
}
