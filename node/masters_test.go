package node_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/nodetest"
	"piccolo.io/piccolo/topology"
)

// ask waits until a node answers for the state of another one as wanted.
func ask(t testing.TB, asked, about *nodetest.Node, status topology.NodeStatus) {
	t.Helper()
	nodetest.Eventually(t, nodetest.Patience, about.Name+" as "+asked.Name+" knows it", func() error {
		a, err := asked.API().Node(bounded(t), about.ID)
		if err != nil {
			return err
		}
		if a.Value.Status != status {
			return fmt.Errorf("it is %s (%s)", a.Value.Status, a.Value.Reasons)
		}
		return nil
	})
}

// TestThreeMasters: one is lost, whichever leads, and the others go on.
func TestThreeMasters(t *testing.T) {
	t.Parallel()
	c := nodetest.With(t, 2, nodetest.Options{Log: true})
	first, sub := c.Master(), c.Node(1)
	second := c.AddMaster("second")
	c.WaitStatus(second, topology.StatusReady)
	third := c.AddMaster("third")
	c.WaitStatus(third, topology.StatusReady)
	nodetest.Eventually(t, nodetest.Patience, "three votes", func() error {
		if n := votes(t, first); n != 3 {
			return fmt.Errorf("%d vote", n)
		}
		return nil
	})
	for _, m := range []*nodetest.Node{first, second, third} {
		for _, n := range []*nodetest.Node{first, second, third, sub} {
			ask(t, m, n, topology.StatusReady)
		}
	}
	first.Kill()
	ask(t, second, first, topology.StatusNotReady)
	ask(t, third, sub, topology.StatusReady)
	nodetest.Eventually(t, nodetest.Patience, "a write", func() error {
		_, err := third.API().PatchNode(bounded(t), sub.Name, api.NodePatch{Labels: map[string]*string{"room": new(string)}})
		return err
	})
	waitMode(t, sub, "Online", "")
	first.Restart()
	ask(t, second, first, topology.StatusReady)
}

// votes counts the masters that vote, by what has been logged.
func votes(t testing.TB, n *nodetest.Node) int {
	t.Helper()
	list, err := n.API().Events(bounded(t), 0)
	ok(t, err)
	votes := 1
	for _, e := range list.Value {
		if e.Kind == "MasterVotes" {
			votes++
		}
	}
	return votes
}

// TestPromoteAndDemote: a sub becomes a master and a sub again, and what only
// masters hold goes with its office.
func TestPromoteAndDemote(t *testing.T) {
	t.Parallel()
	c := nodetest.With(t, 3, nodetest.Options{Log: true})
	sub := c.Node(1)
	master, back := topology.RoleMaster, topology.RoleSub
	sub.Options.APIPort, sub.Options.EtcdPeerPort = nodetest.FreePort(t), nodetest.FreePort(t)
	sub.Restart()
	c.WaitStatus(sub, topology.StatusReady)
	_, err := c.Master().API().PatchNode(bounded(t), sub.Name, api.NodePatch{Role: &master})
	ok(t, err)
	nodetest.Eventually(t, nodetest.Patience, "it serves the whole cluster", func() error {
		st, err := sub.API().Status(bounded(t))
		if err != nil {
			return err
		}
		if st.Value.Self.Role != topology.RoleMaster || st.AsOf != nil {
			return fmt.Errorf("it is a %s, as of %v", st.Value.Self.Role, st.AsOf)
		}
		return nil
	})
	ask(t, sub, c.Node(2), topology.StatusReady)
	c.WaitStatus(sub, topology.StatusReady)
	if _, err := os.Stat(filepath.Join(sub.Options.DataDir, "ca.key")); err != nil {
		t.Error(err)
	}
	_, err = c.Master().API().PatchNode(bounded(t), sub.Name, api.NodePatch{Role: &back})
	ok(t, err)
	nodetest.Eventually(t, nodetest.Patience, "it is a sub again", func() error {
		st, err := sub.API().Status(bounded(t))
		if err != nil {
			return errors.Join(err, sub.Err())
		}
		if st.Value.Self.Role != topology.RoleSub || st.Value.Self.Mode != "Online" {
			return fmt.Errorf("it is a %s, %s: %s", st.Value.Self.Role, st.Value.Self.Mode, st.Value.Self.ModeReason)
		}
		return nil
	})
	c.WaitStatus(sub, topology.StatusReady)
	for _, name := range []string{"ca.key", "store.key", "etcd"} {
		if _, err := os.Stat(filepath.Join(sub.Options.DataDir, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
