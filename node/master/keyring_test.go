package master

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"piccolo.io/piccolo/gossip"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/topology"
)

// TestKeyringSteps: whatever the order of removals and steps, two nodes that
// are one step apart read each other, no ring grows, and a key that was known
// at a removal is gone once everything has settled.
func TestKeyringSteps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := meshKeyring{Keyring: workload.Keyring{Keys: [][]byte{key()}}}
		var stale [][]byte
		step := func() {
			n := k.next(key())
			if len(n.Keys) == 0 || len(n.Keys) > 2 {
				t.Fatalf("%d keys", len(n.Keys))
			}
			if !holds(k.Keys, n.Keys[0]) || !holds(n.Keys, k.Keys[0]) {
				t.Fatalf("from %q to %q: the nodes on both sides do not read each other", k.Step, n.Step)
			}
			k = n
		}
		for range rapid.IntRange(0, 20).Draw(t, "events") {
			if rapid.Bool().Draw(t, "removal") {
				k.Due, stale = true, append(stale, k.Keys...)
			} else {
				step()
			}
		}
		for steps := 0; k.Due || k.Step != keyringSettled; steps++ {
			if steps > 6 {
				t.Fatalf("it does not settle: %+v", k)
			}
			step()
		}
		for _, old := range stale {
			if holds(k.Keys, old) {
				t.Fatal("a removed node knows the key")
			}
		}
	})
}

func key() []byte { k := gossip.NewKey(); return k[:] }

func holds(keys [][]byte, key []byte) bool {
	return slices.ContainsFunc(keys, func(k []byte) bool { return bytes.Equal(k, key) })
}

// rings are the keyrings that a board has been told, in order.
func (b *board) rings() []workload.Keyring {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.keyrings)
}

func TestKeyringAfterRemoval(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	first := c.keyring().Keys[0]
	stays, goes := c.join("stays"), c.join("goes")
	stays.attach()
	goes.attach()
	must[topology.Node](t)(c.SignalNode(t.Context(), goes.id, topology.SignalRemove, "admin"))
	eventually(t, "a new key, alone", func() string {
		k, _ := c.keyrings.get(keyringKey)
		if k.Value.Step != keyringSettled || k.Value.Due || len(k.Value.Keys) != 1 || bytes.Equal(k.Value.Keys[0], first) {
			return fmt.Sprintf("step %q, due %v, %d keys", k.Value.Step, k.Value.Due, len(k.Value.Keys))
		}
		return ""
	})
	last := c.keyring().Keys[0]
	eventually(t, "the node that stays hears of it", func() string {
		rings := stays.rings()
		if n := len(rings); n == 0 || len(rings[n-1].Keys) != 1 || !bytes.Equal(rings[n-1].Keys[0], last) {
			return fmt.Sprintf("it heard of %d rings", n)
		}
		return ""
	})
	for _, r := range goes.rings() {
		if holds(r.Keys, last) {
			t.Error("the removed node was told the new key")
		}
	}
	late := c.join("late")
	late.attach()
	eventually(t, "a node that attaches is told the keys", func() string {
		if rings := late.rings(); len(rings) == 0 || !holds(rings[0].Keys, last) {
			return "it was not"
		}
		return ""
	})
}

// TestKeyringResumes: a master that stopped in the middle goes on, and a
// request that was never let in changes no key.
func TestKeyringResumes(t *testing.T) {
	t.Parallel()
	c := newCluster(t, manual)
	first := c.keyring().Keys[0]
	out := c.join("stranger")
	must[topology.Node](t)(c.SignalNode(t.Context(), out.id, topology.SignalRejected, "admin"))
	if k, _ := c.keyrings.get(keyringKey); k.Value.Due || k.Value.Step != keyringSettled {
		t.Errorf("rejected: %+v", k.Value.Step)
	}
	c.stop()
	fresh := key()
	if _, _, err := c.keyrings.collection.Modify(t.Context(), keyringKey, func(k *meshKeyring) error {
		k.Due = true
		*k = k.next(fresh)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	next := must[*Master](t)(New(c.options(nil)))
	c.run(next)
	eventually(t, "the rotation ends", func() string {
		if keys := next.keyring().Keys; len(keys) != 1 || !bytes.Equal(keys[0], fresh) || bytes.Equal(keys[0], first) {
			return fmt.Sprintf("%d keys", len(keys))
		}
		return ""
	})
}
