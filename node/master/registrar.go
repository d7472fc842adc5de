package master

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/node/pki"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/topology"
)

// approvalRetry is how soon a pending node should ask again.
const approvalRetry = 2 * time.Second

// maxNodes of a cluster that are not on their way out: several times what
// Piccolo is made for.
const maxNodes = 64

// Register lets a node in. A node is its key: a key that the cluster knows
// gets a new certificate without a token (a board that was off until its
// certificate ran out), a key that was removed is refused, and a new key
// needs a valid join token. proven is the id whose key the sender has proven to
// hold on its connection: a request for a certificate can be copied, the key
// cannot.
func (m *Master) Register(ctx context.Context, proven string, r workload.Registration) (workload.Admission, error) {
	if err := validRegistration(r); err != nil {
		return workload.Admission{}, fmt.Errorf("register node %q: %w", clip(r.Name), err)
	}
	select {
	case m.sessions.registering <- struct{}{}:
		defer func() { <-m.sessions.registering }()
	case <-ctx.Done():
		return workload.Admission{}, fmt.Errorf("register node %s: %w", r.Name, ctx.Err())
	}
	if gone, err := m.revoked.Get(ctx, r.NodeID); err == nil {
		return workload.Admission{}, gone.Value.refusal()
	} else if !errors.Is(err, store.ErrNotFound) {
		return workload.Admission{}, err
	}
	known, err := m.nodes.collection.Get(ctx, r.NodeID)
	switch {
	case err == nil && known.Value.Status == topology.StatusTerminating:
		return workload.Admission{}, fmt.Errorf("%w: %s is being removed", topology.ErrRemoved, known.Value.Name)
	case err == nil && proven != r.NodeID:
		return workload.Admission{}, fmt.Errorf("register node %s: %w: this key is known here as %s, and the request does not prove that its sender holds it", r.Name, auth.ErrDenied, known.Value.Name)
	case err == nil:
		return m.admission(ctx, known.Value, r)
	case !errors.Is(err, store.ErrNotFound):
		return workload.Admission{}, err
	}
	n, err := m.create(ctx, r)
	if err != nil {
		return workload.Admission{}, fmt.Errorf("register node %s: %w", r.Name, err)
	}
	return m.admission(ctx, n, r)
}

// create makes the record of a new node: requested, and where a token is
// enough approved in the same write. The token's use is counted with it.
func (m *Master) create(ctx context.Context, r workload.Registration) (topology.Node, error) {
	token, err := m.checkToken(ctx, r)
	if err != nil {
		return topology.Node{}, err
	}
	count := 0
	for _, other := range m.nodes.all() {
		if other.Value.Status != topology.StatusTerminating {
			count++
		}
		if other.Value.Name == r.Name {
			return topology.Node{}, fmt.Errorf("%w: the name %q belongs to another node (%s, %s): choose one with --name", store.ErrExists, r.Name, other.Key, other.Value.IP)
		}
	}
	if count >= maxNodes {
		return topology.Node{}, fmt.Errorf("%w: it has %d nodes, which is the most: `piccolo node rm` makes place", topology.ErrClusterFull, count)
	}
	c, ok := m.cluster.get(clusterKey)
	if !ok {
		return topology.Node{}, errNoCluster
	}
	now := m.o.Now()
	labels := map[string]string{}
	for k, v := range r.Labels {
		labels[k] = v
	}
	n := topology.Node{
		ID: r.NodeID, Name: r.Name, IP: r.IP, Role: r.Role, Resources: r.Resources, CreatedAt: now, Labels: labels,
		Version: r.Version, Platform: r.Platform, GossipPort: r.GossipPort, APIPort: r.APIPort, MachineID: r.MachineID,
	}
	signals := []topology.Signal{topology.SignalRequested}
	if c.Value.Config.Approval != topology.ApprovalManual {
		signals = append(signals, topology.SignalApproved)
	}
	for _, s := range signals {
		var err error
		if n, err = topology.Apply(n, s, nil, now); err != nil {
			return n, err
		}
	}
	used := token.Value
	used.Uses++
	revision, err := m.o.Store.Commit(ctx, m.revoked.OpCheck(n.ID, 0), m.nodes.collection.OpCreate(n.ID, n), m.tokens.OpUpdate(token.Key, token.Revision, used))
	if err != nil {
		return n, err
	}
	return n, m.nodes.wait(ctx, revision)
}

