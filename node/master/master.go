package master

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
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
	// Self is the id of the node that this master runs on.
	Self      string
	Prober    Prober
	Publisher Publisher
	// Keyring of the gossip mesh, handed to nodes that are let in.
	Keyring func() workload.Keyring
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

	cluster *table[topology.ClusterTopology]
	nodes   *table[topology.Node]
	plans   *table[workload.Plan]
	reports *table[workload.Report]
	leases  *table[attachment]
	alerts  *table[workload.Alert]
	tokens  *store.Collection[auth.JoinRecord]
	users   *store.Collection[auth.APIRecord]
	revoked *store.Collection[revocation]

	audit    *auditLog
	live     *liveFigures
	sessions *sessions
	monitor  *monitor
	// replan asks the planner to look at all plans again.
	replan chan struct{}
	// announce asks for a new view to be sent to all nodes.
	announce chan struct{}
	ready    chan struct{}
	// registering serializes registrations, so that a name is taken once.
	registering sync.Mutex
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
	case o.Prober == nil:
		return nil, errors.New("master: Prober is missing")
	case o.Publisher == nil:
		return nil, errors.New("master: Publisher is missing")
	case o.Keyring == nil:
		return nil, errors.New("master: Keyring is missing")
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
		announce: make(chan struct{}, 1),
		ready:    make(chan struct{}),
	}
	m.cluster = newTable(o.Store, "cluster", "cluster", m.clusterChanged)
	m.nodes = newTable(o.Store, "nodes", "node", m.nodeChanged)
	m.plans = newTable(o.Store, "plans", "plan", m.planChanged)
	m.reports = newTable(o.Store, "reports", "report", m.reportChanged)
	m.leases = newTable(o.Store, "leases", "lease", m.leaseChanged)
	m.alerts = newTable(o.Store, "alerts", "alert", m.alertChanged)
	m.audit = newAuditLog(o.Store, o.Logger)
	m.sessions = newSessions(m)
	m.monitor = newMonitor(m)
	return m, nil
}

// Ready is closed when the mirror is filled and calls can be answered.
func (m *Master) Ready() <-chan struct{} { return m.ready }

// Run works until ctx ends. It waits for the store itself.
func (m *Master) Run(ctx context.Context) error {
	select {
	case <-m.o.Store.Ready():
	case <-ctx.Done():
		return nil
	}
	if err := m.plant(ctx); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, run := range []func(context.Context) error{
		m.cluster.run, m.nodes.run, m.plans.run, m.reports.run, m.leases.run, m.alerts.run,
	} {
		g.Go(func() error { return run(ctx) })
	}
	g.Go(func() error {
		for _, listed := range []chan struct{}{
			m.cluster.listed, m.nodes.listed, m.plans.listed, m.reports.listed, m.leases.listed, m.alerts.listed,
		} {
			select {
			case <-listed:
			case <-ctx.Done():
				return nil
			}
		}
		close(m.ready)
		g.Go(func() error { return m.plan(ctx) })
		g.Go(func() error { return m.announceViews(ctx) })
		g.Go(func() error { return m.monitor.run(ctx) })
		g.Go(func() error { return m.audit.run(ctx) })
		return nil
	})
	if err := g.Wait(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("run control plane: %w", err)
	}
	return nil
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
	m.o.Publisher.Publish("topology", "cluster", m.Topology())
	trigger(m.replan)
	trigger(m.announce)
}

func (m *Master) nodeChanged(id string, old, new *topology.Node) {
	trigger(m.replan)
	trigger(m.announce)
	if new == nil {
		m.o.Publisher.Publish("node", id, nil)
		m.o.Publisher.Log("NodeRemoved", old.Name, "removed from the cluster")
		m.live.forget(id)
		return
	}
	m.o.Publisher.Publish("node", id, m.withLive(*new))
	switch {
	case old == nil || old.Status != new.Status || old.Reasons.String() != new.Reasons.String():
		message := new.Status.Word()
		if len(new.Reasons) > 0 {
			message += ": " + new.Reasons.String()
		}
		m.o.Publisher.Log("NodeStatus", new.Name, message)
	}
	m.monitor.statusChanged(*new)
}

func (m *Master) planChanged(id string, _, _ *workload.Plan) {
	if r, ok := m.plans.get(id); ok {
		m.sessions.notify(id, workload.Notice{PlanRevision: r.Revision})
	}
}

func (m *Master) reportChanged(id string, old, new *workload.Report) {
	m.publishContainers(id, old, new)
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
