package node_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/nodetest"
	"piccolo.io/piccolo/podman/podmantest"
	"piccolo.io/piccolo/topology"
)

// alerts of a kind that stand at the master.
func alerts(t testing.TB, c *nodetest.Cluster, kind string) (n int) {
	t.Helper()
	st, err := c.Master().API().Status(bounded(t))
	ok(t, err)
	for _, a := range st.Value.Alerts {
		if a.Kind == kind {
			n++
		}
	}
	return n
}

// log is the cluster's log, one line each.
func log(t testing.TB, c *nodetest.Cluster) string {
	t.Helper()
	list, err := c.Master().API().Events(bounded(t), 0)
	ok(t, err)
	var b strings.Builder
	for _, e := range list.Value {
		fmt.Fprintln(&b, e.Kind, e.Node, e.Message)
	}
	return b.String()
}

// waitMode waits for what a node says of itself.
func waitMode(t testing.TB, n *nodetest.Node, mode, reason string) api.SelfStatus {
	t.Helper()
	var self api.SelfStatus
	nodetest.Eventually(t, nodetest.Patience, "mode of "+n.Name, func() error {
		st, err := n.API().Status(bounded(t))
		if err != nil {
			return errors.Join(err, n.Err())
		}
		if self = st.Value.Self; self.Mode != mode || !strings.Contains(self.ModeReason, reason) {
			return fmt.Errorf("it is %s: %s", self.Mode, self.ModeReason)
		}
		return nil
	})
	return self
}

// TestKillAndReturn, and a stop with a goodbye.
func TestKillAndReturn(t *testing.T) {
	t.Parallel()
	c := nodetest.New(t, 3)
	sub := c.Node(1)
	sub.Kill()
	c.WaitStatus(sub, topology.StatusNotReady, topology.ReasonUnreachable)
	nodetest.Eventually(t, nodetest.Patience, "the other sub is told", func() error {
		n, err := c.Node(2).API().Node(bounded(t), "sub-1")
		if err == nil && n.Value.Status != topology.StatusNotReady {
			err = fmt.Errorf("it knows it as %s", n.Value.Status)
		}
		return err
	})
	sub.Restart()
	c.WaitStatus(sub, topology.StatusReady)
	ok(t, sub.Stop())
	c.WaitStatus(sub, topology.StatusNotReady, topology.ReasonUnreachable)
	sub.Restart()
	c.WaitStatus(sub, topology.StatusReady)
	if l := log(t, c); strings.Count(l, "sub-1 NotReady: Unreachable") < 2 || strings.Count(l, "sub-1 Ready") < 3 {
		t.Errorf("the log says:\n%s", l)
	}
	c.WaitStatus(c.Node(2), topology.StatusReady)
}

// TestMeshCut: gossip does not pass, the open connection does. The node stays
// Ready, and people are told of its link.
func TestMeshCut(t *testing.T) {
	t.Parallel()
	c := nodetest.New(t, 3)
	sub := c.Node(1)
	c.UnplugMesh(sub)
	nodetest.Eventually(t, nodetest.Patience, "the alert", func() error {
		if alerts(t, c, "DegradedLink") == 0 {
			return errors.New("none")
		}
		return nil
	})
	n, err := c.Record(sub)
	if err != nil || n.Status != topology.StatusReady {
		t.Errorf("it is %s (%s), %v", n.Status, n.Reasons, err)
	}
	c.HealMesh()
	nodetest.Eventually(t, nodetest.Patience, "the alert goes", func() error {
		if alerts(t, c, "DegradedLink") > 0 {
			return errors.New("it stands")
		}
		return nil
	})
	c.WaitStatus(sub, topology.StatusReady)
}

