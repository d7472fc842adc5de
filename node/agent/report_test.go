package agent

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/podman"
	"piccolo.io/piccolo/podman/podmantest"
	"piccolo.io/piccolo/readiness"
	"piccolo.io/piccolo/topology"
)

// TestReportsCoalesce: while a report is on its way, everything that changes
// is one report more, and that is the newest.
func TestReportsCoalesce(t *testing.T) {
	t.Parallel()
	b := newBoard(t, nil)
	b.online()
	hold := make(chan struct{})
	before := 0
	b.master.edit(func(m *fakeMaster) { m.holdSend, before = hold, len(m.reports) })
	b.podman.Run(t, podmantest.Spec{Name: "first"})
	eventually(t, "the report that is on its way", func() string {
		problem := "none"
		b.master.edit(func(m *fakeMaster) {
			if len(m.reports) > before {
				problem = ""
			}
		})
		return problem
	})
	const more = 20
	for i := range more {
		b.podman.Run(t, podmantest.Spec{Name: fmt.Sprintf("c%d", i)})
		eventually(t, "seen by the agent", func() string {
			if n := len(b.Containers()); n < i+2 {
				return fmt.Sprintf("%d containers", n)
			}
			return ""
		})
	}
	b.master.edit(func(m *fakeMaster) {
		if len(m.reports) != before+1 {
			t.Errorf("%d reports at once", len(m.reports)-before)
		}
		m.holdSend = nil
	})
	close(hold)
	b.waitReport("the newest", func(r workload.Report) string {
		if len(r.Containers) != more+1 {
			return fmt.Sprintf("%d containers", len(r.Containers))
		}
		return ""
	})
	b.master.edit(func(m *fakeMaster) {
		if n := len(m.reports) - before; n > 3 {
			t.Errorf("%d changes were %d reports", more+1, n)
		}
		for i := 1; i < len(m.reports); i++ {
			if m.reports[i].Sequence != m.reports[i-1].Sequence+1 {
				t.Errorf("report %d after %d", m.reports[i].Sequence, m.reports[i-1].Sequence)
			}
		}
	})
}

// TestPodmanDown is a condition of the node, and what was known last stays.
func TestPodmanDown(t *testing.T) {
	t.Parallel()
	b := newBoard(t, nil)
	id := b.podman.Run(t, podmantest.Spec{Name: "web"})
	b.online()
	b.waitReport("the container", func(r workload.Report) string {
		if len(r.Containers) != 1 {
			return fmt.Sprint(len(r.Containers))
		}
		return ""
	})
	b.podman.Service(t, podmantest.ServiceKill)
	b.waitReport("the condition", func(r workload.Report) string {
		if r.Complete || !r.Conditions.Has(topology.ReasonPodmanDown) || len(r.Containers) != 1 || r.Containers[0].ID != id {
			return fmt.Sprintf("%+v", r)
		}
		if len(r.Alerts) != 1 || r.Alerts[0].Kind != "PodmanDown" || r.Alerts[0].Hint == "" {
			return fmt.Sprintf("alerts %+v", r.Alerts)
		}
		return ""
	})
	b.podman.Service(t, podmantest.ServiceStart)
	b.waitReport("it is back", func(r workload.Report) string {
		if !r.Complete || len(r.Conditions) > 0 || len(r.Alerts) > 0 {
			return fmt.Sprintf("%+v", r)
		}
		return ""
	})
}

// TestNoPodmanAtAll: the agent works, and says what is missing.
func TestNoPodmanAtAll(t *testing.T) {
	t.Parallel()
	b := newBoard(t, nil)
	b.podman.Stop()
	b.start()
	b.waitMode(ModeOnline)
	b.waitReport("the condition", func(r workload.Report) string {
		if !r.Conditions.Has(topology.ReasonPodmanDown) || r.Complete {
			return fmt.Sprintf("%+v", r)
		}
		return ""
	})
}

// recheck runs the checks of a running node now.
func (b *board) recheck() {
	b.t.Helper()
	runs := func() int {
		b.checker.mu.Lock()
		defer b.checker.mu.Unlock()
		return b.checker.runs
	}
	before := runs()
	trigger(b.wake.check)
	eventually(b.t, "the checks", func() string {
		if runs() == before {
			return "not run"
		}
		return ""
	})
}

