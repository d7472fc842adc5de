package topology

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// TestDocumentation holds docs/node-states.md to the table: its diagram is the
// table's, and it names every state, reason and time.
func TestDocumentation(t *testing.T) {
	b, err := os.ReadFile("../docs/node-states.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	if !strings.Contains(page, "```mermaid\n"+Diagram()+"```\n") {
		t.Errorf("the diagram of docs/node-states.md is not the table's; put this in:\n```mermaid\n%s```", Diagram())
	}
	for _, s := range Statuses() {
		if !strings.Contains(page, "| `"+string(s)+"` |") {
			t.Errorf("state %s has no row", s)
		}
	}
	for _, r := range AllReasons() {
		if !strings.Contains(page, "| `"+string(r)+"` |") {
			t.Errorf("reason %s has no row", r)
		}
	}
	seconds := func(d time.Duration) string { return fmt.Sprintf("%.0f s", d.Seconds()) }
	for what, figure := range map[string]string{
		"default heartbeat": seconds(DefaultHeartbeatInterval), "shortest heartbeat": seconds(MinHeartbeatInterval),
		"initializing": seconds(InitializingTimeout), "terminating": seconds(TerminatingGrace),
	} {
		if !strings.Contains(page, figure) {
			t.Errorf("%s: %q is not on the page", what, figure)
		}
	}
}

func TestDiagramHasEveryTransition(t *testing.T) {
	d := Diagram()
	for _, row := range Transitions() {
		if !strings.Contains(d, ": "+string(row.Signal)+"\n") {
			t.Errorf("%+v is not in the diagram", row)
		}
	}
	if !strings.Contains(d, "Maintenance --> NotReady: resume while a reason stands\n") {
		t.Error("the second way of resume is not in the diagram")
	}
}
