package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"time"

	"piccolo.io/piccolo/gossip"
	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/api/feed"
	"piccolo.io/piccolo/node/master"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/topology"
)

// apply obeys a plan.
func (d *daemon) apply(p workload.Plan) error {
	var level slog.Level
	if err := level.UnmarshalText([]byte(p.LogLevel)); err != nil {
		return fmt.Errorf("log level %q: %w", p.LogLevel, err)
	}
	d.o.Level.Set(level)
	return nil
}

// see takes a new view: the mesh is told whom it should know, and a sub's own
// watchers what changed.
func (d *daemon) see(v workload.View) {
	var peers []netip.AddrPort
	var masters []string
	nodes := map[string]any{}
	for _, n := range v.Nodes {
		nodes[n.ID] = n
		if n.Role == topology.RoleMaster && n.Status != topology.StatusPending {
			masters = append(masters, n.ID)
		}
		addr, err := netip.ParseAddr(n.IP)
		if n.ID == d.m.ID || err != nil || n.GossipPort == 0 || n.Status == topology.StatusPending {
			continue
		}
		peers = append(peers, netip.AddrPortFrom(addr, uint16(n.GossipPort)))
	}
	if err := errors.Join(d.mesh.SetPeers(peers), d.mesh.SetObservers(masters)); err != nil {
		d.o.Logger.Warn("gossip peers not taken", "error", err)
	}
	if d.master == nil {
		d.logged(d.hub.Replace("node", "", nodes))
	}
}

// publishContainers tells a sub's own watchers; a master's are told by its
// control plane.
func (d *daemon) publishContainers(containers []workload.Container) {
	if d.master != nil {
		return
	}
	values := map[string]any{}
	for _, c := range containers {
		values[d.m.ID+"/"+c.ID] = c
	}
	d.logged(d.hub.Replace("container", "", values))
}

func (d *daemon) logged(err error) {
	if err != nil && !errors.Is(err, feed.ErrClosed) {
		d.o.Logger.Warn("watchers not told", "error", err)
	}
}

// rekey takes new keys of the mesh, on disk first.
func (d *daemon) rekey(k workload.Keyring) {
	keyring, err := gossipKeyring(k)
	if err == nil {
		err = errors.Join(keyring.Save(d.dir.join(gossipFile)), d.mesh.SetKeys(keyring))
	}
	if err != nil {
		d.o.Logger.Error("gossip keys not taken", "error", err)
	}
}

// removed: the cluster no longer wants this node. Its work goes on until a
// person decides; the socket tells why.
func (d *daemon) removed(reason string) {
	d.o.Logger.Error("this node was removed from its cluster", "reason", reason, "hint", "`systemctl stop piccolo`, `piccolo reset`, then join it anew")
	d.o.Status("removed from the cluster: " + reason)
}

// observeTime takes the master's time as a hint, from an authenticated
// heartbeat only.
func (d *daemon) observeTime(t time.Time) {
	link := d.up.current.Load()
	if link == nil {
		return
	}
	if err := d.clock.Observe(t, link.Master); err != nil {
		d.o.Logger.Debug("the master's time was not believed", "time", t, "error", err)
	}
}

// heard passes on what the mesh says.
func (d *daemon) heard(e gossip.Event) {
	isMaster := e.Member.Meta.Role == string(topology.RoleMaster)
	if d.master != nil {
		switch e.Kind {
		case gossip.Silent, gossip.Died:
			d.master.Lost(e.Member.ID)
		case gossip.Departed:
			d.master.Departed(e.Member.ID)
		}
	}
	if !isMaster {
		return
	}
	switch e.Kind {
	case gossip.Died, gossip.Departed:
		d.agent.Doubt()
	case gossip.Joined:
		d.agent.Retry()
	}
}

// publisher is the control plane's way to the watchers.
type publisher struct {
	hub    *feed.Hub
	logger *slog.Logger
	now    func() time.Time
}

func (p publisher) Publish(kind, key string, value any) {
	if err := p.hub.Publish(kind, key, value); err != nil && !errors.Is(err, feed.ErrClosed) {
		p.logger.Warn("watchers not told", "kind", kind, "key", key, "error", err)
	}
}

func (p publisher) Log(kind, node, message string) {
	if err := p.hub.Log(api.Event{At: p.now(), Kind: kind, Node: node, Message: message}); err != nil && !errors.Is(err, feed.ErrClosed) {
		p.logger.Warn("event not told", "kind", kind, "error", err)
	}
}

// seed reads what init left for the store; nil once it is planted.
func (d *daemon) seed() (*master.Seed, error) {
	b, err := os.ReadFile(d.dir.join(seedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the cluster's beginning: %w", err)
	}
	var s master.Seed
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("read the cluster's beginning %s: %w", d.dir.join(seedFile), err)
	}
	return &s, nil
}

// planted forgets the seed.
func (d *daemon) planted() error {
	if err := os.Remove(d.dir.join(seedFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget the cluster's beginning: %w", err)
	}
	return nil
}
