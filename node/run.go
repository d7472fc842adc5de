package node

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
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
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/podman"
	"piccolo.io/piccolo/readiness"
	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/store/cache"
	"piccolo.io/piccolo/topology"
)

// aliveInterval between two signs that the daemon's own loops turn. systemd's
// watchdog must allow several of them.
const aliveInterval = 2 * time.Second

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
	m, err := dir.membership()
	if err != nil {
		return fmt.Errorf("run node: %w", err)
	}
	d := &daemon{o: o, dir: dir, m: m, stages: newStages(), started: time.Now(), instance: newInstance()}
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
	keyring  gossip.Keyring

	ident   *pki.Identity
	clock   *pki.Clock
	source  *pki.Source
	renewer *pki.Renewer
	up      *uplinks
	hub     *feed.Hub
	mesh    *gossip.Mesh
	agent   *agent.Agent
	member  *store.Member
	master  *master.Master
	service *api.Service
}

// build makes every part and starts none.
func (d *daemon) build(ctx context.Context) error {
	var err error
	if d.clock, err = pki.NewClock(pki.ClockOptions{Build: d.o.BuildTime, Path: d.dir.join(clockFile)}); err != nil {
		return err
	}
	if d.ident, err = pki.LoadIdentity(d.dir.path); err != nil {
		return err
	}
	if d.source, err = pki.NewSource(d.ident, d.clock); err != nil {
		return err
	}
	if d.keyring, err = gossip.LoadKeyring(d.dir.join(gossipFile)); err != nil {
		return err
	}
	if d.hub, err = feed.New(feed.Options{Logger: d.o.Logger}); err != nil {
		return err
	}
	if err := d.buildMesh(); err != nil {
		return err
	}
	d.up = &uplinks{m: d.m, source: d.source, ident: d.ident, clock: d.clock, logger: d.o.Logger, ver: d.o.Version}
	if err := d.buildAgent(ctx); err != nil {
		return err
	}
	if d.m.Role == topology.RoleMaster {
		if err := d.buildMaster(); err != nil {
			return err
		}
	}
	if d.renewer, err = pki.NewRenewer(pki.RenewerOptions{Source: d.source, Clock: d.clock, Renew: d.up.renew, Logger: d.o.Logger}); err != nil {
		return err
	}
	return d.buildService()
}

func (d *daemon) buildMesh() error {
	advertise, err := netip.ParseAddr(d.m.Address)
	if err != nil {
		return fmt.Errorf("address %q in %s: %w", d.m.Address, memberFile, err)
	}
	if !d.m.Fixed && len(d.m.Masters) > 0 && d.m.Role == topology.RoleSub {
		if now, err := ownAddress(d.m.Masters[0]); err == nil {
			advertise = now
		}
	}
	meta := gossip.Meta{Role: string(d.m.Role), Version: d.o.Version, Instance: d.instance}
	if d.m.APIPort != 0 {
		meta.API = netip.AddrPortFrom(advertise, uint16(d.m.APIPort))
	}
	port := uint16(d.m.GossipPort)
	d.mesh, err = gossip.New(gossip.Options{
		ID: d.m.ID, Bind: anyAddress(port), Advertise: netip.AddrPortFrom(advertise, port),
		Keyring: d.keyring, Meta: meta, Logger: d.o.Logger,
	})
	return err
}

