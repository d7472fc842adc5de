package node_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"piccolo.io/piccolo/gossip"
	"piccolo.io/piccolo/node/nodetest"
	"piccolo.io/piccolo/topology"
)

func keyring(t testing.TB, n *nodetest.Node) gossip.Keyring {
	t.Helper()
	k, err := gossip.LoadKeyring(filepath.Join(n.Options.DataDir, "gossip.keys"))
	ok(t, err)
	return k
}

// TestKeysAfterRemoval: a removed node's key of the mesh is worthless soon,
// nobody else notices, and a node that was away meanwhile comes back.
func TestKeysAfterRemoval(t *testing.T) {
	t.Parallel()
	c := nodetest.With(t, 4, nodetest.Options{KeyringStep: 200 * time.Millisecond})
	goes, away := c.Node(1), c.Node(2)
	ok(t, away.Stop())
	c.WaitStatus(away, topology.StatusNotReady, topology.ReasonUnreachable)
	old := keyring(t, goes)
	_, err := c.Master().API().RemoveNode(bounded(t), goes.Name)
	ok(t, err)
	renewed := func(n *nodetest.Node) func() error {
		return func() error {
			if k := keyring(t, n); len(k.Others) > 0 || k.Equal(old) || k.Primary == old.Primary {
				return fmt.Errorf("%s has %d keys, the old one is the first: %v", n.Name, 1+len(k.Others), k.Primary == old.Primary)
			}
			return nil
		}
	}
	for _, n := range []*nodetest.Node{c.Master(), c.Node(3)} {
		nodetest.Eventually(t, nodetest.Patience, "the new key", renewed(n))
	}
	if !keyring(t, c.Master()).Equal(keyring(t, c.Node(3))) {
		t.Error("the nodes have different keys")
	}
	if !keyring(t, goes).Equal(old) {
		t.Error("the removed node has heard of a new key")
	}
	away.Start()
	c.WaitStatus(away, topology.StatusReady)
	nodetest.Eventually(t, nodetest.Patience, "the new key", renewed(away))
	c.WaitStatus(c.Node(3), topology.StatusReady)
}
