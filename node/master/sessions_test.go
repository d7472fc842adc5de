package master

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/topology"
)

func TestJoinToReady(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	b := c.join("kitchen")
	b.attach()
	b.sendReport()
	b.beat()
	if n := c.node(b.id); n.Status != topology.StatusInitializing {
		t.Fatalf("it is %s before it has obeyed its plan", n.Status)
	}
	b.obey()
	c.waitStatus(b.id, topology.StatusReady)
	n := c.node(b.id)
	if n.AppliedRevision != n.PlanRevision || n.PlanRevision == 0 || n.LastHeartbeat == nil || n.Usage == nil || n.Usage.Load1 != 0.5 {
		t.Errorf("what is only in memory: %+v", n)
	}
	eventually(t, "the watchers' event", func() string {
		if !c.watchers.heard("NodeStatus kitchen Ready") {
			return "not told"
		}
		return ""
	})
	list := c.Containers(b.id)
	if len(list) != 1 || list[0].NodeName != "kitchen" || len(c.Containers("")) != 1 || len(c.Containers("n-other")) != 0 {
		t.Errorf("containers: %+v", list)
	}
	eventually(t, "the watchers' container", func() string {
		if v, ok := c.watchers.value("container/" + b.id + "/c1"); !ok || v == nil {
			return "not told"
		}
		return ""
	})
}

func TestNotFitAtFirst(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	b := c.join("kitchen")
	b.attach()
	b.beat()
	b.obey()
	b.sendReport(topology.ReasonPodmanDown)
	c.waitStatus(b.id, topology.StatusNotReady, topology.ReasonPodmanDown)
	b.sendReport()
	c.waitStatus(b.id, topology.StatusReady)
}

// TestLate: a node that was not configured in its 30 s is forgiven when it is,
// and not before, whatever comes in which order.
func TestLate(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	b := c.join("kitchen")
	b.attach()
	b.beat()
	b.sendReport()
	c.office.Load().monitor.expire(t.Context(), b.id) // as its timer does
	c.waitStatus(b.id, topology.StatusNotReady, topology.ReasonReadinessFailed)
	b.beat()
	b.sendReport()
	if n := c.node(b.id); n.Status != topology.StatusNotReady {
		t.Errorf("it is %s and has no plan", n.Status)
	}
	b.obey()
	c.waitStatus(b.id, topology.StatusReady)
	b.sendReport(topology.ReasonReadinessFailed)
	c.waitStatus(b.id, topology.StatusNotReady, topology.ReasonReadinessFailed)
	b.beat()
	if n := c.node(b.id); n.Status != topology.StatusNotReady {
		t.Errorf("its own word was forgotten: it is %s", n.Status)
	}
	b.sendReport()
	c.waitStatus(b.id, topology.StatusReady)
}

func TestPlanReachesTheNode(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	b := c.ready("kitchen")
	before := c.node(b.id).PlanRevision
	must[topology.Node](t)(c.EditNode(t.Context(), b.id, func(n *topology.Node) error {
		n.Labels["zone"], n.LogLevel = "home", "debug"
		n.Name, n.Status = "pirate", topology.StatusTerminating // not to be edited
		return nil
	}))
	if n := c.node(b.id); n.Name != "kitchen" || n.Status != topology.StatusReady {
		t.Errorf("more was edited than may be: %+v", n)
	}
	n := b.await("the new plan", func(n workload.Notice) bool { return n.PlanRevision > before })
	p := must[*workload.Plan](t)(c.NextPlan(t.Context(), b.connection, b.id, before, ""))
	if p == nil || p.Revision != n.PlanRevision || p.Labels["zone"] != "home" || p.LogLevel != "debug" {
		t.Fatalf("plan %+v", p)
	}
	if got := c.node(b.id); got.AppliedRevision == p.Revision {
		t.Error("it counts as applied before it was confirmed")
	}
	if again := must[*workload.Plan](t)(c.NextPlan(t.Context(), b.connection, b.id, before, "disk full")); again == nil {
		t.Error("a plan that could not be obeyed is not offered again")
	}
	if got := c.node(b.id); got.ApplyError != "disk full" {
		t.Errorf("why it could not be obeyed is lost: %+v", got)
	}
	b.obey()
	if got := c.node(b.id); got.AppliedRevision != p.Revision || got.ApplyError != "" {
		t.Errorf("the confirmation is lost: %+v", got)
	}

	topo := c.Topology()
	topo.Config.HeartbeatInterval = topology.Duration(20 * time.Second)
	must[topology.ClusterTopology](t)(c.PutTopology(t.Context(), topo))
	b.await("the newest plan", func(n workload.Notice) bool { return n.PlanRevision > p.Revision })
	if p := must[*workload.Plan](t)(c.NextPlan(t.Context(), b.connection, b.id, p.Revision, "")); p == nil || time.Duration(p.HeartbeatInterval) != 20*time.Second {
		t.Errorf("plan %+v", p)
	}
	if reply := b.beat(); reply.PlanRevision != c.node(b.id).PlanRevision {
		t.Errorf("the heartbeat's answer names revision %d", reply.PlanRevision)
	}
}

