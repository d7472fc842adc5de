package master

import (
	"context"
	"errors"
	"fmt"

	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/topology"
)

// Seed is what a new cluster begins with. Planting it twice changes nothing,
// so that a power cut in the middle does no harm.
type Seed struct {
	Cluster topology.ClusterTopology `json:"cluster"`
	// Node is the first master itself.
	Node      topology.Node   `json:"node"`
	AdminUser auth.APIRecord  `json:"admin_user"`
	JoinToken auth.JoinRecord `json:"join_token"`
	// Keyring is the gossip mesh's first key.
	Keyring workload.Keyring `json:"keyring"`
}

// plant writes the seed where its records do not exist yet.
func (m *Master) plant(ctx context.Context) error {
	if m.o.Seed == nil {
		return nil
	}
	s := m.o.Seed
	for _, create := range []func() error{
		func() error { _, err := m.users.Create(ctx, s.AdminUser.ID, s.AdminUser); return err },
		func() error { _, err := m.tokens.Create(ctx, s.JoinToken.ID, s.JoinToken); return err },
		func() error { _, err := m.nodes.collection.Create(ctx, s.Node.ID, s.Node); return err },
		func() error {
			_, err := m.keyrings.collection.Create(ctx, keyringKey, meshKeyring{Keyring: s.Keyring})
			return err
		},
		func() error { _, err := m.cluster.collection.Create(ctx, clusterKey, s.Cluster); return err },
	} {
		if err := create(); err != nil && !errors.Is(err, store.ErrExists) {
			return fmt.Errorf("make cluster %s: %w", s.Cluster.Name, err)
		}
	}
	return nil
}

// Authenticate finds the administrator to whom an API token belongs.
func (m *Master) Authenticate(ctx context.Context, bearer string) (auth.Principal, error) {
	token, err := auth.ParseAPIToken(bearer)
	if err != nil {
		return auth.Principal{}, fmt.Errorf("%w: %w", auth.ErrUnauthenticated, err)
	}
	r, err := m.users.Get(ctx, token.ID)
	if err != nil {
		if errors.Is(err, store.ErrNotFound) {
			return auth.Principal{}, fmt.Errorf("%w: API token %s is not known here", auth.ErrUnauthenticated, token.ID)
		}
		return auth.Principal{}, err
	}
	return r.Value.Check(token, m.o.Now())
}
