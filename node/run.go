package node

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	"piccolo.io/piccolo/gossip"
	"piccolo.io/piccolo/node/agent"
	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/api/feed"
	"piccolo.io/piccolo/node/api/rest"
	"piccolo.io/piccolo/node/api/rpc"
	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/node/master"
	"piccolo.io/piccolo/node/pki"
	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/topology"
)

// aliveInterval between two signs that the daemon's own loops turn. systemd's
// watchdog must allow several of them.
const aliveInterval = 4 * time.Second

// settleTime after the start the daemon gives back what only the start needed.
const settleTime = 20 * time.Second

// Run is the daemon of a node that belongs to a cluster: it resumes from the
// data directory and works until ctx ends or the node has left. It needs
// neither a master nor a network to start. Errors: ErrLocked, ErrNotMember,
// or what kept a part from working.
func Run(ctx context.Context, o Options) (err error) {
	if err := o.Validate(); err != nil {
		return fmt.Errorf("run node: %w", err)
	}
	o = o.withDefaults()
	if _, err := readMembership(o.DataDir); errors.Is(err, ErrNotMember) {
		return err
	}
	dir, err := openDataDir(o.DataDir)
	if err != nil {
		return fmt.Errorf("run node: %w", err)
	}
	defer func() { err = errors.Join(err, dir.close()) }()
	o.Ready = sync.OnceFunc(o.Ready)
	for {
		err := runAs(ctx, o, dir)
		if !errors.Is(err, errRoleChanged) {
			return err
		}
	}
}

// runAs runs the node in the role that it has now.
func runAs(ctx context.Context, o Options, dir *dataDir) error {
	m, err := dir.membership()
	if err != nil {
		return fmt.Errorf("run node: %w", err)
	}
	if m.Role == topology.RoleSub {
		if err := dir.dropSecrets(); err != nil {
			return fmt.Errorf("run node: %w", err)
		}
	}
	d := &daemon{o: o, dir: dir, m: m, stages: newStages(), tenure: newTenure(), started: time.Now(), instance: newInstance(), role: make(chan topology.Role, 1)}
	if err := d.build(ctx); err != nil {
		return fmt.Errorf("start node %s: %w", m.Name, err)
	}
	if err := d.run(ctx); err != nil {
		return fmt.Errorf("run node %s: %w", m.Name, err)
	}
	return nil
}

// daemon is all parts of one running node.
type daemon struct {
	o        Options
	dir      *dataDir
	m        Membership
	stages   *stages
	started  time.Time
	instance string

	ident   *pki.Identity
	clock   *pki.Clock
	source  *pki.Source
	renewer *pki.Renewer
	up      *uplinks
	tenure  *tenure
	hub     *feed.Hub
	mesh    *gossip.Mesh
	agent   *agent.Agent
	member  *store.Member
	ca      *pki.CA // on a master
	master  *master.Master
	peering *peering // on a master
	// role that the plan asks for; capacity 1.
	role    chan topology.Role
	service *api.Service
}

// server makes the node's one door.
func (d *daemon) server() (*rest.Server, error) {
	metrics, err := newMetrics(d)
	if err != nil {
		return nil, err
	}
	authenticate := func(context.Context, string) (auth.Principal, error) {
		return auth.Principal{}, fmt.Errorf("%w: tokens are the masters' to check", auth.ErrUnauthenticated)
	}
	if d.master != nil {
		authenticate = d.master.Authenticate
	}
	h, err := rest.NewHandler(rest.HandlerOptions{
		Service: d.service, Hub: d.hub, Authenticate: authenticate, Ready: d.notReady, Metrics: metrics, Logger: d.o.Logger,
	})
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(d.o.RunDir, 0o700); err != nil {
		return nil, fmt.Errorf("make run directory: %w", err)
	}
	o := rest.Options{Handler: h, Socket: d.o.Socket(), Logger: d.o.Logger}
	if d.master != nil {
		o.Listen, o.TLS, o.GRPC = anyAddress(uint16(d.m.APIPort)).String(), pki.ServerTLS(d.source, d.clock, nil), http.Handler(rpc.New(d.service, d.o.Logger))
	}
	return rest.New(o)
}

// errLeft ends the daemon of a node that has left its cluster.
var errLeft = errors.New("this node has left its cluster")

// run starts the parts in the order in which they lean on one another, and
// stops them in reverse.
func (d *daemon) run(ctx context.Context) error {
	server, err := d.server()
	if err != nil {
		return err
	}
	if err := d.start(ctx, server); err != nil {
		return errors.Join(err, d.stages.finish())
	}
	select {
	case <-ctx.Done():
	case <-d.stages.ended:
	}
	d.o.Status("stopping")
	err = d.stages.finish()
	d.hub.Close()
	if errors.Is(err, errLeft) {
		d.o.Logger.Info("the node has left its cluster; its identity is removed")
		return d.dir.clear()
	}
	return err
}

func (d *daemon) start(ctx context.Context, server *rest.Server) error {
	s := d.stages
	mesh, renewal := d.tenure.during(d.mesh.Run), d.tenure.during(d.renewer.Run)
	d.o.Status("starting")
	s.start("start gate", func(ctx context.Context) error {
		if err := startGate(ctx, d.o, d.m); err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	})
	s.start("role", d.changeRole)
	if d.master != nil {
		s.start("store", d.runStore)
		if !s.await(ctx, d.member.Ready()) {
			return server.Close()
		}
		s.start("control plane", d.runMaster)
		if !s.await(ctx, d.master.Ready()) {
			return server.Close()
		}
		s.start("other masters", func(ctx context.Context) error { return d.peering.run(ctx, d.master) })
		if err := d.planted(); err != nil {
			return errors.Join(err, server.Close())
		}
	}
	s.start("API", server.Run)
	s.start("gossip", mesh)
	s.start("gossip events", func(ctx context.Context) error { return ended(ctx, d.mesh.Follow(ctx, d.heard)) })
	s.start("agent", func(ctx context.Context) error {
		err := d.agent.Run(ctx)
		if err == nil && ctx.Err() == nil {
			<-ctx.Done() // removed from the cluster: the socket goes on telling so
		}
		return err
	})
	s.start("certificate renewal", renewal)
	s.start("watchdog", d.alive)
	d.o.Ready()
	return nil
}

// ended drops the error of a context that was ended on purpose.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// alive tells systemd regularly that the loops turn: it asks them, so that a
// loop that hangs is one that says nothing.
func (d *daemon) alive(ctx context.Context) error {
	tick := time.NewTicker(aliveInterval)
	defer tick.Stop()
	settled := time.NewTimer(settleTime)
	defer settled.Stop()
	told := ""
	for {
		text := d.summary()
		d.o.Alive()
		if text != told {
			d.o.Status(text)
			told = text
		}
		select {
		case <-tick.C:
		case <-settled.C:
			if _, err := releaseCode(); err != nil {
				d.o.Logger.Debug("memory not given back", "error", err)
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// summary is the node's state in a few words.
func (d *daemon) summary() string {
	st := d.agent.Standing()
	text := fmt.Sprintf("%s %s of cluster %s: %s", d.m.Role, d.m.Name, d.m.Cluster, st.Mode)
	if d.master != nil {
		text += fmt.Sprintf(", %d nodes", len(d.master.Nodes()))
	}
	return text
}

// notReady says why the node does not serve fully yet.
func (d *daemon) notReady() []string {
	if st := d.agent.Standing(); st.Mode != agent.ModeOnline {
		return []string{"agent is " + string(st.Mode) + ": " + st.Reason}
	}
	return nil
}
