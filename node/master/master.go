package master

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/node/pki"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/topology"
)

// Prober asks a node over the gossip mesh whether it lives; nil means that it
// answered just now. package gossip has it.
type Prober interface {
	Reach(ctx context.Context, id string, addr netip.AddrPort) error
}

// Publisher tells the watchers of the API what changed.
type Publisher interface {
	// Publish announces the new value of a key, nil when it is gone.
	Publish(kind, key string, value any)
	// Log adds one line to the cluster's log; node is a name.
	Log(kind, node, message string)
}

// Options of a Master. All fields without a stated default are needed.
type Options struct {
	Store *store.Member
	CA    *pki.CA
	// Self is the id of the node that this master runs on, and ClusterID that
	// of its cluster.
	Self      string
	ClusterID string
	Prober    Prober
	Publisher Publisher
	// Peers asks the other masters; nil where there are none.
	Peers Peers
	// Secrets reads what a new master is given.
	Secrets func() (workload.Secrets, error)
	// KeyringStep is how long the nodes have to hear of each step of a
	// replacement of the gossip keys. Default 30 s.
	KeyringStep time.Duration
	// CertificateLifetime of node certificates; pki's default where 0.
	CertificateLifetime time.Duration
	// Now is the trusted clock. Default time.Now.
	Now    func() time.Time
	Logger *slog.Logger
	// Seed of a new cluster; nil once it has been planted.
	Seed *Seed
}

// Master is the control plane on one master. Its exported methods may be
// called by many goroutines at once.
type Master struct {
	o Options

	cluster  *table[topology.ClusterTopology]
	nodes    *table[topology.Node]
	plans    *table[workload.Plan]
	reports  *table[workload.Report]
	leases   *table[attachment]
	alerts   *table[workload.Alert]
	keyrings *table[meshKeyring]
	tokens   *store.Collection[auth.JoinRecord]
	users    *store.Collection[auth.APIRecord]
	revoked  *store.Collection[revocation]

	audit *auditLog
	live  *liveFigures
	// publishing is held from reading what is told to telling it.
	publishing sync.Mutex
	sessions   *sessions
	presences  *presences
	// office is set while this master leads.
	office atomic.Pointer[office]
	// replan asks the planner to look at all plans again.
	replan chan struct{}
	// rotate asks for another look at the gossip keys.
	rotate chan struct{}
	// seats asks for another look at the store's members.
	seats chan struct{}
	// announce asks for a new view to be sent to all nodes.
	announce chan struct{}
	ready    chan struct{}
	// since is when the mirrors were filled; set before ready is closed.
	since time.Time
}

// clusterKey is the key of the one record under cluster.
const clusterKey = "topology"

