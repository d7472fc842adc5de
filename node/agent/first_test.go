package agent

import (
	"context"
	"testing"

	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/readiness"
	"piccolo.io/piccolo/topology"
)

// slowChecker is a board whose checks take their time.
type slowChecker struct {
	*checker
	hold chan struct{}
}

func (s slowChecker) Run(ctx context.Context, gate readiness.Gate) readiness.Report {
	select {
	case <-s.hold:
	case <-ctx.Done():
	}
	return s.checker.Run(ctx, gate)
}

// TestFirstReport waits for the first look at the board: a node that calls
// itself fit before it knows would become Ready by it.
func TestFirstReport(t *testing.T) {
	t.Parallel()
	b, hold := newBoard(t, nil), make(chan struct{})
	b.checker.set(readiness.Result{Check: "disk", Severity: readiness.SeverityError, Condition: topology.ReasonDiskPressure, Found: "full"})
	b.o.Checker = slowChecker{b.checker, hold}
	b.start()
	b.waitConfirm(3, "") // everything else goes on
	b.master.edit(func(m *fakeMaster) {
		if len(m.reports) > 0 {
			t.Errorf("told before the checks had run: %+v", m.reports[0])
		}
	})
	close(hold)
	b.waitReport("the first report", func(workload.Report) string { return "" })
	b.master.edit(func(m *fakeMaster) {
		if r := m.reports[0]; !r.Complete || !r.Conditions.Has(topology.ReasonDiskPressure) {
			t.Errorf("the first report: %+v", r)
		}
	})
}
