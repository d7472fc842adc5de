package topology

import "time"

// Facts is what is known of a node when its state is judged.
type Facts struct {
	// Unreachable: it was confirmed that nobody reaches the node, and it has
	// given no sign of life since.
	Unreachable bool
	// HeartbeatMissed: three heartbeats in a row did not come, and none since.
	HeartbeatMissed bool
	// Reported: the node has said what it finds of itself, and Conditions are
	// the reasons that it raises.
	Reported   bool
	Conditions Reasons
	// Configured: the node has sent a heartbeat and obeys its newest plan.
	Configured bool
	// Late: its time as Initializing is over.
	Late bool
}

// reasons that the facts give. The masters' own ReadinessFailed, of a node that
// was late, stands until that node is configured and finds nothing itself.
func (f Facts) reasons(standing Reasons) Reasons {
	out := Reasons{}
	if f.Reported {
		out = out.With(f.Conditions...)
	} else {
		for _, r := range standing {
			if r.FromNode() {
				out = out.With(r)
			}
		}
	}
	for _, own := range []struct {
		reason Reason
		stands bool
	}{
		{ReasonUnreachable, f.Unreachable},
		{ReasonHeartbeatMissed, f.HeartbeatMissed},
		{ReasonReadinessFailed, standing.Has(ReasonReadinessFailed) && !f.Configured},
	} {
		if own.stands {
			out = out.With(own.reason)
		}
	}
	return out
}

// Judge returns n as the facts want it, and whether that is a change. It gives
// every state but those that an administrator or the node itself decides:
// Pending and Terminating stay as they are.
func Judge(n Node, f Facts, at time.Time) (Node, bool, error) {
	reasons := f.reasons(n.Reasons)
	signal := n.Status.Settle(reasons)
	switch n.Status {
	case StatusInitializing:
		switch {
		case f.Configured && f.Reported && len(reasons) == 0:
			signal = SignalConfigured
		case f.Configured && f.Reported:
			signal = SignalStalled
		case f.Late:
			signal, reasons = SignalStalled, reasons.With(ReasonReadinessFailed)
		default:
			return n, false, nil
		}
	case StatusReady, StatusNotReady, StatusMaintenance:
	default:
		return n, false, nil
	}
	if signal != "" {
		next, err := Apply(n, signal, reasons, at)
		return next, err == nil, err
	}
	if reasons.String() == n.Reasons.String() {
		return n, false, nil
	}
	out := n.Clone()
	out.Reasons = reasons
	return out, true, nil
}
