package nodetest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"piccolo.io/piccolo/gossip/gossiptest"
	"piccolo.io/piccolo/node"
	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/api/client"
	"piccolo.io/piccolo/podman/podmantest"
	"piccolo.io/piccolo/topology"
)

// Patience is how long anything may take on a busy machine before a test
// fails. It is no measure of speed.
const Patience = 60 * time.Second

// Eventually tries until problem returns nil, and fails the test with reason
// and the last problem when the deadline is over.
func Eventually(t testing.TB, deadline time.Duration, reason string, problem func() error) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	end := time.After(deadline)
	for err := problem(); err != nil; err = problem() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("%s: not within %s: %v", reason, deadline, err)
		}
	}
}

// Options of a Cluster.
type Options struct {
	// CertificateLifetime of node certificates; 90 days where 0.
	CertificateLifetime time.Duration
	// KeyringStep of the masters; 30 s where 0.
	KeyringStep time.Duration
	// Log shows the nodes' logs in the test's output.
	Log bool
}

// Cluster is a number of nodes in this process; the first is the master. One
// goroutine may make and start nodes; what asks them may be many.
type Cluster struct {
	t    testing.TB
	o    Options
	net  *gossiptest.Network
	port int // of gossip, the same for all
	// Init is what the first node was told when it made the cluster.
	Init  node.InitResult
	nodes []*Node
	// prepared are all machines, members or not.
	prepared []*Node
}

// New makes a cluster of n nodes, all Ready, that ends with the test.
func New(t testing.TB, n int) *Cluster {
	t.Helper()
	return With(t, n, Options{})
}

// With is New with options.
func With(t testing.TB, n int, o Options) *Cluster {
	t.Helper()
	c := &Cluster{t: t, o: o, net: gossiptest.New(1), port: FreePort(t)}
	m := c.Prepare("main")
	m.Options.APIPort, m.Options.EtcdPeerPort = FreePort(t), FreePort(t)
	init, err := node.Init(t.Context(), node.InitOptions{Options: m.Options, Name: m.Name, Cluster: "home", Advertise: m.advertise})
	if err != nil {
		t.Fatalf("make a cluster: %v", err)
	}
	c.Init, m.ID = init, init.NodeID
	c.nodes = append(c.nodes, m)
	m.Start()
	for i := 1; i < n; i++ {
		c.Add(fmt.Sprintf("sub-%d", i))
	}
	for _, m := range c.nodes {
		c.WaitStatus(m, topology.StatusReady)
	}
	return c
}

// Node is the i-th node; 0 is the master.
func (c *Cluster) Node(i int) *Node { return c.nodes[i] }

// Master is the node that made the cluster.
func (c *Cluster) Master() *Node { return c.nodes[0] }

// Prepare makes a machine that belongs to nothing yet.
func (c *Cluster) Prepare(name string) *Node {
	c.t.Helper()
	addr := netip.AddrFrom4([4]byte{127, 0, 1, byte(len(c.prepared) + 1)})
	n := &Node{c: c, Name: name, Podman: podmantest.NewFake(c.t, ""), host: c.net.Host(addr.String()), advertise: netip.AddrPortFrom(addr, 0)}
	// Not t.TempDir: a socket's path has at most 107 bytes.
	run, err := os.MkdirTemp("", "pn")
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = os.RemoveAll(run) })
	n.Level = new(slog.LevelVar)
	logger := slog.New(slog.DiscardHandler)
	if c.o.Log {
		logger = slog.New(slog.NewTextHandler(c.t.Output(), &slog.HandlerOptions{Level: n.Level})).With("on", name)
	}
	n.Options = node.Options{
		DataDir: filepath.Join(c.t.TempDir(), "data"), RunDir: run, PodmanSocket: n.Podman.Socket(), PodmanRoot: c.t.TempDir(),
		GossipPort: c.port, Network: n.host, Level: n.Level, Logger: logger, CertificateLifetime: c.o.CertificateLifetime, KeyringStep: c.o.KeyringStep, Version: "test",
	}
	if n.api, err = client.NewHTTP(client.HTTPOptions{Socket: n.Options.Socket()}); err != nil {
		c.t.Fatal(err)
	}
	c.prepared = append(c.prepared, n)
	c.t.Cleanup(c.stop) // before what it stands on is removed
	return n
}

// stop ends every daemon, all at the same time.
func (c *Cluster) stop() {
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, n := range c.prepared {
		wg.Go(func() { _ = n.Stop() })
	}
}

// JoinOptions are what a prepared machine joins with, by the token that init
// printed.
func (c *Cluster) JoinOptions(n *Node) node.JoinOptions {
	return node.JoinOptions{Options: n.Options, Master: c.Init.API, Token: c.Init.JoinToken, Name: n.Name, Advertise: n.advertise}
}

// Add joins one more node and starts it.
func (c *Cluster) Add(name string) *Node {
	c.t.Helper()
	n := c.Prepare(name)
	res, err := node.Join(c.t.Context(), c.JoinOptions(n))
	if err != nil {
		c.t.Fatalf("join %s: %v", name, err)
	}
	n.ID = res.NodeID
	c.nodes = append(c.nodes, n)
	n.Start()
	return n
}

// AddMaster joins one more master and starts it.
func (c *Cluster) AddMaster(name string) *Node {
	c.t.Helper()
	token, err := c.Master().API().CreateToken(c.t.Context(), api.TokenRequest{Role: topology.RoleMaster})
	if err != nil {
		c.t.Fatalf("token for %s: %v", name, err)
	}
	n := c.Prepare(name)
	n.Options.APIPort, n.Options.EtcdPeerPort = FreePort(c.t), FreePort(c.t)
	o := c.JoinOptions(n)
	o.Role, o.Token = topology.RoleMaster, token.Token
	res, err := node.Join(c.t.Context(), o)
	if err != nil {
		c.t.Fatalf("join %s: %v", name, err)
	}
	n.ID = res.NodeID
	c.nodes = append(c.nodes, n)
	n.Start()
	return n
}

// CutMesh stops gossip between two nodes, both ways. Their connections to the
// API stay.
func (c *Cluster) CutMesh(a, b *Node) { c.net.Cut(a.host, b.host) }

// UnplugMesh stops gossip between a node and all others.
func (c *Cluster) UnplugMesh(n *Node) { c.net.Unplug(n.host) }

// HealMesh ends every cut.
func (c *Cluster) HealMesh() { c.net.Heal() }

// Record is what the master tells of a node.
func (c *Cluster) Record(n *Node) (topology.Node, error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), 10*time.Second)
	defer cancel()
	a, err := c.Master().API().Node(ctx, n.ID)
	return a.Value, err
}

// WaitStatus waits until a node is in a state for exactly these reasons.
func (c *Cluster) WaitStatus(n *Node, status topology.NodeStatus, reasons ...topology.Reason) topology.Node {
	c.t.Helper()
	var got topology.Node
	want := topology.Reasons{}.With(reasons...).String()
	Eventually(c.t, Patience, "state of "+n.Name, func() (err error) {
		if got, err = c.Record(n); err != nil {
			return errors.Join(err, n.Err(), c.Master().Err())
		}
		if got.Status != status || got.Reasons.String() != want {
			return errors.Join(fmt.Errorf("it is %s (%s), not %s (%s)", got.Status, got.Reasons, status, want), n.Err())
		}
		return nil
	})
	return got
}
