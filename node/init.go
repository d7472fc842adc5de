package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"piccolo.io/piccolo/gossip"
	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/node/master"
	"piccolo.io/piccolo/node/pki"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/readiness"
	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/topology"
)

// DefaultCluster is the name of a cluster that nobody named.
const DefaultCluster = "piccolo"

// Init makes a new cluster with this machine as its master: everything that
// Run needs is written to the data directory, and nothing is started. It
// fails with ErrMember or ErrLocked, and what did not reach its end leaves a
// machine that belongs to nothing.
func Init(ctx context.Context, o InitOptions) (InitResult, error) {
	res, err := initialize(ctx, o)
	if err != nil {
		return InitResult{}, fmt.Errorf("make cluster: %w", err)
	}
	return res, nil
}

func initialize(ctx context.Context, o InitOptions) (_ InitResult, err error) {
	m, err := o.membership()
	if err != nil {
		return InitResult{}, err
	}
	o.Options = o.withDefaults()
	if err := foreign(o.DataDir); err != nil {
		return InitResult{}, err
	}
	dir, created, err := takeDataDir(ctx, o.DataDir)
	if err != nil {
		return InitResult{}, err
	}
	defer func() {
		err = errors.Join(err, dir.close())
		if err != nil && created {
			err = errors.Join(err, os.RemoveAll(dir.path))
		}
	}()
	if err := dir.fresh(); err != nil {
		return InitResult{}, err
	}
	report, err := joinGate(ctx, o.Options, m, readiness.Options{})
	if err != nil {
		return InitResult{}, err
	}
	// What an init or a join left behind that did not reach its end.
	if err := dir.clear(); err != nil {
		return InitResult{}, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, dir.clear())
		}
	}()
	res, err := found(ctx, dir, o, m)
	res.Warnings = append(warnings(report), notOurs(o.Advertise)...)
	return res, err
}

// membership checks what was asked for and finds out what was not.
func (o InitOptions) membership() (Membership, error) {
	if err := o.Validate(); err != nil {
		return Membership{}, err
	}
	o.Options = o.withDefaults()
	m := Membership{
		Name: o.Name, Role: topology.RoleMaster, Cluster: o.Cluster,
		APIPort: o.APIPort, GossipPort: o.GossipPort, EtcdPeerPort: o.EtcdPeerPort,
		Address: o.Advertise.Addr().String(), Fixed: o.Advertise.IsValid(),
	}
	var err error
	if m.Name == "" {
		if m.Name, err = hostName(); err != nil {
			return m, err
		}
	}
	if m.Cluster == "" {
		m.Cluster = DefaultCluster
	}
	for what, name := range map[string]string{"node": m.Name, "cluster": m.Cluster} {
		if err := topology.ValidateName(name); err != nil {
			return m, invalid{fmt.Errorf("%s: %w", what, err)}
		}
	}
	if err := topology.ValidateLabels(o.Labels); err != nil {
		return m, invalid{err}
	}
	if !m.Fixed {
		addr, err := firstAddress()
		if err != nil {
			return m, err
		}
		m.Address = addr.String()
	}
	if p := o.Advertise.Port(); p != 0 {
		m.APIPort = int(p)
	}
	m.Masters = []string{workload.HostPort(m.Address, m.APIPort)}
	return m, nil
}

// notOurs warns of an address to be advertised that this machine does not
// have. It is no error: a router may pass it on.
func notOurs(advertise netip.AddrPort) []string {
	if !advertise.IsValid() {
		return nil
	}
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(advertise.Addr(), 0)))
	if err == nil {
		err = conn.Close()
	}
	if !errors.Is(err, syscall.EADDRNOTAVAIL) {
		return nil
	}
	return []string{fmt.Sprintf("no interface of this machine has the address %s: other nodes reach it there only if a router passes it on (see: ip address)", advertise.Addr())}
}