// checkToken verifies the join token and returns its record.
func (m *Master) checkToken(ctx context.Context, r workload.Registration) (store.Record[auth.JoinRecord], error) {
	none := store.Record[auth.JoinRecord]{}
	if r.Token == "" {
		return none, fmt.Errorf("%w: this key is not known here and there is no join token: `piccolo token create` on a master makes one", auth.ErrUnauthenticated)
	}
	token, err := auth.ParseJoinToken(r.Token)
	if err != nil {
		return none, fmt.Errorf("%w: %w", auth.ErrDenied, err)
	}
	record, err := m.tokens.Get(ctx, token.ID)
	if err != nil {
		if errors.Is(err, store.ErrNotFound) {
			return none, fmt.Errorf("%w: join token %s is not known here: it was deleted, or it belongs to another cluster", auth.ErrDenied, token.ID)
		}
		return none, err
	}
	return record, record.Value.Check(token, r.Role, m.o.Now())
}

// admission is the answer to a known node.
func (m *Master) admission(ctx context.Context, n topology.Node, r workload.Registration) (workload.Admission, error) {
	a := workload.Admission{NodeID: n.ID, Name: n.Name, Status: n.Status, MasterTime: m.o.Now()}
	if n.Status == topology.StatusPending {
		a.RetryAfter = approvalRetry
		return a, nil
	}
	if n.Role != r.Role {
		return a, fmt.Errorf("register node %s: %w: it is a %s here, not a %s", n.Name, store.ErrConflict, n.Role, r.Role)
	}
	var err error
	if a.Certificate, err = m.sign(n, r.CSR, r.IP); err != nil {
		return a, err
	}
	if a.Plan, err = m.ensurePlan(ctx, n); err != nil {
		return a, err
	}
	a.CA, a.Keyring, a.View = m.o.CA.PEM(), m.keyring(), m.view()
	return a, nil
}

// sign makes a certificate for the key in csr, which must be the node's own.
func (m *Master) sign(n topology.Node, csr []byte, ip string) ([]byte, error) {
	p := pki.NodeProfile{ID: n.ID, Role: n.Role, Lifetime: m.o.CertificateLifetime}
	// A sub serves nobody, and its name and address are its own word: they
	// would make it a server of that name for browsers and curl.
	if addr, err := netip.ParseAddr(ip); err == nil && n.Role == topology.RoleMaster {
		p.IPs, p.DNSNames = append(p.IPs, addr), []string{n.Name}
	}
	issued, err := m.o.CA.SignNode(csr, p)
	switch {
	case errors.Is(err, pki.ErrBadCSR), errors.Is(err, pki.ErrWrongKey):
		return nil, fmt.Errorf("%w: %w", topology.ErrInvalid, err)
	case err != nil:
		return nil, err
	}
	return issued.ChainPEM, nil
}

// Renew signs a new certificate for a node's own key, over the connection of
// its session.
func (m *Master) Renew(ctx context.Context, connection, id string, csr []byte) (certificate, ca []byte, err error) {
	n, _, err := m.attendee(ctx, connection, id)
	if err != nil {
		return nil, nil, err
	}
	if len(csr) > maxCSR {
		return nil, nil, fmt.Errorf("renew certificate of node %s: %w", n.Name, invalid("the request has %d bytes, at most %d are allowed", len(csr), maxCSR))
	}
	if m.live.paces.of(id).renewals.take(time.Now(), 1) > 0 { // each one may write to this master's card
		return nil, nil, fmt.Errorf("renew certificate of node %s: %w", n.Name, topology.ErrTooOften)
	}
	certificate, err = m.sign(n, csr, n.IP)
	return certificate, m.o.CA.PEM(), err
}

// Leave takes a node out at its own wish, over the connection of its session.
func (m *Master) Leave(ctx context.Context, connection, id string) error {
	if _, _, err := m.attendee(ctx, connection, id); err != nil {
		return err
	}
	if _, _, err := m.expel(ctx, id, topology.SignalRemove, "itself"); err != nil {
		return err
	}
	return m.release(ctx, id)
}
