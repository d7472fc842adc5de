package master

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/node/pki"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/topology"
)

func leaf(t testing.TB, chain []byte) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(chain)
	if block == nil {
		t.Fatalf("%q is no certificate", chain)
	}
	return must[*x509.Certificate](t)(x509.ParseCertificate(block.Bytes))
}

func TestRegister(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	b := newBoard(t, c, "kitchen")
	r := b.registration(c.token(auth.JoinOptions{}))
	r.Labels = map[string]string{"zone": "home"}
	a := must[workload.Admission](t)(c.Register(t.Context(), r.NodeID, r))
	if a.NodeID != b.id || a.Name != "kitchen" || a.Status != topology.StatusInitializing || a.MasterTime.IsZero() {
		t.Errorf("admission: %+v", a)
	}
	peer := must[pki.Peer](t)(pki.CertificatePeer(leaf(t, a.Certificate)))
	if peer.ID != b.id || peer.Role != topology.RoleSub || peer.Cluster != "home" {
		t.Errorf("the certificate is of %+v", peer)
	}
	if string(a.CA) != string(c.ca.PEM()) || len(a.Keyring.Keys) != 1 {
		t.Error("the CA or the gossip keys are missing")
	}
	if err := a.Plan.Validate(b.id); err != nil || a.Plan.Labels["zone"] != "home" {
		t.Errorf("plan %+v: %v", a.Plan, err)
	}
	names := []string{}
	for _, n := range a.View.Nodes {
		names = append(names, n.Name)
	}
	if len(names) != 2 || a.View.ClusterName != "home" {
		t.Errorf("the view shows %v of %q", names, a.View.ClusterName)
	}
	n := c.node(b.id)
	want := topology.Node{
		ID: b.id, Name: "kitchen", IP: "10.0.0.2", Role: topology.RoleSub, Status: topology.StatusInitializing, Reasons: topology.Reasons{},
		Resources: r.Resources, CreatedAt: n.CreatedAt, StatusSince: n.StatusSince, Labels: r.Labels, Version: "v1", Platform: r.Platform,
		GossipPort: 7946, MachineID: "m-kitchen", PlanRevision: a.Plan.Revision,
	}
	if diff := cmp.Diff(want, n); diff != "" || n.CreatedAt.IsZero() {
		t.Errorf("record (-want +got):\n%s", diff)
	}
	// The same board again, now without a token: it is known by its key.
	r.Token = ""
	again := must[workload.Admission](t)(c.Register(t.Context(), r.NodeID, r))
	if again.NodeID != b.id || leaf(t, again.Certificate).SerialNumber.Cmp(leaf(t, a.Certificate).SerialNumber) == 0 {
		t.Errorf("it did not get a new certificate: %+v", again)
	}
	r.Role = topology.RoleMaster
	if _, err := c.Register(t.Context(), r.NodeID, r); !errors.Is(err, store.ErrConflict) {
		t.Errorf("a sub came back as a master: %v", err)
	}
}