// found writes the cluster's beginning.
func found(ctx context.Context, dir *dataDir, o InitOptions, m Membership) (InitResult, error) {
	clock, err := pki.NewClock(pki.ClockOptions{Build: o.BuildTime, Path: dir.join(clockFile)})
	if err != nil {
		return InitResult{}, err
	}
	ca, err := pki.NewCA(m.Cluster, clock)
	if err != nil {
		return InitResult{}, err
	}
	if err := ca.Save(dir.path); err != nil {
		return InitResult{}, err
	}
	m.Fingerprint, m.ClusterID = ca.Fingerprint(), "c-"+ca.Fingerprint()[:12]
	if m.ID, err = ownCertificate(dir, ca, m, o.CertificateLifetime); err != nil {
		return InitResult{}, err
	}
	if err := store.CreateKeyFile(dir.join(storeKey)); err != nil {
		return InitResult{}, err
	}
	keyring := gossip.Keyring{Primary: gossip.NewKey()}
	if err := dir.write(gossipFile, keyring.Encode()); err != nil {
		return InitResult{}, err
	}
	join, seed, err := o.seed(ctx, dir, m, clock.Now())
	if err != nil {
		return InitResult{}, err
	}
	seed.Keyring = wireKeyring(keyring)
	if err := dir.writeJSON(seedFile, seed); err != nil {
		return InitResult{}, err
	}
	if err := errors.Join(clock.Save(), dir.keep(m)); err != nil {
		return InitResult{}, err
	}
	return InitResult{
		NodeID: m.ID, Name: m.Name, Cluster: m.Cluster, ClusterID: m.ClusterID, API: m.Masters[0], Fingerprint: m.Fingerprint,
		JoinToken: join.Reveal(), JoinCommand: "piccolo join " + m.Masters[0] + " --token " + join.Reveal(),
		AdminToken: dir.join(AdminTokenName),
	}, nil
}

// ownCertificate makes the first master's key and signs its certificate.
func ownCertificate(dir *dataDir, ca *pki.CA, m Membership, lifetime time.Duration) (string, error) {
	identity, err := pki.CreateKey(dir.path)
	if err != nil {
		return "", err
	}
	csr, err := identity.CSR()
	if err != nil {
		return "", err
	}
	addr, err := netip.ParseAddr(m.Address)
	if err != nil {
		return "", fmt.Errorf("address %q: %w", m.Address, err)
	}
	issued, err := ca.SignNode(csr, pki.NodeProfile{
		ID: identity.ID(), Role: m.Role, IPs: []netip.Addr{addr}, DNSNames: []string{m.Name}, Lifetime: lifetime,
	})
	if err != nil {
		return "", err
	}
	return identity.ID(), identity.SaveCertificate(issued.ChainPEM, ca.PEM())
}

// seed draws the first tokens and collects what the store begins with. The
// administrator's token goes into its file, the join token to the caller, and
// only their hashes into the seed.
func (o InitOptions) seed(ctx context.Context, dir *dataDir, m Membership, now time.Time) (auth.Token, master.Seed, error) {
	admin, user, err := auth.NewAPIToken(auth.APIOptions{Fingerprint: m.Fingerprint, Now: now, Description: "made by init"})
	if err != nil {
		return auth.Token{}, master.Seed{}, err
	}
	join, record, err := auth.NewJoinToken(auth.JoinOptions{Fingerprint: m.Fingerprint, Now: now, Description: "made by init"})
	if err != nil {
		return auth.Token{}, master.Seed{}, err
	}
	labels := map[string]string{}
	for k, v := range o.Labels {
		labels[k] = v
	}
	n := topology.Node{
		ID: m.ID, Name: m.Name, IP: m.Address, Role: m.Role, CreatedAt: now, Labels: labels, Version: o.Version,
		Platform: platform(), GossipPort: m.GossipPort, APIPort: m.APIPort, MachineID: machineID("/"),
	}
	for _, signal := range []topology.Signal{topology.SignalRequested, topology.SignalApproved} {
		if n, err = topology.Apply(n, signal, nil, now); err != nil {
			return auth.Token{}, master.Seed{}, err
		}
	}
	return join, master.Seed{
		Cluster: topology.ClusterTopology{ID: m.ClusterID, Name: m.Cluster, Type: topology.TypeBasic, Config: topology.DefaultConfig()},
		Node:    n, AdminUser: user, JoinToken: record,
	}, dir.write(AdminTokenName, []byte(admin.Reveal()+"\n"))
}

// newInstance is random for every run of the daemon.
func newInstance() string { return rand.Text()[:16] }
