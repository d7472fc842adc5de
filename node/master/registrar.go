package master

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/node/pki"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/topology"
)

// approvalRetry is how soon a pending node should ask again.
const approvalRetry = 2 * time.Second

// Register lets a node in. A node is its key: a key that the cluster knows
// gets a new certificate without a token (a board that was off until its
// certificate ran out), a key that was removed is refused, and a new key
// needs a valid join token.
func (m *Master) Register(ctx context.Context, r workload.Registration) (workload.Admission, error) {
	if err := validRegistration(r); err != nil {
		return workload.Admission{}, fmt.Errorf("register node %q: %w", clip(r.Name), err)
	}
	m.registering.Lock()
	defer m.registering.Unlock()
	if gone, err := m.revoked.Get(ctx, r.NodeID); err == nil {
		return workload.Admission{}, gone.Value.refusal()
	} else if !errors.Is(err, store.ErrNotFound) {
		return workload.Admission{}, err
	}
	known, err := m.nodes.collection.Get(ctx, r.NodeID)
	switch {
	case err == nil && known.Value.Status == topology.StatusTerminating:
		return workload.Admission{}, fmt.Errorf("%w: %s is being removed", topology.ErrRemoved, known.Value.Name)
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

// validRegistration checks everything that does not need the store.
func validRegistration(r workload.Registration) error {
	invalid := func(err error) error { return fmt.Errorf("%w: %w", topology.ErrInvalid, err) }
	if err := topology.ValidateName(r.Name); err != nil {
		return invalid(err)
	}
	if err := topology.ValidateLabels(r.Labels); err != nil {
		return invalid(err)
	}
	if !r.Role.Valid() {
		return invalid(fmt.Errorf("role %q is not valid: use sub or master", clip(string(r.Role))))
	}
	if addr, err := netip.ParseAddr(r.IP); err != nil || addr.IsUnspecified() {
		return invalid(fmt.Errorf("ip_address %q is not an address at which the node can be reached", clip(r.IP)))
	}
	id, err := pki.ParseCSR(r.CSR)
	if err != nil {
		return invalid(fmt.Errorf("credentials.csr: %w", err))
	}
	if id != r.NodeID {
		return invalid(fmt.Errorf("node_id %q is not the id of the key in credentials.csr (%s)", clip(r.NodeID), id))
	}
	return nil
}

// create makes the record of a new node: requested, and where a token is
// enough approved in the same write.
func (m *Master) create(ctx context.Context, r workload.Registration) (topology.Node, error) {
	if err := m.checkToken(ctx, r); err != nil {
		return topology.Node{}, err
	}
	if r.Role == topology.RoleMaster {
		return topology.Node{}, fmt.Errorf("%w: this version has one master, the node that made the cluster: join as a sub", topology.ErrInvalid)
	}
	for _, other := range m.nodes.all() {
		if other.Value.Name == r.Name {
			return topology.Node{}, fmt.Errorf("%w: the name %q belongs to another node (%s, %s): choose one with --name", store.ErrExists, r.Name, other.Key, other.Value.IP)
		}
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
	if m.Topology().Config.Approval != topology.ApprovalManual {
		signals = append(signals, topology.SignalApproved)
	}
	for _, s := range signals {
		var err error
		if n, err = topology.Apply(n, s, nil, now); err != nil {
			return n, err
		}
	}
	revision, err := m.nodes.collection.Create(ctx, n.ID, n)
	if err != nil {
		return n, err
	}
	return n, m.nodes.wait(ctx, revision)
}

// checkToken verifies the join token.
func (m *Master) checkToken(ctx context.Context, r workload.Registration) error {
	if r.Token == "" {
		return fmt.Errorf("%w: this key is not known here and there is no join token: `piccolo token create` on a master makes one", auth.ErrUnauthenticated)
	}
	token, err := auth.ParseJoinToken(r.Token)
	if err != nil {
		return fmt.Errorf("%w: %w", auth.ErrDenied, err)
	}
	record, err := m.tokens.Get(ctx, token.ID)
	if err != nil {
		if errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("%w: join token %s is not known here: it was deleted, or it belongs to another cluster", auth.ErrDenied, token.ID)
		}
		return err
	}
	return record.Value.Check(token, r.Role, m.o.Now())
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
	a.CA, a.Keyring, a.View = m.o.CA.PEM(), m.o.Keyring(), m.view()
	return a, nil
}

// sign makes a certificate for the key in csr, which must be the node's own.
func (m *Master) sign(n topology.Node, csr []byte, ip string) ([]byte, error) {
	p := pki.NodeProfile{ID: n.ID, Role: n.Role, DNSNames: []string{n.Name}, Lifetime: m.o.CertificateLifetime}
	if addr, err := netip.ParseAddr(ip); err == nil {
		p.IPs = append(p.IPs, addr)
	}
	issued, err := m.o.CA.SignNode(csr, p)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", topology.ErrInvalid, err)
	}
	return issued.ChainPEM, nil
}

// Renew signs a new certificate for a node's own key.
func (m *Master) Renew(ctx context.Context, id string, csr []byte) (certificate, ca []byte, err error) {
	n, err := m.member(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	certificate, err = m.sign(n, csr, n.IP)
	return certificate, m.o.CA.PEM(), err
}

// Leave takes a node out at its own wish.
func (m *Master) Leave(ctx context.Context, id string) error {
	n, err := m.member(ctx, id)
	if err != nil {
		return err
	}
	if n.Role == topology.RoleMaster {
		return fmt.Errorf("node %s leaves: %w: it is the only master and holds the cluster's data; `piccolo reset` on it ends the cluster", n.Name, store.ErrConflict)
	}
	n, err = m.changeNode(ctx, id, func(n *topology.Node) error { return m.transition(n, topology.SignalRemove, n.Reasons) })
	if err != nil {
		return err
	}
	if _, _, err := m.revoked.Put(ctx, id, revocation{Name: n.Name, At: m.o.Now(), By: "itself", Why: "removed"}); err != nil {
		return err
	}
	return m.release(ctx, id)
}

// clip keeps an error readable when the input is huge.
func clip(s string) string {
	if len(s) <= 80 {
		return s
	}
	return strings.ToValidUTF8(s[:80], "") + "…"
}
