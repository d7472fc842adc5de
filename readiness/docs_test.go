package readiness

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

const (
	docsFile  = "../docs/readiness.md"
	docsBegin = "<!-- begin: the table of checks; written by PICCOLO_UPDATE_DOCS=1 go test ./readiness -run TestDocs -->\n"
	docsEnd   = "<!-- end -->\n"
)

// docsTable writes the table of checks as the documentation shows it.
func docsTable() string {
	var b strings.Builder
	b.WriteString("| check | what it asks | join | start | running | limits | what to do |\n|---|---|---|---|---|---|---|\n")
	for _, s := range table() {
		running := string(s.running)
		if len(s.reasons) > 0 {
			running += " → " + s.reasons.String()
		}
		if running == "" {
			running = "–"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s | %s |\n", s.name, s.asks, s.join, s.start,
			strings.ReplaceAll(running, ",", ", "), s.limits(DefaultThresholds()), s.remedy)
	}
	return b.String()
}

// TestDocs compares the documentation with the table in the code.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, found := strings.Cut(string(text), docsBegin)
	old, tail, ended := strings.Cut(rest, docsEnd)
	if !found || !ended {
		t.Fatalf("%s has no table between %q and %q", docsFile, docsBegin, docsEnd)
	}
	if want := docsTable(); old != want {
		if os.Getenv("PICCOLO_UPDATE_DOCS") == "" {
			t.Fatalf("%s does not match the code; run PICCOLO_UPDATE_DOCS=1 go test ./readiness -run TestDocs\nwant:\n%s", docsFile, want)
		}
		if err := os.WriteFile(docsFile, []byte(head+docsBegin+want+docsEnd+tail), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for id := range (&Checker{}).remedies() {
		if !strings.Contains(head+tail, "`"+string(id)+"`") {
			t.Errorf("%s does not tell of the fix %s", docsFile, id)
		}
	}
}
