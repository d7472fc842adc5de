package api_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"piccolo.io/piccolo/topology"
)

// adviceFor is the advice of a node in a mode that knows these nodes.
func adviceFor(t *testing.T, mode string, nodes ...topology.Node) string {
	t.Helper()
	f := newFake()
	f.nodes, f.mode = nodes, mode
	st, err := newService(t, f, true).Status(t.Context(), admin)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(st.Advice, "\n")
}

// TestAdvice: how many masters the cluster can lose, and one line for each thing
// that is not in order, with its remedy.
func TestAdvice(t *testing.T) {
	node := func(name string, status topology.NodeStatus, reasons ...topology.Reason) topology.Node {
		return topology.Node{ID: "n-" + name, Name: name, Role: topology.RoleSub, Status: status, StatusSince: now().Add(-5 * time.Minute), Reasons: reasons}
	}
	main := topology.Node{ID: "n-main", Name: "main", Role: topology.RoleMaster, Status: topology.StatusReady}
	full := main
	full.Status, full.Reasons = topology.StatusNotReady, topology.Reasons{topology.ReasonDiskPressure}
	well := []topology.Node{main, node("a", topology.StatusReady), node("b", topology.StatusMaintenance, topology.ReasonUnreachable)}
	for name, try := range map[string]struct {
		mode  string
		nodes []topology.Node
		want  []string // a part of each line
	}{
		"all is well": {"Online", well, []string{"the loss of no master"}},
		"lost nodes": {"Online", []topology.Node{main, node("z", topology.StatusNotReady, topology.ReasonHeartbeatMissed, topology.ReasonUnreachable), node("c", topology.StatusNotReady, topology.ReasonPodmanDown)},
			[]string{"c is NotReady for 5m (PodmanDown): `systemctl status podman.socket` on c", "z is NotReady for 5m (HeartbeatMissed, Unreachable): check its power", "the loss of no master"}},
		"the master":   {"Online", []topology.Node{full}, []string{"main is NotReady (DiskPressure): free space", "the loss of no master"}},
		"offline":      {"Offline", well, []string{"This node reaches no master"}},
		"removed":      {"Removed", well, []string{"`piccolo reset`"}},
		"approval":     {"Online", []topology.Node{main, node("new", topology.StatusPending)}, []string{"the loss of no master", "1 node(s) wait for approval"}},
		"knows nobody": {"Offline", nil, []string{"This node reaches no master"}},
	} {
		got := adviceFor(t, try.mode, try.nodes...)
		lines := strings.Split(got, "\n")
		if got == "" {
			lines = nil
		}
		if len(lines) != len(try.want) {
			t.Errorf("%s:\n%s", name, got)
			continue
		}
		for i, want := range try.want {
			if !strings.Contains(lines[i], want) {
				t.Errorf("%s: %q lacks %q", name, lines[i], want)
			}
		}
	}
}

// TestEveryReasonHasARemedy, which names the node, and the command that
// docs/node-states.md names.
func TestEveryReasonHasARemedy(t *testing.T) {
	b, err := os.ReadFile("../../docs/node-states.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range topology.AllReasons() {
		got := adviceFor(t, "Online", topology.Node{ID: "n-1", Name: "attic", Role: topology.RoleSub, Status: topology.StatusNotReady, Reasons: topology.Reasons{r}})
		_, remedy, _ := strings.Cut(got, "): ")
		if !strings.Contains(remedy, "attic") || strings.Contains(got, "NODE") {
			t.Errorf("%s: %q", r, got)
		}
		_, row, found := strings.Cut(string(b), "| `"+string(r)+"` |")
		row, _, _ = strings.Cut(row, "\n")
		cells := strings.Split(row, "|")
		if !found || len(cells) < 3 {
			t.Fatalf("docs/node-states.md has no row for %s", r)
		}
		if parts := strings.Split(cells[2], "`"); len(parts) > 1 && !strings.Contains(remedy, parts[1]) {
			t.Errorf("%s: %q is not what the document says: %q", r, remedy, cells[2])
		}
	}
}
