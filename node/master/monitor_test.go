package master

import (
	"fmt"
	"testing"
	"time"

	"piccolo.io/piccolo/gossip"
	"piccolo.io/piccolo/topology"
)

// degraded reports whether the alert of a bad link stands.
func (c *cluster) degraded() bool {
	for _, a := range c.Alerts() {
		if a.Kind == "DegradedLink" {
			return true
		}
	}
	return false
}

// TestProcessDies: the session breaks and the mesh's port is refused.
func TestProcessDies(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	b := c.ready("kitchen")
	c.mesh.lose(b.id, fmt.Errorf("reach: %w", gossip.ErrRefused))
	before := c.revision()
	b.detach()
	c.waitStatus(b.id, topology.StatusNotReady, topology.ReasonUnreachable)
	if writes := c.revision() - before; writes != 1 {
		t.Errorf("the loss of a node was %d writes", writes)
	}
	if !c.watchers.heard("NodeStatus kitchen NotReady: Unreachable") {
		t.Error("nobody was told why")
	}
	c.mesh.lose(b.id, nil)
	b.hello.Instance = "run-2"
	b.attach()
	c.waitStatus(b.id, topology.StatusReady)
	if c.degraded() {
		t.Error("a node that came back has a bad link")
	}
}

// TestSessionBreaksOnly: one witness alone condemns nobody.
func TestSessionBreaksOnly(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	b := c.ready("kitchen")
	asked := c.mesh.questions(b.id)
	b.detach()
	eventually(t, "the question", func() string {
		if c.mesh.questions(b.id) == asked {
			return "not asked"
		}
		return ""
	})
	b.attach()
	if n := c.node(b.id); n.Status != topology.StatusReady || c.degraded() {
		t.Errorf("it is %s, and the link bad: %v", n.Status, c.degraded())
	}
}

// TestMeshComplainsOnly: others do not reach it, this master does.
func TestMeshComplainsOnly(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]error{"mesh answers": nil, "only the session answers": gossip.ErrUnreachable} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, nil)
			b := c.ready("kitchen")
			c.mesh.lose(b.id, answer)
			c.Lost(b.id)
			eventually(t, "the alert", func() string {
				if !c.degraded() {
					return "none"
				}
				return ""
			})
			if n := c.node(b.id); n.Status != topology.StatusReady {
				t.Errorf("it is %s", n.Status)
			}
			b.beat()
			eventually(t, "the alert goes", func() string {
				if c.degraded() {
					return "it stands after a heartbeat"
				}
				return ""
			})
		})
	}
}

// TestOwnLinkDown: whoever cannot send says nothing of the others.
func TestOwnLinkDown(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	b := c.ready("kitchen")
	c.mesh.lose(b.id, fmt.Errorf("reach: %w", gossip.ErrNoPath))
	c.Lost(b.id)
	eventually(t, "the question", func() string {
		if c.mesh.questions(b.id) == 0 {
			return "not asked"
		}
		return ""
	})
	b.detach() // its own connections break too
	eventually(t, "the second question", func() string {
		if c.mesh.questions(b.id) < 2 {
			return "not asked"
		}
		return ""
	})
	if n := c.node(b.id); n.Status != topology.StatusReady || c.degraded() {
		t.Errorf("it is %s (%s)", n.Status, n.Reasons)
	}
}

// TestFrozen: the board neither answers the mesh nor pings through its
// session, which stays open; when it wakes it is back by itself.
func TestFrozen(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	b := c.ready("kitchen")
	b.sleep(true)
	c.mesh.lose(b.id, gossip.ErrUnreachable)
	c.Lost(b.id)
	c.waitStatus(b.id, topology.StatusNotReady, topology.ReasonUnreachable)
	c.mesh.lose(b.id, nil)
	b.sleep(false)
	c.waitStatus(b.id, topology.StatusReady)
}

// TestFrozenAndThenDead: the wait for its return ends with its session.
func TestFrozenAndThenDead(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	b := c.ready("kitchen")
	b.sleep(true)
	c.mesh.lose(b.id, gossip.ErrUnreachable)
	c.Lost(b.id)
	c.waitStatus(b.id, topology.StatusNotReady, topology.ReasonUnreachable)
	b.detach()
	b.sleep(false)
	b.attach()
	c.waitStatus(b.id, topology.StatusReady)
}

// TestMasterDoesNotJudgeItself, nor anybody that waits for a decision.
func TestMasterDoesNotJudgeItself(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	c.mesh.lose(c.self, gossip.ErrRefused)
	for _, witness := range []string{"session", "gossip", "lease", "start"} {
		c.office.Load().monitor.examine(t.Context(), suspicion{c.self, witness})
		c.office.Load().monitor.examine(t.Context(), suspicion{"n-nobody", witness})
	}
	if n := c.node(c.self); len(n.Reasons) != 0 || c.mesh.questions(c.self) != 0 {
		t.Errorf("%+v", n)
	}
}

// TestMaintenanceNotesReasons: a node in maintenance that dies is not Ready
// afterwards.
func TestMaintenanceNotesReasons(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	b := c.ready("kitchen")
	must[topology.Node](t)(c.SignalNode(t.Context(), b.id, topology.SignalMaintain, "admin"))
	c.mesh.lose(b.id, gossip.ErrRefused)
	b.detach()
	c.waitStatus(b.id, topology.StatusMaintenance, topology.ReasonUnreachable)
	must[topology.Node](t)(c.SignalNode(t.Context(), b.id, topology.SignalResume, "admin"))
	c.waitStatus(b.id, topology.StatusNotReady, topology.ReasonUnreachable)
	c.mesh.lose(b.id, nil)
	b.attach()
	c.waitStatus(b.id, topology.StatusReady)
}

// TestSuspicionsAreBounded: a storm of them never blocks whoever suspects.
func TestSuspicionsAreBounded(t *testing.T) {
	mo := newMonitor(&office{m: &Master{o: Options{Logger: discard()}}})
	for range 10 * maxSuspicions {
		mo.suspect("n-1", "gossip")
	}
	if len(mo.suspicions) != maxSuspicions {
		t.Errorf("%d wait", len(mo.suspicions))
	}
}

// TestMasterRestarts: what was known is still known, and a node that died
// with the master away is asked after once the others had time to attach.
func TestMasterRestarts(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	alive, dead := c.ready("alive"), c.ready("dead")
	alive.detach()
	dead.detach()
	c.mesh.lose(dead.id, gossip.ErrRefused)
	c.stop()
	next := must[*Master](t)(New(c.options(nil)))
	c.run(next)
	c.Master = next
	if len(c.Nodes()) != 3 || len(c.Containers("")) != 2 || c.Topology().Name != "home" {
		t.Fatalf("after the restart: %+v", c.Nodes())
	}
	alive.attach()
	began := time.Now()
	c.waitStatus(dead.id, topology.StatusNotReady, topology.ReasonUnreachable)
	if n := c.node(alive.id); n.Status != topology.StatusReady {
		t.Errorf("the living one is %s after %s", n.Status, time.Since(began))
	}
}

// TestMeshAloneIsNoSignOfLife: the process answers gossip, and its agent
// neither attaches nor sends heartbeats.
func TestMeshAloneIsNoSignOfLife(t *testing.T) {
	t.Parallel()
	c := newCluster(t, quick)
	b := c.ready("kitchen")
	b.detach()
	c.waitStatus(b.id, topology.StatusNotReady, topology.ReasonHeartbeatMissed)
	b.attach()
	c.waitStatus(b.id, topology.StatusReady)
}
