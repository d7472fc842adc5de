package topology

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// NodeStatus is where a node stands in its life.
type NodeStatus string

const (
	// StatusNone is the state before a node is known and after its record is
	// removed.
	StatusNone NodeStatus = ""
	// StatusPending waits for a decision whether the node may join.
	StatusPending NodeStatus = "Pending"
	// StatusInitializing has been approved and has not been Ready yet.
	StatusInitializing NodeStatus = "Initializing"
	// StatusReady can be given work.
	StatusReady NodeStatus = "Ready"
	// StatusNotReady cannot be given work; Reasons says why.
	StatusNotReady NodeStatus = "NotReady"
	// StatusMaintenance is kept out of work by an administrator.
	StatusMaintenance NodeStatus = "Maintenance"
	// StatusTerminating is leaving; its record is removed when it has let go.
	StatusTerminating NodeStatus = "Terminating"
)

// Statuses lists every state in the order of a node's life.
func Statuses() []NodeStatus {
	return []NodeStatus{StatusPending, StatusInitializing, StatusReady, StatusNotReady, StatusMaintenance, StatusTerminating}
}

// Signal is something that happened to a node.
type Signal string

const (
	SignalRequested  Signal = "requested"  // a registration was accepted for a decision
	SignalApproved   Signal = "approved"   // by a valid token, or by an administrator
	SignalRejected   Signal = "rejected"   // by an administrator
	SignalExpired    Signal = "expired"    // nobody decided in time
	SignalConfigured Signal = "configured" // plan applied, first heartbeat, readiness passed
	SignalStalled    Signal = "stalled"    // readiness failed, or InitializingTimeout is gone
	SignalImpaired   Signal = "impaired"   // at least one reason stands
	SignalRecovered  Signal = "recovered"  // every reason is cleared
	SignalMaintain   Signal = "maintain"   // administrator
	SignalResume     Signal = "resume"     // administrator
	SignalRemove     Signal = "remove"     // administrator, or the node itself
	SignalReleased   Signal = "released"   // the agent has let go, or its grace has passed
)

// InitializingTimeout is how long a node may take from approval to its first
// heartbeat before it is NotReady.
const InitializingTimeout = 30 * time.Second

// TerminatingGrace is how long a node that was told to leave may take to let
// go before its record is removed without it.
const TerminatingGrace = 30 * time.Second

// ErrTransition is returned for a signal that the table does not list.
var ErrTransition = errors.New("not possible in this state")

// Transition is one line of the law: from a state, by a signal, to a state.
type Transition struct {
	From   NodeStatus
	Signal Signal
	To     NodeStatus
	// Impaired is the state instead of To while a reason stands, where the
	// two differ.
	Impaired NodeStatus
}

// Transitions returns the whole table. What it does not list is refused.
func Transitions() []Transition {
	return []Transition{
		{From: StatusNone, Signal: SignalRequested, To: StatusPending},
		{From: StatusPending, Signal: SignalApproved, To: StatusInitializing},
		{From: StatusPending, Signal: SignalRejected, To: StatusTerminating},
		{From: StatusPending, Signal: SignalExpired, To: StatusTerminating},
		{From: StatusInitializing, Signal: SignalConfigured, To: StatusReady},
		{From: StatusInitializing, Signal: SignalStalled, To: StatusNotReady},
		{From: StatusReady, Signal: SignalImpaired, To: StatusNotReady},
		{From: StatusNotReady, Signal: SignalRecovered, To: StatusReady},
		{From: StatusReady, Signal: SignalMaintain, To: StatusMaintenance},
		{From: StatusNotReady, Signal: SignalMaintain, To: StatusMaintenance},
		{From: StatusMaintenance, Signal: SignalResume, To: StatusReady, Impaired: StatusNotReady},
		{From: StatusPending, Signal: SignalRemove, To: StatusTerminating},
		{From: StatusInitializing, Signal: SignalRemove, To: StatusTerminating},
		{From: StatusReady, Signal: SignalRemove, To: StatusTerminating},
		{From: StatusNotReady, Signal: SignalRemove, To: StatusTerminating},
		{From: StatusMaintenance, Signal: SignalRemove, To: StatusTerminating},
		{From: StatusTerminating, Signal: SignalReleased, To: StatusNone},
	}
}

// Apply returns n after the signal, with reasons as the reasons that stand
// now and at as the time of the change. Beside the table it holds one law: a
// NotReady node has at least one reason and a Ready node has none. A refused
// signal gives an error that wraps ErrTransition and n unchanged.
func Apply(n Node, signal Signal, reasons Reasons, at time.Time) (Node, error) {
	i := slices.IndexFunc(Transitions(), func(t Transition) bool { return t.From == n.Status && t.Signal == signal })
	if i < 0 {
		return n, fmt.Errorf("%s node %s: %w: it is %s", signal, n.Name, ErrTransition, n.Status.Word())
	}
	t := Transitions()[i]
	to := t.To
	if len(reasons) > 0 && t.Impaired != "" {
		to = t.Impaired
	}
	switch {
	case to == StatusNotReady && len(reasons) == 0:
		return n, fmt.Errorf("%s node %s: %w: NotReady needs a reason", signal, n.Name, ErrTransition)
	case to == StatusReady && len(reasons) > 0:
		return n, fmt.Errorf("%s node %s: %w: %s stands", signal, n.Name, ErrTransition, reasons)
	}
	out := n.Clone()
	out.Status, out.StatusSince = to, at
	out.Reasons = Reasons{}.With(reasons...)
	return out, nil
}

// Settle returns the signal that the standing reasons ask for in a state, or
// "" where they change nothing.
func (s NodeStatus) Settle(reasons Reasons) Signal {
	switch {
	case s == StatusReady && len(reasons) > 0:
		return SignalImpaired
	case s == StatusNotReady && len(reasons) == 0:
		return SignalRecovered
	}
	return ""
}

// Word is the state as a person reads it: "unknown" for StatusNone.
func (s NodeStatus) Word() string {
	if s == StatusNone {
		return "unknown"
	}
	return string(s)
}

// Diagram renders the table as a Mermaid state diagram, for the documents.
func Diagram() string {
	var b strings.Builder
	b.WriteString("stateDiagram-v2\n")
	end := func(s NodeStatus) string {
		if s == StatusNone {
			return "[*]"
		}
		return string(s)
	}
	for _, t := range Transitions() {
		fmt.Fprintf(&b, "    %s --> %s: %s\n", end(t.From), end(t.To), t.Signal)
		if t.Impaired != "" {
			fmt.Fprintf(&b, "    %s --> %s: %s while a reason stands\n", end(t.From), end(t.Impaired), t.Signal)
		}
	}
	return b.String()
}