func TestViewReachesTheNode(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	b := c.ready("kitchen")
	c.join("garage")
	n := b.await("a view with both", func(n workload.Notice) bool { return n.View != nil && len(n.View.Nodes) == 3 })
	for _, other := range n.View.Nodes {
		if other.MachineID != "" || other.Usage != nil {
			t.Errorf("a node is told too much of another: %+v", other)
		}
	}
	if masters := n.View.Masters(); len(masters) != 1 || masters[0] != "10.0.0.1:7443" {
		t.Errorf("masters: %v", masters)
	}
}

func TestAttachBringsTheRecordUpToDate(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	b := c.ready("kitchen")
	b.detach()
	b.hello.IP, b.hello.Version, b.hello.GossipPort = "10.0.0.77", "v2", 7950
	b.attach()
	if n := c.node(b.id); n.IP != "10.0.0.77" || n.Version != "v2" || n.GossipPort != 7950 {
		t.Errorf("the record is old: %+v", n)
	}
}

// TestNewerSessionOfTheSameRun takes the place of the older one: the node has
// changed its network.
func TestNewerSessionOfTheSameRun(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	b := c.ready("kitchen")
	older := b.ended
	unplug := b.unplug
	b.attach()
	select {
	case err := <-older:
		if !errors.Is(err, errReplaced) {
			t.Errorf("the older session ended with %v", err)
		}
	case <-time.After(patience):
		t.Fatal("the older session stays")
	}
	unplug()
	if counts := c.Counts(); counts.Sessions != 1 {
		t.Errorf("%d sessions", counts.Sessions)
	}
	if n := c.node(b.id); n.Status != topology.StatusReady {
		t.Errorf("it is %s for changing its network", n.Status)
	}
}

func TestStolenIdentity(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	b := c.ready("kitchen")
	thief := newBoard(t, c, "thief")
	thief.hello = b.hello
	thief.hello.Instance, thief.hello.IP = "run-2", "10.0.0.66"
	if err := thief.refused(); !errors.Is(err, topology.ErrIdentityInUse) {
		t.Errorf("refused with %v", err)
	}
	alert := workload.Alert{}
	eventually(t, "the alert", func() string {
		for _, a := range c.Alerts() {
			if a.Kind == "IdentityInUse" {
				alert = a
				return ""
			}
		}
		return "none"
	})
	if alert.NodeName != "kitchen" || !strings.Contains(alert.Message, "10.0.0.66") || alert.Hint == "" || alert.RaisedAt.IsZero() {
		t.Errorf("alert: %+v", alert)
	}
	if n := c.node(b.id); n.Status != topology.StatusReady || n.IP != "10.0.0.2" {
		t.Errorf("the thief had an effect: %+v", n)
	}
	before := c.revision()
	_ = thief.refused()
	if c.revision() != before {
		t.Error("every further attempt of the thief is written to the disk")
	}

	// The hardware itself differs: refused even when nobody is attached.
	b.detach()
	thief.hello.MachineID = "m-thief"
	if err := thief.refused(); !errors.Is(err, topology.ErrIdentityInUse) {
		t.Errorf("another machine was refused with %v", err)
	}
}

// TestSameBoardAfterAPowerCut: the session that it left behind answers no
// more, so the new one takes its place.
func TestSameBoardAfterAPowerCut(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	b := c.ready("kitchen")
	b.sleep(true)
	again := newBoard(t, c, "kitchen")
	again.id, again.key, again.hello = b.id, b.key, b.hello
	again.hello.Instance = "run-2"
	again.attach()
	if len(c.Alerts()) != 0 {
		t.Errorf("alerts: %+v", c.Alerts())
	}
	c.waitStatus(b.id, topology.StatusReady)
}