func (d *daemon) buildAgent(ctx context.Context) error {
	engine, err := podman.New(podman.Options{Socket: d.o.PodmanSocket, Logger: d.o.Logger})
	if err != nil {
		return err
	}
	checker, err := newChecker(d.o, d.m, readiness.Options{})
	if err != nil {
		return err
	}
	kept, err := cache.New(cache.Options{Dir: d.dir.join(cacheDir)})
	if err != nil {
		return err
	}
	identity := agent.Identity{
		ID: d.m.ID, Name: d.m.Name, Role: d.m.Role, ClusterID: d.m.ClusterID, GossipPort: d.m.GossipPort, APIPort: d.m.APIPort,
		Version: d.o.Version, MachineID: machineID("/"), Instance: d.instance, DataDir: d.dir.path, Platform: platform(ctx),
	}
	masters := d.m.Masters
	if d.m.Fixed || d.m.Role == topology.RoleMaster {
		identity.Advertise = d.m.Address
	}
	if d.m.Role == topology.RoleMaster {
		// A master's own agent needs no network to reach it.
		masters = []string{workload.HostPort("127.0.0.1", d.m.APIPort)}
	}
	d.agent, err = agent.New(agent.Options{
		Identity: identity, Masters: masters, Connect: d.up.connect, Podman: engine, Checker: checker, Cache: kept,
		Apply: d.apply, OnView: d.see, OnKeyring: d.rekey, OnRemoved: d.removed, OnContainers: d.publishContainers,
		ObserveTime: d.observeTime, Now: d.clock.Now, Logger: d.o.Logger,
	})
	return err
}

func (d *daemon) buildMaster() error {
	ca, err := pki.LoadCA(d.dir.path, d.clock)
	if err != nil {
		return err
	}
	sealer, err := store.LoadKeyFile(d.dir.join(storeKey))
	if err != nil {
		return err
	}
	d.member, err = store.New(store.Options{
		Name: d.m.ID, Dir: d.dir.join(etcdDir), Sealer: sealer, Logger: d.o.Logger,
		PeerListen: netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(d.m.EtcdPeerPort)).String(), PeerAdvertise: workload.HostPort(d.m.Address, d.m.EtcdPeerPort),
		PeerTLS: store.PeerTLS{CertFile: d.dir.join(pki.NodeCrtFile), KeyFile: d.dir.join(pki.NodeKeyFile), CAFile: d.dir.join(pki.CACrtFile)},
	})
	if err != nil {
		return err
	}
	seed, err := d.seed()
	if err != nil {
		return err
	}
	d.master, err = master.New(master.Options{
		Store: d.member, CA: ca, Self: d.m.ID, Prober: d.mesh, Publisher: publisher{d.hub, d.o.Logger, d.clock.Now},
		Keyring: func() workload.Keyring { return wireKeyring(d.keyring) }, CertificateLifetime: d.o.CertificateLifetime,
		Now: d.clock.Now, Logger: d.o.Logger, Seed: seed,
	})
	return err
}

func (d *daemon) buildService() error {
	s := &self{m: d.m, agent: d.agent, source: d.source, up: d.up, version: d.o.Version, started: d.started, quit: func() { d.stages.end(errLeft) }}
	o := api.Options{Self: s, Fingerprint: d.m.Fingerprint, Now: d.clock.Now, Logger: d.o.Logger}
	if d.master != nil {
		o.Knowledge, o.Figures, o.Administration, o.Tokens = d.master, d.master, d.master, d.master
		o.Enrolment, o.Sessions = d.master, d.master
		o.MasterAddress = workload.HostPort(d.m.Address, d.m.APIPort)
	} else {
		h := &hearsay{m: d.m, agent: d.agent}
		o.Knowledge, o.Figures = h, h
	}
	var err error
	d.service, err = api.New(o)
	return err
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
	d.o.Status("starting")
	if d.master != nil {
		s.start("store", d.member.Run)
		if !s.await(ctx, d.member.Ready()) {
			return server.Close()
		}
		s.start("control plane", d.master.Run)
		if !s.await(ctx, d.master.Ready()) {
			return server.Close()
		}
		if err := d.planted(); err != nil {
			return errors.Join(err, server.Close())
		}
	}
	s.start("API", server.Run)
	s.start("gossip", d.mesh.Run)
	s.start("gossip events", func(ctx context.Context) error { return ended(ctx, d.mesh.Follow(ctx, d.heard)) })
	s.start("agent", func(ctx context.Context) error {
		err := d.agent.Run(ctx)
		if err == nil && ctx.Err() == nil {
			<-ctx.Done() // removed from the cluster: the socket goes on telling so
		}
		return err
	})
	s.start("certificate renewal", d.renewer.Run)
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
