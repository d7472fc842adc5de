package master

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"piccolo.io/piccolo/gossip"
	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/node/pki"
	"piccolo.io/piccolo/node/runtest"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/store/storetest"
	"piccolo.io/piccolo/topology"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = runtest.Patience

func eventually(t testing.TB, what string, problem func() string) {
	t.Helper()
	runtest.Eventually(t, what, problem)
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// wall is the masters' clock, which tests may set.
type wall struct {
	mu   sync.Mutex
	skip time.Duration
}

func (w *wall) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.skip).UTC()
}

func (w *wall) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.skip += d
}

// mesh is what the mesh would say: which nodes do not answer, and how. It
// counts the questions.
type mesh struct {
	mu    sync.Mutex
	lost  map[string]error
	asked map[string]int
}

func (n *mesh) Reach(_ context.Context, id string, addr netip.AddrPort) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked[id]++
	if !addr.IsValid() {
		panic("asked at no address")
	}
	return n.lost[id]
}

// lose makes the mesh answer with err about a node; nil: it is there.
func (n *mesh) lose(id string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lost[id] = err
}

func (n *mesh) questions(id string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked[id]
}

// watchers remember what they are told.
type watchers struct {
	mu    sync.Mutex
	lines []string
	last  map[string]any // kind/key → value, nil when it went
}

func (w *watchers) Publish(kind, key string, value any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last[kind+"/"+key] = value
}

func (w *watchers) Log(kind, node, message string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = append(w.lines, kind+" "+node+" "+message)
}

func (w *watchers) heard(part string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.lines {
		if strings.Contains(l, part) {
			return true
		}
	}
	return false
}

func (w *watchers) value(key string) (any, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	v, ok := w.last[key]
	return v, ok
}

// cluster is one master over a real store, with everything else faked.
type cluster struct {
	*Master
	t        testing.TB
	store    *store.Member
	ca       *pki.CA
	wall     *wall
	mesh     *mesh
	watchers *watchers
	admin    auth.Token
	self     string
	stop     func() // ends the first control plane
}

// newCluster makes a cluster of one master; change may alter its topology.
func newCluster(t testing.TB, change func(*topology.ClusterTopology)) *cluster {
	t.Helper()
	clock := must[*pki.Clock](t)(pki.NewClock(pki.ClockOptions{}))
	c := &cluster{
		t: t, wall: &wall{}, ca: must[*pki.CA](t)(pki.NewCA("home", clock)),
		mesh: &mesh{lost: map[string]error{}, asked: map[string]int{}}, watchers: &watchers{last: map[string]any{}},
	}
	master := newBoard(t, c, "main")
	c.self = master.id
	o := storetest.Options(t)
	o.Name = c.self
	c.store, _ = storetest.Start(t, o)
	node := topology.Node{
		ID: c.self, Name: "main", IP: "10.0.0.1", Role: topology.RoleMaster, Status: topology.StatusInitializing,
		CreatedAt: c.wall.now(), Labels: map[string]string{}, GossipPort: 7946, APIPort: 7443, MachineID: "m-main",
	}
	topo := topology.ClusterTopology{ID: "c-1", Name: "home", Type: topology.TypeBasic, Config: topology.DefaultConfig()}
	if change != nil {
		change(&topo)
	}
	admin, user, err := auth.NewAPIToken(auth.APIOptions{Fingerprint: c.ca.Fingerprint(), Now: c.wall.now()})
	if err != nil {
		t.Fatal(err)
	}
	_, join, err := auth.NewJoinToken(auth.JoinOptions{Fingerprint: c.ca.Fingerprint(), Now: c.wall.now()})
	if err != nil {
		t.Fatal(err)
	}
	c.admin = admin
	c.Master = must[*Master](t)(New(c.options(&Seed{Cluster: topo, Node: node, AdminUser: user, JoinToken: join, Keyring: firstKeys()})))
	c.stop = c.run(c.Master)
	eventually(t, "the planner's first round", func() string {
		if _, ok := c.plans.get(c.self); !ok {
			return "the master itself has no plan"
		}
		return ""
	})
	return c
}

// firstKeys is the keyring of a new mesh.
func firstKeys() workload.Keyring {
	return workload.Keyring{Keys: [][]byte{make([]byte, gossip.KeySize)}}
}

func (c *cluster) options(seed *Seed) Options {
	return Options{
		Store: c.store, CA: c.ca, Self: c.self, ClusterID: "c-1", Prober: c.mesh, Publisher: c.watchers, Seed: seed, Now: c.wall.now,
		KeyringStep: 50 * time.Millisecond, Secrets: func() (workload.Secrets, error) { return workload.Secrets{}, nil },
		Logger: slog.New(slog.NewTextHandler(c.t.Output(), nil)),
	}
}

// run starts a master, waits until it is ready, and stops it with the test or
// before.
func (c *cluster) run(m *Master) (stop func()) {
	c.t.Helper()
	stop = runtest.Run(c.t, "the control plane", m.Run)
	select {
	case <-m.Ready():
	case <-time.After(patience):
		c.t.Fatalf("the control plane is not ready after %s", patience)
	}
	return stop
}

// token makes a join token, as an administrator would.
func (c *cluster) token(o auth.JoinOptions) string {
	c.t.Helper()
	o.Fingerprint, o.Now = c.ca.Fingerprint(), c.wall.now()
	token, record, err := auth.NewJoinToken(o)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := c.CreateToken(c.t.Context(), record); err != nil {
		c.t.Fatal(err)
	}
	return token.Reveal()
}

// node is the record as the mirror has it.
func (c *cluster) node(id string) topology.Node {
	c.t.Helper()
	for _, n := range c.Nodes() {
		if n.ID == id {
			return n
		}
	}
	return topology.Node{}
}

// waitStatus waits until a node is in a state for these reasons.
func (c *cluster) waitStatus(id string, status topology.NodeStatus, reasons ...topology.Reason) {
	c.t.Helper()
	want := string(status) + " " + topology.Reasons{}.With(reasons...).String()
	eventually(c.t, "state of node "+id, func() string {
		n := c.node(id)
		if got := string(n.Status) + " " + n.Reasons.String(); got != want {
			return "it is " + got + ", not " + want
		}
		return ""
	})
}

// revision of the whole store: it grows with every write.
func (c *cluster) revision() int64 {
	c.t.Helper()
	return must[store.Stats](c.t)(c.store.Stats()).Revision
}
