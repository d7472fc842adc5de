package master

import (
	"context"
	"fmt"
	"slices"
	"time"

	"piccolo.io/piccolo/gossip"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/topology"
)

// keyringKey is the key of the one record under mesh.
const keyringKey = "keyring"

// keyringPause before the rotation tries again when the store did not take a
// step.
const keyringPause = 5 * time.Second

// meshKeyring is the record of the gossip mesh's keys. A removed node knows
// them, so they are replaced after each removal, in steps that leave all nodes
// able to read each other: everybody learns the new key, everybody encrypts
// with it, everybody forgets the old one. A node that is away meanwhile needs
// no old key: it hears of the new ones over its session.
type meshKeyring struct {
	workload.Keyring
	Step keyringStep `json:"step,omitempty"`
	// Due: a node that knows the keys was removed.
	Due bool `json:"due,omitempty"`
}

// keyringStep is how far a rotation has come.
type keyringStep string

const (
	// keyringSettled: one key.
	keyringSettled keyringStep = ""
	// keyringAnnounced: the old key encrypts, the new one stands behind it.
	keyringAnnounced keyringStep = "announced"
	// keyringInUse: the new key encrypts, the old one stands behind it.
	keyringInUse keyringStep = "in use"
)

// next is the keyring one step on. fresh is the key that a new rotation
// brings. A removal during a rotation is followed by another one: the removed
// node may have heard of the key that is coming.
func (k meshKeyring) next(fresh []byte) meshKeyring {
	switch k.Step {
	case keyringAnnounced:
		k.Keys, k.Step = [][]byte{k.Keys[1], k.Keys[0]}, keyringInUse
	case keyringInUse:
		k.Keys, k.Step = k.Keys[:1:1], keyringSettled
	default:
		if k.Due {
			k.Keys, k.Step, k.Due = [][]byte{k.Keys[0], fresh}, keyringAnnounced, false
		}
	}
	return k
}

// keyring is the mesh's keys as they are now.
func (m *Master) keyring() workload.Keyring {
	r, _ := m.keyrings.get(keyringKey)
	return workload.Keyring{Keys: slices.Clone(r.Value.Keys)}
}

// keyringChanged tells the new keys to every node that still belongs here.
func (m *Master) keyringChanged(_ string, _, _ *meshKeyring) {
	for _, s := range m.sessions.all() {
		if n, ok := m.nodes.get(s.hello.Node); ok && n.Value.Status != topology.StatusTerminating {
			s.tellKeyring()
		}
	}
	trigger(m.rotate)
}

// opKeysDue asks for a rotation, in the write that removes a node.
func (m *Master) opKeysDue(ctx context.Context) (store.Op, error) {
	r, err := m.keyrings.collection.Get(ctx, keyringKey)
	if err != nil {
		return store.Op{}, fmt.Errorf("replace the gossip keys: %w", err)
	}
	r.Value.Due = true
	return m.keyrings.collection.OpUpdate(keyringKey, r.Revision, r.Value), nil
}

// rotateKeys carries rotations out, and one that an earlier run of this master
// has left in the middle.
func (o *office) rotateKeys(ctx context.Context) error {
	m := o.m
	var failed error
	for {
		k, _ := m.keyrings.get(keyringKey)
		var step <-chan time.Time
		switch {
		case failed != nil:
			step = time.After(keyringPause)
		case k.Value.Step != keyringSettled:
			step = time.After(m.o.KeyringStep)
		case k.Value.Due:
			step = time.After(0)
		}
		select {
		case <-step:
			if failed = m.advanceKeys(ctx, o.term); failed != nil && ctx.Err() == nil {
				m.o.Logger.Warn("gossip keys not replaced, trying again", "error", failed)
			}
		case <-m.rotate:
		case <-ctx.Done():
			return nil
		}
	}
}

func (m *Master) advanceKeys(ctx context.Context, term store.Term) error {
	fresh := gossip.NewKey()
	revision, changed, err := m.keyrings.collection.Modify(ctx, keyringKey, func(k *meshKeyring) error {
		*k = k.next(fresh[:])
		return nil
	}, store.WithTerm(term))
	if err != nil || !changed {
		return err
	}
	if err := m.keyrings.wait(ctx, revision); err != nil {
		return err
	}
	if k, _ := m.keyrings.get(keyringKey); k.Value.Step == keyringSettled {
		m.o.Publisher.Log("KeysReplaced", "", "the gossip mesh has a new key; removed nodes cannot read it any more")
	}
	return nil
}