func TestStrangersAreRefused(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	b := newBoard(t, c, "stranger")
	before := c.revision()
	for name, err := range map[string]error{
		"attach":    b.refused(),
		"heartbeat": second(c.Heartbeat(t.Context(), b.connection, workload.Heartbeat{Node: b.id})),
		"report":    c.Report(t.Context(), b.connection, b.report()),
		"plan":      second(c.NextPlan(t.Context(), b.connection, b.id, 0, "")),
		"leave":     c.Leave(t.Context(), b.connection, b.id),
	} {
		if !errors.Is(err, store.ErrNotFound) || !strings.Contains(err.Error(), "not known") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if c.revision() != before {
		t.Error("a stranger's words were written")
	}
}

func second[T any](_ T, err error) error { return err }

func TestContainerStats(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	b := c.ready("kitchen")
	b.mu.Lock()
	b.stats = func(q uint64) *workload.StatsAnswer {
		return &workload.StatsAnswer{Query: q, Stats: map[string]workload.ContainerStats{"c1": {CPUPercent: 12.5, MemoryBytes: 7}}}
	}
	b.mu.Unlock()
	stats := must[map[string]workload.ContainerStats](t)(c.ContainerStats(t.Context(), b.id))
	if stats["c1"].CPUPercent != 12.5 || stats["c1"].MemoryBytes != 7 {
		t.Errorf("%+v", stats)
	}
	b.mu.Lock()
	b.stats = func(q uint64) *workload.StatsAnswer {
		return &workload.StatsAnswer{Query: q, Error: "Podman does not answer"}
	}
	b.mu.Unlock()
	if _, err := c.ContainerStats(t.Context(), b.id); err == nil || !strings.Contains(err.Error(), "Podman does not answer") {
		t.Errorf("the node's own error is lost: %v", err)
	}
	b.sleep(true)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.ContainerStats(ctx, b.id); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("of a node that sleeps: %v", err)
	}
	if _, err := c.ContainerStats(t.Context(), "n-other"); err == nil || !strings.Contains(err.Error(), "not attached") {
		t.Errorf("of a node that is not there: %v", err)
	}
	if s := c.sessions.get(b.id); len(s.waiting) != 0 {
		t.Error("questions that nobody asks any more are kept")
	}
}

// told is what the nodes are told now.
type told struct{ revision int64 }

func (n *told) view() workload.View       { return workload.View{Revision: n.revision} }
func (n *told) keyring() workload.Keyring { return workload.Keyring{} }

// TestMailbox: a node that takes nothing costs no memory, and what matters
// most goes first when it does.
func TestMailbox(t *testing.T) {
	now := &told{}
	s := &session{wake: make(chan struct{}, 1), told: now}
	for i := range 3 * maxQueries {
		if ok := s.post(workload.Notice{Ping: uint64(i) + 1}); ok != (i < maxQueries) {
			t.Fatalf("question %d: %v", i, ok)
		}
		s.post(workload.Notice{PlanRevision: int64(10 - i%10)})
		now.revision = int64(i)
		s.tellView()
		s.tellKeyring()
		s.post(workload.Notice{Removed: "x"})
	}
	got := s.take()
	if len(got) != maxQueries+4 {
		t.Fatalf("%d notices wait", len(got))
	}
	rest := got[maxQueries:]
	if rest[0].Removed != "x" || rest[1].Keyring == nil || rest[2].PlanRevision != 10 || rest[3].View == nil || rest[3].View.Revision != 3*maxQueries-1 {
		t.Errorf("in the wrong order, or not the newest: %+v", rest)
	}
	if slices.ContainsFunc(got[:maxQueries], func(n workload.Notice) bool { return n.Ping == 0 }) || len(s.take()) != 0 {
		t.Error("the questions are not first, or the mailbox is not empty afterwards")
	}
	s.answer(workload.Answer{Pong: 99})                                     // nobody asked
	s.answer(workload.Answer{Stats: &workload.StatsAnswer{Query: 1 << 63}}) // nobody asked
}
