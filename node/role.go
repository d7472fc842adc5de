package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/cenkalti/backoff/v5"

	"piccolo.io/piccolo/node/api/client"
	"piccolo.io/piccolo/node/pki"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/topology"
)

// errRoleChanged ends the parts of a node so that it starts anew in another
// role.
var errRoleChanged = errors.New("the role of this node has changed")

// runStore runs this master's member of the store. One that the others have
// removed goes on as a sub: they tell it then whether it is that, or nothing at
// all.
func (d *daemon) runStore(ctx context.Context) error {
	err := d.member.Run(ctx)
	if !errors.Is(err, store.ErrRemoved) {
		return d.broken(err)
	}
	d.o.Logger.Warn("this node is a master no more", "reason", err)
	d.wantRole(topology.RoleSub)
	<-ctx.Done()
	return nil
}

// runMaster runs the control plane. What the end of the store does to it is the
// store's to tell.
func (d *daemon) runMaster(ctx context.Context) error {
	err := d.master.Run(ctx)
	if errors.Is(err, store.ErrClosed) {
		<-ctx.Done()
		return nil
	}
	return err
}

// wantRole asks for another role; one that is on its way is not disturbed.
func (d *daemon) wantRole(role topology.Role) {
	select {
	case d.role <- role:
	default:
	}
}

// changeRole waits until the plan asks for another role, and takes it.
func (d *daemon) changeRole(ctx context.Context) error {
	var role topology.Role
	select {
	case role = <-d.role:
	case <-ctx.Done():
		return nil
	}
	d.o.Logger.Info("this node takes another role", "role", role)
	wait := &backoff.ExponentialBackOff{InitialInterval: 200 * time.Millisecond, RandomizationFactor: 0.5, Multiplier: 1.5, MaxInterval: 10 * time.Second}
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := d.takeRole(ctx, role)
		if err != nil && ctx.Err() == nil {
			d.o.Logger.Warn("the role is not taken yet, trying again", "role", role, "error", err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(wait), backoff.WithMaxElapsedTime(0))
	if err != nil {
		return nil // ctx has ended; the next start finds the plan again
	}
	return errRoleChanged
}

func (d *daemon) takeRole(ctx context.Context, role topology.Role) error {
	ctx, cancel := context.WithTimeout(ctx, seatPatience)
	defer cancel()
	m := d.m
	m.Role, m.Peers = role, nil
	m.Masters = nil
	for _, n := range d.agent.View().Nodes {
		if n.Role == topology.RoleMaster && n.ID != m.ID && n.APIPort > 0 {
			m.Masters = append(m.Masters, workload.HostPort(n.IP, n.APIPort))
		}
	}
	var err error
	if role == topology.RoleMaster {
		err = d.promoted(ctx, &m)
	} else {
		err = d.demoted(&m)
	}
	if err != nil {
		return err
	}
	return d.dir.keep(m)
}

// promoted gets what a master needs: its certificate, the masters' secrets,
// and a seat in the store.
func (d *daemon) promoted(ctx context.Context, m *Membership) error {
	link := d.up.current.Load()
	if link == nil {
		return errors.New("no master is reached at the moment")
	}
	if !m.Fixed {
		m.Address = link.Own
	}
	m.APIPort, m.EtcdPeerPort = d.o.APIPort, d.o.EtcdPeerPort
	csr, err := d.ident.CSR()
	if err != nil {
		return err
	}
	chain, err := d.up.renew(ctx, csr)
	if err != nil {
		return err
	}
	if err := d.source.Replace(chain); err != nil {
		return err
	}
	if peer, err := pki.CertificatePeer(d.source.Current()); err != nil || peer.Role != topology.RoleMaster {
		return fmt.Errorf("the new certificate does not name this node a master: %w", errors.Join(err, topology.ErrTransition))
	}
	m.Peers, err = sitDown(ctx, d.dir, d.source, d.clock, m.Masters, workload.HostPort(m.Address, m.EtcdPeerPort))
	return err
}

// demoted gives itself the certificate of a sub, while it still can.
func (d *daemon) demoted(m *Membership) error {
	if len(m.Masters) == 0 {
		return errors.New("no other master is known")
	}
	m.APIPort, m.EtcdPeerPort = 0, 0
	csr, err := d.ident.CSR()
	if err != nil {
		return err
	}
	issued, err := d.ca.SignNode(csr, pki.NodeProfile{ID: m.ID, Role: topology.RoleSub, Lifetime: d.o.CertificateLifetime})
	if err != nil {
		return err
	}
	return d.source.Replace(issued.ChainPEM)
}

// dropSecrets removes what only a master may hold. A sub does so at each
// start, so that a power cut in the middle of its demotion leaves nothing.
func (d *dataDir) dropSecrets() error {
	for _, name := range []string{pki.CAKeyFile, storeKey, seedFile, etcdDir, AdminTokenName} {
		if err := os.RemoveAll(d.join(name)); err != nil {
			return fmt.Errorf("remove what only masters hold: %w", err)
		}
	}
	return nil
}

// sitDown fetches what every master holds and takes a seat in the store, with a
// certificate that names this node a master. It returns the peer addresses of
// the other masters.
func sitDown(ctx context.Context, dir *dataDir, source *pki.Source, clock *pki.Clock, masters []string, own string) ([]string, error) {
	if _, err := netip.ParseAddrPort(own); err != nil {
		return nil, fmt.Errorf("own address of the store: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, seatPatience)
	defer cancel()
	secrets, err := askMasters(ctx, source, clock, masters, func(ctx context.Context, m *client.Agent) (workload.Secrets, error) {
		return m.FetchSecrets(ctx)
	})
	if err != nil {
		return nil, fmt.Errorf("fetch the masters' secrets: %w", err)
	}
	if err := errors.Join(dir.write(pki.CAKeyFile, secrets.CAKey), dir.write(storeKey, secrets.StoreKey)); err != nil {
		return nil, err
	}
	if _, err := pki.LoadCA(dir.path, clock); err != nil {
		return nil, err
	}
	peers, err := askMasters(ctx, source, clock, masters, func(ctx context.Context, m *client.Agent) ([]string, error) {
		return m.TakeSeat(ctx, own)
	})
	if err != nil {
		return nil, fmt.Errorf("take a seat in the store: %w", err)
	}
	return peers, nil
}
