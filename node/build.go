package node

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"piccolo.io/piccolo/gossip"
	"piccolo.io/piccolo/node/agent"
	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/api/feed"
	"piccolo.io/piccolo/node/master"
	"piccolo.io/piccolo/node/pki"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/podman"
	"piccolo.io/piccolo/readiness"
	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/store/cache"
	"piccolo.io/piccolo/topology"
)

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
	renew := d.up.renew
	if d.ca != nil {
		renew = d.signOwn
	}
	if d.renewer, err = pki.NewRenewer(pki.RenewerOptions{Source: d.source, Clock: d.clock, Renew: renew, Logger: d.o.Logger}); err != nil {
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
		Keyring: d.keyring, Meta: meta, Network: d.o.Network, Logger: d.o.Logger,
	})
	return err
}

func (d *daemon) buildAgent(ctx context.Context) error {
	engine, err := podman.New(podman.Options{
		Socket: d.o.PodmanSocket, Logger: d.o.Logger,
		// A card that stalls for a second is no reason to call Podman down, and
		// each sign of life costs a board about a millisecond.
		Timeouts: podman.Timeouts{Ping: 2 * time.Second, PingEvery: 5 * time.Second},
	})
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
		Version: d.o.Version, MachineID: machineID("/"), Instance: d.instance, DataDir: d.dir.path, Platform: platform(),
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
	var err error
	if d.ca, err = pki.LoadCA(d.dir.path, d.clock); err != nil {
		return err
	}
	if !d.clock.Now().Before(d.source.Current().NotAfter) {
		if err := d.replaceOwn(); err != nil {
			return err
		}
	}
	sealer, err := store.LoadKeyFile(d.dir.join(storeKey))
	if err != nil {
		return err
	}
	d.member, err = store.New(store.Options{
		Name: d.m.ID, Dir: d.dir.join(etcdDir), Sealer: sealer, Logger: d.o.Logger,
		PeerListen: netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(d.m.EtcdPeerPort)).String(), PeerAdvertise: workload.HostPort(d.m.Address, d.m.EtcdPeerPort),
		PeerTLS: store.PeerTLS{CertFile: d.dir.join(pki.NodeCrtFile), KeyFile: d.dir.join(pki.NodeKeyFile), CAFile: d.dir.join(pki.CACrtFile), PeerName: pki.MasterDNSName},
	})
	if err != nil {
		return err
	}
	seed, err := d.seed()
	if err != nil {
		return err
	}
	d.master, err = master.New(master.Options{
		Store: d.member, CA: d.ca, Self: d.m.ID, Prober: d.mesh, Publisher: publisher{d.hub, d.o.Logger, d.clock.Now},
		Keyring: func() workload.Keyring { return wireKeyring(d.keyring) }, CertificateLifetime: d.o.CertificateLifetime,
		Now: d.clock.Now, Logger: d.o.Logger, Seed: seed,
	})
	return err
}

// signOwn makes a new certificate for this master's own key: it holds the CA
// and needs nobody, so that it comes back from a year in a drawer.
func (d *daemon) signOwn(_ context.Context, csr []byte) ([]byte, error) {
	p := pki.NodeProfile{ID: d.m.ID, Role: d.m.Role, DNSNames: []string{d.m.Name}, Lifetime: d.o.CertificateLifetime}
	if addr, err := netip.ParseAddr(d.m.Address); err == nil {
		p.IPs = append(p.IPs, addr)
	}
	issued, err := d.ca.SignNode(csr, p)
	return issued.ChainPEM, err
}

func (d *daemon) replaceOwn() error {
	csr, err := d.ident.CSR()
	if err != nil {
		return err
	}
	chain, err := d.signOwn(context.Background(), csr)
	if err != nil {
		return err
	}
	return d.source.Replace(chain)
}

func (d *daemon) buildService() error {
	s := &self{m: d.m, agent: d.agent, source: d.source, up: d.up, version: d.o.Version, started: d.started, forget: d.dir.forget, quit: func() { d.stages.end(errLeft) }}
	o := api.Options{Self: s, Fingerprint: d.m.Fingerprint, Now: d.clock.Now, Logger: d.o.Logger}
	if d.master != nil {
		o.Knowledge, o.Figures, o.Administration, o.Tokens = d.master, d.master, d.master, d.master
		o.Enrolment, o.Sessions = d.master, d.master
		o.MasterAddress = workload.HostPort(d.m.Address, d.m.APIPort)
	} else {
		h := &hearsay{m: d.m, agent: d.agent, now: d.clock.Now}
		o.Knowledge, o.Figures = h, h
	}
	var err error
	d.service, err = api.New(o)
	return err
}
