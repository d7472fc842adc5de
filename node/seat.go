package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"

	"piccolo.io/piccolo/node/api/client"
	"piccolo.io/piccolo/node/pki"
	"piccolo.io/piccolo/node/workload"
)

const (
	// seatPatience bounds the whole of becoming a master: an election may be
	// under way, or another change of the store's members.
	seatPatience = time.Minute
	// seatTimeout bounds one call to one master.
	seatTimeout = 10 * time.Second
)

// becomeMaster fetches what every master holds and takes a seat in the store,
// with a certificate that names this node a master. It returns the peer
// addresses of the other masters.
func (e *enrolment) becomeMaster(ctx context.Context, identity *pki.Identity, a workload.Admission) ([]string, error) {
	source, err := pki.NewSource(identity, e.clock)
	if err != nil {
		return nil, err
	}
	masters := a.View.Masters()
	if len(masters) == 0 {
		masters = []string{e.o.Master}
	}
	ctx, cancel := context.WithTimeout(ctx, seatPatience)
	defer cancel()
	secrets, err := askMasters(ctx, source, e.clock, masters, func(ctx context.Context, m *client.Agent) (workload.Secrets, error) {
		return m.FetchSecrets(ctx)
	})
	if err != nil {
		return nil, fmt.Errorf("fetch the masters' secrets: %w", err)
	}
	if err := errors.Join(e.dir.write(pki.CAKeyFile, secrets.CAKey), e.dir.write(storeKey, secrets.StoreKey)); err != nil {
		return nil, err
	}
	if _, err := pki.LoadCA(e.dir.path, e.clock); err != nil {
		return nil, err
	}
	own := workload.HostPort(e.m.Address, e.m.EtcdPeerPort)
	peers, err := askMasters(ctx, source, e.clock, masters, func(ctx context.Context, m *client.Agent) ([]string, error) {
		return m.TakeSeat(ctx, own)
	})
	if err != nil {
		return nil, fmt.Errorf("take a seat in the store: %w", err)
	}
	return peers, nil
}

// askMasters asks one master after the other until one of them does what only
// the leader, or any of them, can do.
func askMasters[T any](ctx context.Context, source *pki.Source, clock *pki.Clock, masters []string, ask func(context.Context, *client.Agent) (T, error)) (T, error) {
	config, err := pki.ClientTLS(pki.ClientOptions{Source: source, Clock: clock})
	if err != nil {
		return *new(T), err
	}
	one := func(address string) (out T, err error) {
		ctx, cancel := context.WithTimeout(ctx, seatTimeout)
		defer cancel()
		link, err := client.DialAgent(ctx, address, config.Clone())
		if err != nil {
			return out, err
		}
		defer func() { err = errors.Join(err, link.Close()) }()
		return ask(ctx, link)
	}
	wait := &backoff.ExponentialBackOff{InitialInterval: 200 * time.Millisecond, RandomizationFactor: 0.5, Multiplier: 1.5, MaxInterval: 2 * time.Second}
	return backoff.Retry(ctx, func() (T, error) {
		var all error
		for _, address := range masters {
			out, err := one(address)
			if err == nil {
				return out, nil
			}
			all = errors.Join(all, fmt.Errorf("%s: %w", address, err))
		}
		return *new(T), all
	}, backoff.WithBackOff(wait), backoff.WithMaxElapsedTime(0))
}

// secrets reads what a new master is given.
func (d *daemon) secrets() (s workload.Secrets, err error) {
	if s.CAKey, err = d.dir.read(pki.CAKeyFile); err != nil {
		return s, err
	}
	s.StoreKey, err = d.dir.read(storeKey)
	return s, err
}