// New checks the options and starts nothing.
func New(o Options) (*Master, error) {
	switch {
	case o.Store == nil:
		return nil, errors.New("master: Store is missing")
	case o.CA == nil:
		return nil, errors.New("master: CA is missing")
	case o.Self == "":
		return nil, errors.New("master: Self is missing")
	case o.Secrets == nil:
		return nil, errors.New("master: Secrets is missing")
	case o.ClusterID == "":
		return nil, errors.New("master: ClusterID is missing")
	case o.Prober == nil:
		return nil, errors.New("master: Prober is missing")
	case o.Publisher == nil:
		return nil, errors.New("master: Publisher is missing")
	}
	if o.KeyringStep == 0 {
		o.KeyringStep = 30 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	m := &Master{
		o:        o,
		tokens:   store.NewCollection[auth.JoinRecord](o.Store, "tokens", "token"),
		users:    store.NewCollection[auth.APIRecord](o.Store, "users", "user"),
		revoked:  store.NewCollection[revocation](o.Store, "revoked", "revocation"),
		live:     newLiveFigures(),
		replan:   make(chan struct{}, 1),
		rotate:   make(chan struct{}, 1),
		seats:    make(chan struct{}, 1),
		announce: make(chan struct{}, 1),
		ready:    make(chan struct{}),
	}
	m.cluster = newTable(m, "cluster", "cluster", m.clusterChanged)
	m.nodes = newTable(m, "nodes", "node", m.nodeChanged)
	m.plans = newTable(m, "plans", "plan", m.planChanged)
	m.reports = newTable(m, "reports", "report", m.reportChanged)
	m.leases = newTable(m, "leases", "lease", m.leaseChanged)
	m.alerts = newTable(m, "alerts", "alert", m.alertChanged)
	m.keyrings = newTable(m, "mesh", "keyring", m.keyringChanged)
	m.audit = newAuditLog(o.Store, o.Logger)
	m.sessions, m.presences = newSessions(m), newPresences()
	return m, nil
}

// Ready is closed when the mirror is filled and calls can be answered.
func (m *Master) Ready() <-chan struct{} { return m.ready }

// Run works until ctx ends. It waits for the store itself.
func (m *Master) Run(ctx context.Context) error {
	outer := ctx
	select {
	case <-m.o.Store.Ready():
	case <-ctx.Done():
		return nil
	}
	if err := m.plant(ctx); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	// Whatever speaks of a node is read after the nodes.
	if m.follow(ctx, g, m.nodes, m.cluster) && m.follow(ctx, g, m.plans, m.reports, m.leases, m.alerts, m.keyrings) {
		if err := m.checkCluster(ctx); err != nil {
			g.Go(func() error { return err })
		} else {
			m.serve(ctx, g)
		}
	}
	if err := g.Wait(); err != nil && outer.Err() == nil {
		return fmt.Errorf("run control plane: %w", err)
	}
	return nil
}

// serve starts the loops and opens the door.
func (m *Master) serve(ctx context.Context, g *errgroup.Group) {
	m.since = time.Now()
	close(m.ready)
	for _, run := range []func(context.Context) error{m.announceViews, m.audit.run} {
		g.Go(func() error { return run(ctx) })
	}
	g.Go(func() error { return m.o.Store.Lead(ctx, m.lead) })
}

// checkCluster refuses a store that is empty or another cluster's: its nodes
// would find themselves unknown. A record that cannot be read is no such thing.
func (m *Master) checkCluster(ctx context.Context) error {
	c, err := m.cluster.collection.Get(ctx, clusterKey)
	switch {
	case errors.Is(err, store.ErrUnreadable):
		return nil
	case errors.Is(err, store.ErrNotFound):
		return fmt.Errorf("the store is empty, but this node is a master of cluster %s: put the data directory's etcd/ back from a copy; `piccolo reset` gives the cluster up", m.o.ClusterID)
	case err != nil:
		return fmt.Errorf("read the cluster's record: %w", err)
	case c.Value.ID != m.o.ClusterID:
		return fmt.Errorf("the store belongs to cluster %s (%s), but this node is a master of %s: put the data directory's own etcd/ back", c.Value.Name, c.Value.ID, m.o.ClusterID)
	}
	return nil
}

// mirror is a table of any type.
type mirror interface {
	run(ctx context.Context) error
	filled() <-chan struct{}
}

// follow starts the mirrors and waits until each has its first full list;
// false when ctx has ended before.
func (m *Master) follow(ctx context.Context, g *errgroup.Group, mirrors ...mirror) bool {
	for _, t := range mirrors {
		g.Go(func() error { return t.run(ctx) })
	}
	for _, t := range mirrors {
		select {
		case <-t.filled():
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// trigger wakes whoever reads the channel; a wake-up that is pending already
// covers this one.
func trigger(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (m *Master) clusterChanged(string, *topology.ClusterTopology, *topology.ClusterTopology) {
	m.publishTopology()
	trigger(m.replan)
	trigger(m.announce)
}

func (m *Master) nodeChanged(id string, old, new *topology.Node) {
	trigger(m.replan)
	trigger(m.announce)
	trigger(m.seats)
	defer m.publishTopology()
	if new == nil {
		m.publishNode(id)
		m.o.Logger.Info("node is removed", "node", old.Name)
		m.o.Publisher.Log("NodeRemoved", old.Name, "removed from the cluster")
		m.live.forget(id)
		m.leading(func(o *office) {
			o.monitor.forget(id)
			o.judge.forget(id)
		})
		if s := m.sessions.get(id); s != nil {
			s.end(topology.ErrRemoved)
		}
		return
	}
	m.publishNode(id)
	m.leading(func(o *office) {
		o.monitor.statusChanged(*new)
		o.judge.look(id)
	})
	if old == nil && m.listing() {
		return // known from an earlier run, and no news
	}
	if old == nil || old.Status != new.Status || old.Reasons.String() != new.Reasons.String() {
		message := new.Status.Word()
		if len(new.Reasons) > 0 {
			message += ": " + new.Reasons.String()
		}
		m.o.Logger.Info("node is "+message, "node", new.Name)
		m.o.Publisher.Log("NodeStatus", new.Name, message)
	}
}

func (m *Master) publishTopology() {
	m.publishing.Lock()
	defer m.publishing.Unlock()
	m.o.Publisher.Publish("topology", "cluster", m.Topology())
}

// listing: the mirrors are being filled with what was there before.
func (m *Master) listing() bool {
	select {
	case <-m.ready:
		return false
	default:
		return true
	}
}

// publishNode tells the watchers a node as it is now.
func (m *Master) publishNode(id string) {
	m.publishing.Lock() // the last one to tell has read last
	defer m.publishing.Unlock()
	if r, ok := m.nodes.get(id); ok {
		m.o.Publisher.Publish("node", id, m.withLive(r.Value))
	} else {
		m.o.Publisher.Publish("node", id, nil)
	}
}

func (m *Master) planChanged(id string, _, _ *workload.Plan) {
	trigger(m.replan) // whoever wrote it may have read an older record
	m.leading(func(o *office) { o.judge.look(id) })
	m.publishNode(id)
	if r, ok := m.plans.get(id); ok {
		m.sessions.notify(id, workload.Notice{PlanRevision: r.Revision})
	}
}

func (m *Master) reportChanged(id string, old, new *workload.Report) {
	m.leading(func(o *office) { o.judge.look(id) })
	if _, ok := m.nodes.get(id); !ok {
		new = nil // it was written while the node was being removed
	}
	m.publishContainers(id, old, new)
	m.publishAlerts(id, old, new)
}

func (m *Master) alertChanged(id string, old, new *workload.Alert) {
	if new == nil {
		m.o.Publisher.Publish("alert", id, nil)
		return
	}
	m.o.Publisher.Publish("alert", id, *new)
	if old == nil {
		m.o.Publisher.Log("Alert", new.NodeName, new.Message)
	}
}