func TestRegisterRefuses(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	c.join("taken")
	clock := must[*pki.Clock](t)(pki.NewClock(pki.ClockOptions{}))
	other := must[*pki.CA](t)(pki.NewCA("foreign", clock))
	foreign, _, err := auth.NewJoinToken(auth.JoinOptions{Fingerprint: other.Fingerprint(), Now: c.wall.now()})
	if err != nil {
		t.Fatal(err)
	}
	good, short := c.token(auth.JoinOptions{}), c.token(auth.JoinOptions{TTL: time.Minute})
	deleted := c.token(auth.JoinOptions{})
	masters := c.token(auth.JoinOptions{Role: topology.RoleMaster})
	if err := c.DeleteToken(t.Context(), strings.Split(deleted, ".")[2]); err != nil {
		t.Fatal(err)
	}
	c.wall.advance(2 * time.Minute)
	stranger := newBoard(t, c, "stranger")
	for name, try := range map[string]struct {
		change func(*workload.Registration)
		want   error
		hint   string
	}{
		"no token":         {func(r *workload.Registration) { r.Token = "" }, auth.ErrUnauthenticated, "piccolo token create"},
		"garbage":          {func(r *workload.Registration) { r.Token = "open sesame" }, auth.ErrDenied, "join token"},
		"truncated":        {func(r *workload.Registration) { r.Token = good[:40] }, auth.ErrDenied, "missing"},
		"mistyped":         {func(r *workload.Registration) { r.Token = good[:len(good)-8] + "aaaaaaaa" }, auth.ErrDenied, "copy it again"},
		"API token":        {func(r *workload.Registration) { r.Token = c.admin.Reveal() }, auth.ErrDenied, "another kind"},
		"foreign":          {func(r *workload.Registration) { r.Token = foreign.Reveal() }, auth.ErrDenied, "another cluster"},
		"deleted":          {func(r *workload.Registration) { r.Token = deleted }, auth.ErrDenied, "deleted"},
		"expired":          {func(r *workload.Registration) { r.Token = short }, auth.ErrTokenExpired, "valid until"},
		"wrong role":       {func(r *workload.Registration) { r.Token = masters }, auth.ErrTokenRole, "as master"},
		"wrong role too":   {func(r *workload.Registration) { r.Role = topology.RoleMaster }, auth.ErrTokenRole, "as sub"},
		"no role":          {func(r *workload.Registration) { r.Role = "" }, topology.ErrInvalid, "sub or master"},
		"name taken":       {func(r *workload.Registration) { r.Name = "taken" }, store.ErrExists, "--name"},
		"name with spaces": {func(r *workload.Registration) { r.Name = "my board" }, topology.ErrInvalid, "a-z"},
		"long name":        {func(r *workload.Registration) { r.Name = strings.Repeat("x", 300) }, topology.ErrInvalid, "300 bytes"},
		"bad label":        {func(r *workload.Registration) { r.Labels = map[string]string{"a b": ""} }, topology.ErrInvalid, "a b"},
		"no address":       {func(r *workload.Registration) { r.IP = "" }, topology.ErrInvalid, "ip_address"},
		"any address":      {func(r *workload.Registration) { r.IP = "0.0.0.0" }, topology.ErrInvalid, "ip_address"},
		"host name":        {func(r *workload.Registration) { r.IP = "kitchen.lan" }, topology.ErrInvalid, "ip_address"},
		"no request":       {func(r *workload.Registration) { r.CSR = nil }, topology.ErrInvalid, "credentials.csr"},
		"broken request":   {func(r *workload.Registration) { r.CSR = r.CSR[:len(r.CSR)-4] }, topology.ErrInvalid, "credentials.csr"},
		"not its key":      {func(r *workload.Registration) { r.CSR = must[[]byte](t)(stranger.key.CSR()) }, topology.ErrInvalid, "not the id of the key"},
	} {
		b := newBoard(t, c, "newcomer")
		r := b.registration(good)
		try.change(&r)
		before := c.revision()
		a, err := c.Register(t.Context(), r.NodeID, r)
		if !errors.Is(err, try.want) || !strings.Contains(err.Error(), try.hint) {
			t.Errorf("%s: %v; want %v with %q", name, err, try.want, try.hint)
		}
		if err != nil && (len(err.Error()) > 600 || strings.Contains(err.Error(), good[50:])) {
			t.Errorf("%s: the message is too long or tells the token: %s", name, err)
		}
		if len(a.Certificate) > 0 || len(a.Keyring.Keys) > 0 || c.revision() != before || len(c.Nodes()) != 2 {
			t.Errorf("%s: it was refused, but something was given or written", name)
		}
	}
	// A secret of its own for a token that exists.
	id := strings.Split(good, ".")[2]
	forged, record, err := auth.NewJoinToken(auth.JoinOptions{Fingerprint: c.ca.Fingerprint(), Now: c.wall.now()})
	if err != nil {
		t.Fatal(err)
	}
	b := newBoard(t, c, "newcomer")
	if _, err := c.Register(t.Context(), b.id, b.registration(strings.Replace(forged.Reveal(), record.ID, id, 1))); !errors.Is(err, auth.ErrDenied) {
		t.Errorf("forged: %v", err)
	}
}

