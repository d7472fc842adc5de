package resttest

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/api/feed"
	"piccolo.io/piccolo/node/api/rest"
	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/node/pki"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/topology"
)

// At is the time of everything that happened in the cluster.
func At() time.Time { return time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC) }

// Cluster is the whole of it.
type Cluster struct {
	State   *State
	Service *api.Service
	Hub     *feed.Hub
	// Token is the administrator's.
	Token auth.Secret
	// Master and Sub are the nodes' identities; ServerTLS is the master's.
	Master, Sub *pki.Source
	ServerTLS   *tls.Config
	CA          *pki.CA
	Clock       *pki.Clock
	admin       auth.APIRecord
	mu          sync.Mutex
	revoked     bool
}

// New makes a cluster that answers as its master, or for live false as a sub
// that has lost its master.
func New(t testing.TB, live bool) *Cluster {
	t.Helper()
	c := &Cluster{}
	c.identities(t)
	c.State = newState(c.Master.Current().Subject.CommonName[len("node:"):], c.Sub.Current().Subject.CommonName[len("node:"):], live)
	o := api.Options{
		Knowledge: c.State, Self: self{c.State}, Figures: c.State, Fingerprint: c.CA.Fingerprint(),
		MasterAddress: "10.0.0.1:7443", Now: At,
	}
	if live {
		o.Administration, o.Tokens, o.Enrolment = c.State, c.State, enrolment{c.State}
	}
	var err error
	c.Service, err = api.New(o)
	check(t, err)
	c.Hub, err = feed.New(feed.Options{})
	check(t, err)
	t.Cleanup(c.Hub.Close)
	for _, n := range c.State.Nodes() {
		check(t, c.Hub.Publish(feed.KindNode, n.ID, n))
	}
	check(t, c.Hub.Log(api.Event{At: At(), Kind: "node", Node: "board", Message: "node board is Ready"}))
	token, record, err := auth.NewAPIToken(auth.APIOptions{Fingerprint: c.CA.Fingerprint(), Now: At()})
	check(t, err)
	c.Token, c.admin = auth.Secret(token.Reveal()), record
	return c
}

func (c *Cluster) identities(t testing.TB) {
	t.Helper()
	var err error
	c.Clock, err = pki.NewClock(pki.ClockOptions{})
	check(t, err)
	c.CA, err = pki.NewCA("home", c.Clock)
	check(t, err)
	c.Master, c.Sub = c.node(t, topology.RoleMaster), c.node(t, topology.RoleSub)
	c.ServerTLS = pki.ServerTLS(c.Master, c.Clock, nil)
}

func (c *Cluster) node(t testing.TB, role topology.Role) *pki.Source {
	t.Helper()
	identity, err := pki.CreateKey(t.TempDir())
	check(t, err)
	csr, err := identity.CSR()
	check(t, err)
	issued, err := c.CA.SignNode(csr, pki.NodeProfile{ID: identity.ID(), Role: role, IPs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}})
	check(t, err)
	check(t, identity.SaveCertificate(issued.ChainPEM, c.CA.PEM()))
	source, err := pki.NewSource(identity, c.Clock)
	check(t, err)
	return source
}

// ClientTLS dials the master with the node's certificate, or without one for
// nil.
func (c *Cluster) ClientTLS(t testing.TB, source *pki.Source) *tls.Config {
	t.Helper()
	config, err := pki.ClientTLS(pki.ClientOptions{CA: c.CA.Certificate(), Source: source, Clock: c.Clock})
	check(t, err)
	return config
}

// RevokeToken makes the administrator's token worthless.
func (c *Cluster) RevokeToken() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.revoked = true
}

// Authenticate knows the administrator's token.
func (c *Cluster) Authenticate(_ context.Context, bearer string) (auth.Principal, error) {
	token, err := auth.ParseAPIToken(bearer)
	if err != nil {
		return auth.Principal{}, fmt.Errorf("%w: %w", auth.ErrUnauthenticated, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.revoked {
		return auth.APIRecord{}.Check(token, At())
	}
	return c.admin.Check(token, At())
}

// Handler makes the REST handler; change may be nil.
func (c *Cluster) Handler(t testing.TB, change func(*rest.HandlerOptions)) *rest.Handler {
	t.Helper()
	registry := prometheus.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "piccolo_test_total", Help: "Only for tests."})
	registry.MustRegister(counter)
	o := rest.HandlerOptions{Service: c.Service, Hub: c.Hub, Authenticate: c.Authenticate, Metrics: registry}
	if change != nil {
		change(&o)
	}
	h, err := rest.NewHandler(o)
	check(t, err)
	return h
}

// Serve runs a server on a free port of 127.0.0.1 and on a socket until the
// test ends or stop is called; change may be nil. It returns the socket's path
// too.
func (c *Cluster) Serve(t testing.TB, change func(*rest.Options)) (s *rest.Server, socket string, stop func()) {
	t.Helper()
	o := rest.Options{Listen: "127.0.0.1:0", TLS: c.ServerTLS, Socket: filepath.Join(t.TempDir(), "piccolo.sock")}
	if change != nil {
		change(&o)
	}
	if o.Handler == nil {
		o.Handler = c.Handler(t, nil)
	}
	s, err := rest.New(o)
	check(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("the server ended: %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("the server did not stop within 20 s")
		}
	})
	t.Cleanup(stop)
	return s, o.Socket, stop
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Registration is a request to join as a test may send it.
func Registration() workload.Registration {
	return workload.Registration{NodeID: "n-0123456789ab", Name: "new", Hostname: "new", IP: "10.0.0.3", Role: topology.RoleSub,
		Token: "pic1.x", CSR: []byte{1, 2, 3}, Labels: map[string]string{"a": "b"}, GossipPort: 7946}
}
