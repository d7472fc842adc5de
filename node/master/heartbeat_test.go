package master

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/topology"
)

// quick makes heartbeats every 0.3 s. No administrator can: it keeps the test
// of what takes three of them short.
func quick(c *topology.ClusterTopology) {
	c.Config.HeartbeatInterval = topology.Duration(300 * time.Millisecond)
}

// TestHeartbeatsWriteNothing is what keeps a board's card alive.
func TestHeartbeatsWriteNothing(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	b := c.ready("kitchen")
	before, counts := c.revision(), c.Counts()
	for i := range 20 {
		h := b.heartbeat()
		h.Sequence, h.Usage.Load1 = uint64(i), float64(i)
		must[workload.HeartbeatReply](t)(c.Heartbeat(t.Context(), b.connection, h))
	}
	if now := c.revision(); now != before {
		t.Errorf("20 heartbeats were %d writes", now-before)
	}
	if n := c.node(b.id); n.Usage.Load1 != 19 || n.LastHeartbeat == nil {
		t.Errorf("the newest figures are not shown: %+v", n.Usage)
	}
	if got := c.Counts().Heartbeats - counts.Heartbeats; got != 20 {
		t.Errorf("%d heartbeats were counted", got)
	}
}

// TestOnlyChangesAreWritten: a report with the same content is no write, and
// its number and time are no content.
func TestOnlyChangesAreWritten(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	b := c.ready("kitchen")
	before, counts := c.revision(), c.Counts()
	for i := range 5 {
		r := b.report()
		r.Sequence, r.At = uint64(10+i), c.wall.now()
		if err := c.Report(t.Context(), b.connection, r); err != nil {
			t.Fatal(err)
		}
	}
	if now := c.revision(); now != before {
		t.Errorf("five equal reports were %d writes", now-before)
	}
	r := b.report()
	r.Containers[0].State = "exited"
	if err := c.Report(t.Context(), b.connection, r); err != nil {
		t.Fatal(err)
	}
	if now := c.revision(); now != before+1 {
		t.Errorf("one change was %d writes", now-before)
	}
	if list := c.Containers(b.id); len(list) != 1 || list[0].State != "exited" {
		t.Errorf("containers: %+v", list)
	}
	got := c.Counts()
	if got.Reports-counts.Reports != 6 || got.ReportsWritten-counts.ReportsWritten != 1 {
		t.Errorf("counted: %+v after %+v", got, counts)
	}
	r.Resources.Memory, r.Containers = 2048, nil
	if err := c.Report(t.Context(), b.connection, r); err != nil {
		t.Fatal(err)
	}
	if n := c.node(b.id); n.Resources.Memory != 2048 || len(c.Containers(b.id)) != 0 {
		t.Errorf("the new size is not in the record: %+v", n.Resources)
	}
	eventually(t, "the watchers' container", func() string {
		if v, _ := c.watchers.value("container/" + b.id + "/c1"); v != nil {
			return "still told"
		}
		return ""
	})
}

func TestNodeConditions(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	b := c.ready("kitchen")
	b.sendReport(topology.ReasonPodmanDown, topology.ReasonDiskPressure)
	c.waitStatus(b.id, topology.StatusNotReady, topology.ReasonPodmanDown, topology.ReasonDiskPressure)
	if n := c.node(b.id); n.LastHeartbeat == nil || n.StatusSince.IsZero() {
		t.Errorf("the change took no figures along: %+v", n)
	}
	b.sendReport(topology.ReasonDiskPressure)
	c.waitStatus(b.id, topology.StatusNotReady, topology.ReasonDiskPressure)
	must[topology.Node](t)(c.SignalNode(t.Context(), b.id, topology.SignalMaintain, "admin"))
	b.sendReport(topology.ReasonMemoryPressure)
	c.waitStatus(b.id, topology.StatusMaintenance, topology.ReasonMemoryPressure)
	must[topology.Node](t)(c.SignalNode(t.Context(), b.id, topology.SignalResume, "admin"))
	c.waitStatus(b.id, topology.StatusNotReady, topology.ReasonMemoryPressure)
	b.sendReport()
	c.waitStatus(b.id, topology.StatusReady)
	if _, err := c.SignalNode(t.Context(), b.id, topology.SignalResume, "admin"); !errors.Is(err, topology.ErrTransition) {
		t.Errorf("resume of a Ready node: %v", err)
	}
}

func TestReportRefused(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	b := c.ready("kitchen")
	before := c.revision()
	for _, reason := range topology.AllReasons() {
		if reason.FromNode() {
			continue
		}
		if err := c.Report(t.Context(), b.connection, b.report(reason)); !errors.Is(err, topology.ErrInvalid) || !strings.Contains(err.Error(), string(reason)) {
			t.Errorf("%s: %v", reason, err)
		}
	}
	r := b.report()
	r.Containers = make([]workload.Container, maxContainers+1)
	if err := c.Report(t.Context(), b.connection, r); !errors.Is(err, topology.ErrInvalid) || !strings.Contains(err.Error(), "1001") {
		t.Errorf("too many containers: %v", err)
	}
	if c.revision() != before {
		t.Error("something of what was refused is written")
	}
}

