package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"piccolo.io/piccolo/node/api/client"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/topology"
)

// listener is told what the other masters say.
type listener interface {
	TakePresence(master string, p workload.Presence)
	LosePresence(master string)
}

// peering keeps this master's connection to each other one.
type peering struct {
	self   string
	dial   func(ctx context.Context, address string) (*client.Agent, error)
	logger *slog.Logger
	// fresh: the masters are others now; capacity 1.
	fresh chan struct{}

	mu      sync.Mutex
	masters map[string]string // API addresses by node id
	open    map[string]*client.Agent
}

func newPeering(self string, up *uplinks, logger *slog.Logger) *peering {
	dial := func(ctx context.Context, address string) (*client.Agent, error) { return up.dial(ctx, address, false) }
	return &peering{self: self, dial: dial, logger: logger, fresh: make(chan struct{}, 1), masters: map[string]string{}, open: map[string]*client.Agent{}}
}

// see takes the masters of a view.
func (p *peering) see(v workload.View) {
	masters := map[string]string{}
	for _, n := range v.Nodes {
		if n.Role == topology.RoleMaster && n.ID != p.self && n.APIPort > 0 && n.Status != topology.StatusPending && n.Status != topology.StatusTerminating {
			masters[n.ID] = workload.HostPort(n.IP, n.APIPort)
		}
	}
	p.mu.Lock()
	changed := !maps.Equal(masters, p.masters)
	p.masters = masters
	p.mu.Unlock()
	if changed {
		select {
		case p.fresh <- struct{}{}:
		default:
		}
	}
}

// run follows every other master until ctx ends.
func (p *peering) run(ctx context.Context, to listener) error {
	type link struct {
		address string
		cancel  context.CancelFunc
	}
	var all sync.WaitGroup
	defer all.Wait()
	links := map[string]link{}
	for {
		p.mu.Lock()
		masters := maps.Clone(p.masters)
		p.mu.Unlock()
		for id, l := range links {
			if masters[id] != l.address {
				l.cancel()
				delete(links, id)
			}
		}
		for _, id := range slices.Sorted(maps.Keys(masters)) {
			if _, ok := links[id]; ok {
				continue
			}
			linkCtx, cancel := context.WithCancel(ctx)
			links[id] = link{masters[id], cancel}
			all.Go(func() { p.follow(linkCtx, id, masters[id], to) })
		}
		select {
		case <-p.fresh:
		case <-ctx.Done():
			for _, l := range links {
				l.cancel()
			}
			return nil
		}
	}
}

// follow keeps one connection until ctx ends.
func (p *peering) follow(ctx context.Context, id, address string, to listener) {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 100*time.Millisecond, 2*time.Second
	for {
		began := time.Now()
		err := p.once(ctx, id, address, to)
		to.LosePresence(id)
		if ctx.Err() != nil {
			return
		}
		p.logger.Debug("another master is not heard", "master", id, "address", address, "error", err)
		if time.Since(began) > pause.MaxInterval {
			pause.Reset()
		}
		select {
		case <-time.After(pause.NextBackOff()):
		case <-ctx.Done():
			return
		}
	}
}

func (p *peering) once(ctx context.Context, id, address string, to listener) (err error) {
	dialCtx, cancel := context.WithTimeout(ctx, seatTimeout)
	link, err := p.dial(dialCtx, address)
	cancel()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, link.Close()) }()
	p.mu.Lock()
	p.open[id] = link
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.open, id)
	}()
	return link.FollowPresence(ctx, func(x workload.Presence) { to.TakePresence(id, x) })
}

// Inquire asks a node through the master that it is attached to.
func (p *peering) Inquire(ctx context.Context, master string, q workload.Inquiry) (*workload.StatsAnswer, error) {
	p.mu.Lock()
	link := p.open[master]
	p.mu.Unlock()
	if link == nil {
		return nil, fmt.Errorf("ask node %s through master %s: that is not reached at the moment", q.Node, master)
	}
	return link.Inquire(ctx, q)
}
