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

// becomeMaster takes a seat among the masters for a board that joins as one.
func (e *enrolment) becomeMaster(ctx context.Context, identity *pki.Identity, a workload.Admission) ([]string, error) {
	source, err := pki.NewSource(identity, e.clock)
	if err != nil {
		return nil, err
	}
	masters := a.View.Masters()
	if len(masters) == 0 {
		masters = []string{e.o.Master}
	}
	return sitDown(ctx, e.dir, source, e.clock, masters, workload.HostPort(e.m.Address, e.m.EtcdPeerPort))
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