// TestReportedAlertsAreTold, and that they are over.
func TestReportedAlertsAreTold(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	b := c.ready("kitchen")
	r := b.report()
	r.Alerts = []workload.Alert{{ID: "hot-" + b.id, Kind: "Hot", Message: "81 °C"}}
	for _, alerts := range [][]workload.Alert{r.Alerts, nil} {
		r.Alerts = alerts
		if err := c.Report(t.Context(), b.connection, r); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the watchers' alert", func() string {
			v, ok := c.watchers.value("alert/" + b.id + "/Hot")
			if a, alert := v.(workload.Alert); !ok || alert != (len(alerts) > 0) || alert && a.NodeName != "kitchen" {
				return fmt.Sprint(v)
			}
			return ""
		})
	}
}

// TestMissedHeartbeats is the slow, certain path: three heartbeats do not
// come, although the session stands and the mesh is content.
func TestMissedHeartbeats(t *testing.T) {
	t.Parallel()
	c := newCluster(t, quick)
	b := c.ready("kitchen")
	c.waitStatus(b.id, topology.StatusNotReady, topology.ReasonHeartbeatMissed)
	b.beat()
	c.waitStatus(b.id, topology.StatusReady)
	// And once more: a new lease was granted.
	c.waitStatus(b.id, topology.StatusNotReady, topology.ReasonHeartbeatMissed)
	if n := c.node(c.self); n.Reasons.Has(topology.ReasonHeartbeatMissed) {
		t.Errorf("the master judges itself: %+v", n)
	}
}

// TestHeartbeatsHoldTheLease for longer than it lasts.
func TestHeartbeatsHoldTheLease(t *testing.T) {
	t.Parallel()
	c := newCluster(t, quick)
	b := c.ready("kitchen")
	first, ok := c.leases.get(b.id)
	if !ok {
		t.Fatal("there is no lease")
	}
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for range 15 {
		<-tick.C
		b.beat()
	}
	if now, _ := c.leases.get(b.id); now.Lease != first.Lease {
		t.Error("there was another lease, so it ran out in between")
	}
	if n := c.node(b.id); n.Status != topology.StatusReady {
		t.Errorf("it is %s: %s", n.Status, n.Reasons)
	}
}

// TestLeaseFollowsTheInterval: a changed interval is a new lease, once.
func TestLeaseFollowsTheInterval(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	b := c.ready("kitchen")
	topo := c.Topology()
	topo.Config.HeartbeatInterval = topology.Duration(time.Minute)
	must[topology.ClusterTopology](t)(c.PutTopology(t.Context(), topo))
	eventually(t, "the new plans", func() string {
		for _, r := range c.plans.all() {
			if r.Value.HeartbeatInterval != topo.Config.HeartbeatInterval {
				return "not of " + r.Value.Name
			}
		}
		return ""
	})
	b.obey()
	b.beat()
	if r, ok := c.leases.get(b.id); !ok || r.Value.TTL != 181 || r.Value.Master != c.self {
		t.Errorf("lease %+v", r.Value)
	}
	before := c.revision()
	b.beat()
	if c.revision() != before {
		t.Error("it is granted anew at every heartbeat")
	}
}

func TestClockSkewIsAnAlert(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	b := c.ready("kitchen")
	skewed := func(d time.Duration) {
		h := b.heartbeat()
		h.Usage.At = c.wall.now().Add(d)
		must[workload.HeartbeatReply](t)(c.Heartbeat(t.Context(), b.connection, h))
	}
	find := func() (workload.Alert, bool) {
		for _, a := range c.Alerts() {
			if a.Kind == "ClockSkew" {
				return a, true
			}
		}
		return workload.Alert{}, false
	}
	for direction, d := range map[string]time.Duration{"ahead of": time.Hour, "behind": -50 * 365 * 24 * time.Hour} {
		skewed(d)
		eventually(t, "the alert", func() string {
			if a, ok := find(); !ok || !strings.Contains(a.Message, direction) || a.NodeName != "kitchen" {
				return "not " + direction
			}
			return ""
		})
		before := c.revision()
		skewed(d + time.Second)
		if c.revision() != before {
			t.Error("an alert that stands is written again")
		}
		skewed(0)
		eventually(t, "the alert goes", func() string {
			if a, ok := find(); ok {
				return a.Message
			}
			return ""
		})
	}
	if n := c.node(b.id); n.Status != topology.StatusReady {
		t.Errorf("for a wrong clock it is %s", n.Status)
	}
}