func manual(c *topology.ClusterTopology) { c.Config.Approval = topology.ApprovalManual }

func TestApproval(t *testing.T) {
	t.Parallel()
	c := newCluster(t, manual)
	b := newBoard(t, c, "kitchen")
	r := b.registration(c.token(auth.JoinOptions{}))
	for range 2 { // it asks again and again
		a := must[workload.Admission](t)(c.Register(t.Context(), r.NodeID, r))
		if a.Status != topology.StatusPending || a.RetryAfter <= 0 || len(a.Certificate) > 0 || len(a.Keyring.Keys) > 0 || a.View.ClusterName != "" {
			t.Fatalf("before the decision: %+v", a)
		}
	}
	if err := b.refused(); !errors.Is(err, topology.ErrTransition) || !strings.Contains(err.Error(), "waits for approval") {
		t.Errorf("it attached before the decision: %v", err)
	}
	if topo := c.Topology(); len(topo.SubNodes) != 0 {
		t.Errorf("a pending node is part of the cluster: %v", topo.SubNodes)
	}
	must[topology.Node](t)(c.SignalNode(t.Context(), b.id, topology.SignalApproved, "admin"))
	if a := must[workload.Admission](t)(c.Register(t.Context(), r.NodeID, r)); a.Status != topology.StatusInitializing || len(a.Certificate) == 0 {
		t.Errorf("after the decision: %+v", a)
	}

	out := newBoard(t, c, "stranger")
	r = out.registration(c.token(auth.JoinOptions{}))
	must[workload.Admission](t)(c.Register(t.Context(), r.NodeID, r))
	must[topology.Node](t)(c.SignalNode(t.Context(), out.id, topology.SignalRejected, "admin root"))
	if _, err := c.Register(t.Context(), r.NodeID, r); !errors.Is(err, topology.ErrRemoved) || !strings.Contains(err.Error(), "rejected by admin root") {
		t.Errorf("after the rejection: %v", err)
	}
	if n := c.node(out.id); n.ID != "" {
		t.Errorf("the rejected node is still there: %+v", n)
	}
}

func TestPendingExpires(t *testing.T) {
	t.Parallel()
	c := newCluster(t, manual)
	b := newBoard(t, c, "kitchen")
	r := b.registration(c.token(auth.JoinOptions{}))
	must[workload.Admission](t)(c.Register(t.Context(), r.NodeID, r))
	c.office.Load().monitor.expire(t.Context(), b.id) // as its timer does after an hour
	if n := c.node(b.id); n.ID != "" {
		t.Errorf("it still waits: %+v", n)
	}
}

func TestRenew(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	b, other := c.join("kitchen"), newBoard(t, c, "other")
	b.attach()
	crt, ca, err := c.Renew(t.Context(), b.connection, b.id, must[[]byte](t)(b.key.CSR()))
	if err != nil || string(ca) != string(c.ca.PEM()) {
		t.Fatal(err)
	}
	if peer := must[pki.Peer](t)(pki.CertificatePeer(leaf(t, crt))); peer.ID != b.id {
		t.Errorf("the new certificate is of %+v", peer)
	}
	if _, _, err := c.Renew(t.Context(), b.connection, b.id, must[[]byte](t)(other.key.CSR())); !errors.Is(err, topology.ErrInvalid) {
		t.Errorf("a certificate for another key: %v", err)
	}
	if _, _, err := c.Renew(t.Context(), b.connection, other.id, must[[]byte](t)(other.key.CSR())); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a certificate for a stranger: %v", err)
	}
}