// TestWithoutTheMaster: a sub answers what it knows, goes on, starts without a
// master, and is back when that is.
func TestWithoutTheMaster(t *testing.T) {
	t.Parallel()
	c := nodetest.New(t, 2)
	master, sub := c.Master(), c.Node(1)
	_, err := master.API().PatchNode(bounded(t), "sub-1", api.NodePatch{LogLevel: ptr("warn")})
	ok(t, err)
	nodetest.Eventually(t, nodetest.Patience, "the plan", func() error {
		if l := sub.Level.Level().String(); l != "WARN" {
			return errors.New(l)
		}
		return nil
	})
	master.Kill()
	stale := func() {
		t.Helper()
		waitMode(t, sub, "Offline", "")
		list, err := sub.API().Nodes(bounded(t))
		names := []string{}
		for _, n := range list.Value {
			names = append(names, n.Name)
		}
		if err != nil || !slices.Equal(names, []string{"main", "sub-1"}) || list.AsOf == nil || list.AsOf.IsZero() || time.Since(*list.AsOf) < 0 || time.Since(*list.AsOf) > 5*time.Minute {
			t.Errorf("%v as of %v, %v", names, list.AsOf, err)
		}
		id := sub.Podman.Run(t, podmantest.Spec{Name: fmt.Sprintf("offline-%d", time.Now().UnixNano())})
		nodetest.Eventually(t, nodetest.Patience, "its own containers", func() error {
			list, err := sub.API().Containers(bounded(t), "", false)
			if err != nil {
				return err
			}
			for _, c := range list.Value {
				if c.ID == id && c.State == "running" {
					return nil
				}
			}
			return fmt.Errorf("%+v", list.Value)
		})
		var e *api.Error
		if _, err := sub.API().CreateToken(bounded(t), api.TokenRequest{}); !errors.As(err, &e) || e.Kind != api.KindUnavailable {
			t.Errorf("a token without a master: %v", err)
		}
		if err := sub.API().Leave(bounded(t)); !errors.As(err, &e) || e.Kind != api.KindUnavailable || !strings.Contains(e.Hint, "piccolo node rm") {
			t.Errorf("leave without a master: %v", err)
		}
	}
	stale()
	sub.Level.Set(0)
	sub.Restart() // in a tunnel
	stale()
	if l := sub.Level.Level().String(); l != "WARN" {
		t.Errorf("it does not obey the plan that it kept: it logs %s", l)
	}
	master.Restart()
	c.WaitStatus(sub, topology.StatusReady)
	waitMode(t, sub, "Online", "")
	nodetest.Eventually(t, nodetest.Patience, "what happened meanwhile is known", func() error {
		list, err := master.API().Containers(bounded(t), "sub-1", false)
		if err == nil && len(list.Value) != 2 {
			err = fmt.Errorf("%d containers", len(list.Value))
		}
		return err
	})
}

func TestPodmanDown(t *testing.T) {
	t.Parallel()
	c := nodetest.New(t, 2)
	sub := c.Node(1)
	sub.Podman.Service(t, podmantest.ServiceKill)
	c.WaitStatus(sub, topology.StatusNotReady, topology.ReasonPodmanDown)
	if alerts(t, c, "PodmanDown") != 1 {
		t.Error("no alert")
	}
	sub.Podman.Service(t, podmantest.ServiceStart)
	c.WaitStatus(sub, topology.StatusReady)
	c.Master().Podman.Service(t, podmantest.ServiceKill)
	c.WaitStatus(c.Master(), topology.StatusNotReady, topology.ReasonPodmanDown)
	c.Master().Podman.Service(t, podmantest.ServiceStart)
	c.WaitStatus(c.Master(), topology.StatusReady)
}

// TestMaintenance survives a restart of the node and of the master.
func TestMaintenance(t *testing.T) {
	t.Parallel()
	c := nodetest.New(t, 2)
	sub := c.Node(1)
	_, err := c.Master().API().PatchNode(bounded(t), "sub-1", api.NodePatch{Status: ptr(topology.StatusMaintenance)})
	ok(t, err)
	c.WaitStatus(sub, topology.StatusMaintenance)
	sub.Kill()
	c.WaitStatus(sub, topology.StatusMaintenance, topology.ReasonUnreachable)
	c.Master().Restart()
	c.WaitStatus(sub, topology.StatusMaintenance, topology.ReasonUnreachable)
	sub.Restart()
	c.WaitStatus(sub, topology.StatusMaintenance)
	_, err = c.Master().API().PatchNode(bounded(t), "sub-1", api.NodePatch{Status: ptr(topology.StatusReady)})
	ok(t, err)
	c.WaitStatus(sub, topology.StatusReady)
}
