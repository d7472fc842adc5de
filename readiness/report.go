package readiness

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"piccolo.io/piccolo/topology"
)

// Gate names the moment at which the checks run.
type Gate string

const (
	// GateJoin runs before a board joins. An error in it refuses the board.
	GateJoin Gate = "join"
	// GateStart runs when a member's daemon starts. It never refuses: every
	// error is demoted to a warning.
	GateStart Gate = "start"
	// GateRunning runs again and again while the node works. Its errors
	// carry a Condition and refuse nothing either.
	GateRunning Gate = "running"
)

// Severity says how bad a Result is.
type Severity string

const (
	// SeverityOK: nothing to do.
	SeverityOK Severity = "ok"
	// SeveritySkipped: the check was not made, because nothing was given that
	// it could look at. It stops nothing.
	SeveritySkipped Severity = "skipped"
	// SeverityWarning is reported and stops nothing.
	SeverityWarning Severity = "warning"
	// SeverityError refuses the board at GateJoin, and is a condition of the
	// node at GateRunning.
	SeverityError Severity = "error"
)

// rank orders severities; an unknown one counts as an error.
func (s Severity) rank() int {
	switch s {
	case SeverityOK, SeveritySkipped:
		return 0
	case SeverityWarning:
		return 1
	}
	return 2
}

// Bad reports whether something is to be done: a warning or an error.
func (s Severity) Bad() bool { return s.rank() > 0 }

// atMost returns s, or limit where s is worse.
func (s Severity) atMost(limit Severity) Severity {
	if s.rank() > limit.rank() {
		return limit
	}
	return s
}

// Result is what one check found.
type Result struct {
	// Check is the check's name; the list is in docs/readiness.md.
	Check string `json:"check"`
	// Severity is how bad it is at the report's gate.
	Severity Severity `json:"severity"`
	// Found says what the check saw, with the figure and its limit.
	Found string `json:"found"`
	// Mend says what to do; empty where there is nothing to do.
	Mend string `json:"mend,omitempty"`
	// Fix is the remedy that Fix can apply; empty where a person is needed.
	Fix FixID `json:"fix,omitempty"`
	// RebootNeeded is true where the remedy works only after a reboot.
	RebootNeeded bool `json:"reboot_needed,omitempty"`
	// Condition is the reason for NotReady that this result raises. It is
	// set at GateRunning only, and only if Severity is error or Hold is true.
	Condition topology.Reason `json:"condition,omitempty"`
	// Hold says that Condition only stands if it stood before: the figure
	// lies between its two limits. With an empty Condition it means that
	// nothing could be found out, so everything stays as it was.
	Hold bool `json:"hold,omitempty"`
}

// Report is what one run of a gate found.
type Report struct {
	// Gate is the gate that was run.
	Gate Gate `json:"gate"`
	// At is the start of the run by the board's own clock, which may be wrong.
	At time.Time `json:"at"`
	// Results has one entry per check, in the order of the table.
	Results []Result `json:"results"`
}

// Over returns r with the results of below that r does not have, in below's
// order.
func (r Report) Over(below Report) Report {
	out := Report{Gate: r.Gate, At: r.At, Results: []Result{}}
	for _, res := range below.Results {
		if i := slices.IndexFunc(r.Results, func(own Result) bool { return own.Check == res.Check }); i >= 0 {
			res = r.Results[i]
		}
		out.Results = append(out.Results, res)
	}
	return out
}

// Blocking returns the results that refuse the board: the errors of the join
// gate. No other gate blocks anything.
func (r Report) Blocking() []Result {
	if r.Gate != GateJoin {
		return nil
	}
	var out []Result
	for _, res := range r.Results {
		if res.Severity == SeverityError {
			out = append(out, res)
		}
	}
	return out
}

// Worst returns the worst severity in the report; ok if it is empty.
func (r Report) Worst() Severity {
	worst := SeverityOK
	for _, res := range r.Results {
		if res.Severity.rank() > worst.rank() {
			worst = res.Severity
		}
	}
	return worst
}

// Err returns nil if nothing blocks, else an error that wraps ErrNotReady and
// lists each blocking result with its remedy, one per line.
func (r Report) Err() error {
	blocking := r.Blocking()
	if len(blocking) == 0 {
		return nil
	}
	lines := make([]string, len(blocking))
	for i, res := range blocking {
		lines[i] = fmt.Sprintf("%s: %s", res.Check, res.Found)
		if res.Mend != "" {
			lines[i] += ". To mend it: " + res.Mend
		}
	}
	return fmt.Errorf("%w:\n  %s", ErrNotReady, strings.Join(lines, "\n  "))
}

// Conditions returns the reasons that stand after report, given those that
// stood before it. It is pure: the caller keeps the set.
//
// A reason that an error names is raised. One that is only held stays as it
// was. One that the report's checks cover and none of them names is cleared.
// Reasons that this package doesn't raise, or that none of the report's checks
// covers, pass through untouched. Reports of other gates change nothing.
func Conditions(standing topology.Reasons, report Report) topology.Reasons {
	if report.Gate != GateRunning {
		return standing.With()
	}
	raised, held := topology.Reasons{}, topology.Reasons{}
	covered := topology.Reasons{}
	for _, res := range report.Results {
		covered = covered.With(coveredBy(res.Check)...)
		switch {
		case res.Hold && res.Condition == "":
			held = held.With(coveredBy(res.Check)...)
		case res.Condition == "":
		case res.Hold:
			held = held.With(res.Condition)
		default:
			raised = raised.With(res.Condition)
		}
	}
	kept := topology.Reasons{}
	for _, reason := range standing {
		if !covered.Has(reason) || held.Has(reason) {
			kept = kept.With(reason)
		}
	}
	return kept.With(raised...)
}