func TestReadinessBecomesConditionsAndAlerts(t *testing.T) {
	t.Parallel()
	b := newBoard(t, nil)
	full := readiness.Result{Check: "data_disk", Severity: readiness.SeverityError, Found: "97 % full", Mend: "free space", Condition: topology.ReasonDiskPressure}
	hot := readiness.Result{Check: "temperature", Severity: readiness.SeverityWarning, Found: "81 °C", Mend: "a fan"}
	fine := readiness.Result{Check: "data_disk", Severity: readiness.SeverityOK, Found: "40 % full"}
	b.checker.set(fine)
	b.online()
	b.checker.set(full, hot)
	b.recheck()
	b.waitReport("the condition and both alerts", func(r workload.Report) string {
		if !r.Conditions.Has(topology.ReasonDiskPressure) || len(r.Alerts) != 2 {
			return fmt.Sprintf("%v %+v", r.Conditions, r.Alerts)
		}
		return ""
	})
	raised := b.Alerts()
	if raised[0].ID != "Readiness/data_disk-n-1" || raised[0].Severity != workload.SeverityError || raised[0].Hint != "free space" || raised[0].RaisedAt.IsZero() {
		t.Errorf("%+v", raised[0])
	}

	// Figures that move are no change, and an alert keeps its time.
	sent := 0
	b.master.edit(func(m *fakeMaster) { sent = len(m.reports) })
	full.Found, hot.Found = "98 % full", "82 °C"
	b.checker.set(full, hot)
	b.recheck()
	b.recheck()
	b.master.edit(func(m *fakeMaster) {
		if len(m.reports) != sent {
			t.Errorf("moving figures were %d reports", len(m.reports)-sent)
		}
	})
	if again := b.Alerts(); !again[0].RaisedAt.Equal(raised[0].RaisedAt) {
		t.Error("an alert that stands was raised again")
	}

	b.checker.set(fine)
	b.recheck()
	b.waitReport("all is well", func(r workload.Report) string {
		if len(r.Conditions) > 0 || len(r.Alerts) > 0 {
			return fmt.Sprintf("%v %+v", r.Conditions, r.Alerts)
		}
		return ""
	})
}

// TestChecksDoNotJudgePodman: the watch knows sooner.
func TestChecksDoNotJudgePodman(t *testing.T) {
	t.Parallel()
	b := newBoard(t, nil)
	b.online()
	b.checker.set(readiness.Result{Check: "podman", Severity: readiness.SeverityError, Found: "no answer", Condition: topology.ReasonPodmanDown})
	b.recheck()
	b.recheck()
	if r := b.report(); r.Conditions.Has(topology.ReasonPodmanDown) {
		t.Errorf("%v although the watch sees it", r.Conditions)
	}
	b.checker.set(readiness.Result{Check: "podman", Severity: readiness.SeverityOK, Found: "5.4.2"})
	b.podman.Service(t, podmantest.ServiceKill)
	eventually(t, "the condition", func() string {
		if r := b.report(); !r.Conditions.Has(topology.ReasonPodmanDown) {
			return fmt.Sprint(r.Conditions)
		}
		return ""
	})
	b.recheck()
	b.recheck()
	if r := b.report(); !r.Conditions.Has(topology.ReasonPodmanDown) {
		t.Error("a check that was lucky took the condition away")
	}
}

// TestFromPodman: nothing of a container is lost.
func TestFromPodman(t *testing.T) {
	t.Parallel()
	b := newBoard(t, nil)
	id := b.podman.Run(t, podmantest.Spec{Name: "web", Exit: 3, Labels: map[string]string{"a": "b"},
		Ports: []podman.Port{{HostIP: "127.0.0.1", HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}}})
	b.online()
	c := b.Containers()[0]
	if c.ID != id || c.Name != "web" || c.Image != podmantest.Image || c.State != "exited" || c.ExitCode != 3 || c.Labels["a"] != "b" {
		t.Errorf("%+v", c)
	}
	if c.CreatedAt.IsZero() || c.StartedAt == nil || c.FinishedAt == nil {
		t.Errorf("times: %+v", c)
	}
	if len(c.Ports) != 1 || c.Ports[0] != (workload.Port{HostIP: "127.0.0.1", HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}) {
		t.Errorf("ports: %+v", c.Ports)
	}
}

func TestStatsFail(t *testing.T) {
	t.Parallel()
	b := newBoard(t, nil)
	b.online()
	b.podman.Fail(podmantest.OpStats, errors.New("no cgroup"))
	if _, err := b.Stats(t.Context()); err == nil || !strings.Contains(err.Error(), "no cgroup") {
		t.Errorf("%v", err)
	}
}

// TestRefusedReportEndsNothing: the master would not take it a second time
// either, and everything else goes on.
func TestRefusedReportEndsNothing(t *testing.T) {
	t.Parallel()
	b := newBoard(t, nil)
	b.online()
	sessions, sent := 0, 0
	b.master.edit(func(m *fakeMaster) {
		m.reportErr = fmt.Errorf("%w: too many containers", topology.ErrInvalid)
		sessions, sent = len(m.hellos), len(m.reports)
	})
	for i := range 3 {
		b.podman.Run(t, podmantest.Spec{Name: fmt.Sprintf("c%d", i)})
		eventually(t, "the report", func() string {
			problem := "not sent"
			b.master.edit(func(m *fakeMaster) {
				if len(m.reports) > sent {
					problem, sent = "", len(m.reports)
				}
			})
			return problem
		})
	}
	b.Doubt()
	b.give(plan(4, "info"))
	b.waitConfirm(4, "")
	b.master.edit(func(m *fakeMaster) {
		if len(m.hellos) != sessions {
			t.Errorf("it attached %d times more", len(m.hellos)-sessions)
		}
	})
}

// TestReportIsBounded: more containers than a report may have are cut, not
// refused.
func TestReportIsBounded(t *testing.T) {
	t.Parallel()
	b := newBoard(t, nil)
	for i := range maxReported + 5 {
		b.podman.Put(podman.Container{ID: fmt.Sprintf("%064x", i+1), Name: fmt.Sprintf("c%d", i), State: podman.StateExited})
	}
	b.start()
	b.waitReport("as many as allowed", func(r workload.Report) string {
		if len(r.Containers) != maxReported {
			return fmt.Sprintf("%d containers", len(r.Containers))
		}
		return ""
	})
}
