package gossip_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"piccolo.io/piccolo/gossip"
	"piccolo.io/piccolo/gossip/gossiptest"
)

// The doc comment of Run says why a probe may be left; tests in virtual time wait for it, those on loopback would
// wait for seconds.
func TestMain(m *testing.M) {
	if config := os.Getenv(childEnv); config != "" {
		if err := beChild(config); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/hashicorp/memberlist.(*Memberlist).probeNode"))
}

const port = 7946

// node is one running mesh on a host of the network in memory.
type node struct {
	*gossip.Mesh
	id   string
	host *gossiptest.Host
	addr netip.AddrPort
	stop func() // ends Run gracefully and waits for it
	log  *eventLog
}

type cluster struct {
	t     testing.TB
	net   *gossiptest.Network
	keys  gossip.Keyring
	nodes []*node
}

func newCluster(t testing.TB, n int) *cluster {
	c := &cluster{t: t, net: gossiptest.New(1), keys: gossip.Keyring{Primary: gossip.NewKey()}}
	t.Cleanup(func() { <-time.After(gossip.Linger(gossip.ProfileWAN)) }) // the last cleanup: all have stopped
	for i := 1; i <= n; i++ {
		c.start(fmt.Sprintf("n-%02d", i), fmt.Sprintf("10.0.0.%d", i), nil)
	}
	c.settled(c.nodes...)
	return c
}

// peers are the addresses of the first nodes, as every node's list of masters would be.
func (c *cluster) peers() []netip.AddrPort {
	var out []netip.AddrPort
	for _, n := range c.nodes[:min(3, len(c.nodes))] {
		out = append(out, n.addr)
	}
	return out
}

// start runs a node and adds it to the cluster. change may alter its options.
func (c *cluster) start(id, ip string, change func(*gossip.Options)) *node {
	c.t.Helper()
	host := c.net.Host(ip)
	o := gossip.Options{
		ID: id, Bind: host.Addr(port), Keyring: c.keys, Network: host, Peers: c.peers(),
		Meta: gossip.Meta{Role: "sub", Version: "1.0"},
	}
	if change != nil {
		change(&o)
	}
	n := launch(c.t, o)
	n.host, n.addr = host, host.Addr(port)
	c.nodes = append(c.nodes, n)
	return n
}

// launch runs a mesh until the test ends or stop is called.
func launch(t testing.TB, o gossip.Options) *node {
	t.Helper()
	m, err := gossip.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n := &node{Mesh: m, id: o.ID, log: &eventLog{}}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := m.Run(ctx); err != nil {
			t.Errorf("run %s: %v", o.ID, err)
			cancel()
		}
	})
	wg.Go(func() {
		if err := m.Follow(ctx, n.log.add); !errors.Is(err, context.Canceled) {
			t.Errorf("follow %s: %v", o.ID, err)
		}
	})
	n.stop = func() { cancel(); wg.Wait() }
	t.Cleanup(n.stop)
	select {
	case <-m.Ready():
	case <-ctx.Done():
		t.FailNow()
	}
	return n
}

// settled waits until every given node sees all the others, and nobody else, alive.
func (c *cluster) settled(nodes ...*node) {
	c.t.Helper()
	for _, n := range nodes {
		eventually(c.t, fmt.Sprintf("%s sees %d others", n.id, len(nodes)-1), func() bool {
			return n.Stats().Alive == len(nodes)-1
		})
	}
}

func (n *node) state(id string) gossip.State {
	for _, m := range n.Members() {
		if m.ID == id {
			return m.State
		}
	}
	return 0
}

// eventually polls until ok, or fails with the reason after a deadline that only a fault can miss.
func eventually(t testing.TB, reason string, ok func() bool) {
	t.Helper()
	if !within(20*time.Second, ok) {
		t.Fatalf("not within 20 s: %s", reason)
	}
}

func within(d time.Duration, ok func() bool) bool {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(d); time.Now().Before(end); <-tick.C {
		if ok() {
			return true
		}
	}
	return ok()
}

// never watches for d and fails when it happens.
func never(t testing.TB, d time.Duration, what string, happened func() bool) {
	t.Helper()
	if within(d, happened) {
		t.Fatalf("it happened: %s", what)
	}
}

// eventLog keeps what a follower was told.
type eventLog struct {
	mu     sync.Mutex
	events []gossip.Event
}

func (l *eventLog) add(e gossip.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
}

func (l *eventLog) all() []gossip.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]gossip.Event(nil), l.events...)
}

func (l *eventLog) has(k gossip.Kind, id string) bool {
	for _, e := range l.all() {
		if e.Kind == k && e.Member.ID == id {
			return true
		}
	}
	return false
}
