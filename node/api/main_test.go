package api_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/topology"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func now() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// fake is all that a service needs, and remembers what it was asked to do.
type fake struct {
	mu     sync.Mutex
	nodes  []topology.Node
	list   []workload.Container
	topo   topology.ClusterTopology
	alerts []workload.Alert
	tokens []auth.JoinRecord
	asOf   *time.Time
	master string
	mode   string
	stats  func(ctx context.Context, node string) (map[string]workload.ContainerStats, error)
	fails  error // everything that changes something fails with it

	done  []string
	audit []auth.AuditEntry
}

func newFake() *fake {
	node := func(id, name string, role topology.Role, status topology.NodeStatus, reasons ...topology.Reason) topology.Node {
		return topology.Node{ID: id, Name: name, Role: role, Status: status, Reasons: reasons, Labels: map[string]string{"zone": "home"}}
	}
	return &fake{
		nodes: []topology.Node{
			node("n-main", "main", topology.RoleMaster, topology.StatusReady),
			node("n-sub", "board", topology.RoleSub, topology.StatusReady),
			node("n-down", "down", topology.RoleSub, topology.StatusNotReady, topology.ReasonUnreachable),
			node("n-kept", "kept", topology.RoleSub, topology.StatusMaintenance),
			node("n-wait", "wait", topology.RoleSub, topology.StatusPending),
		},
		list: []workload.Container{
			{ID: "c2", Name: "web", State: "running", Node: "n-sub", NodeName: "board"}, {ID: "c1", Name: "db", State: "exited", Node: "n-sub", NodeName: "board"},
			{ID: "c3", Name: "app", State: "running", Node: "n-main", NodeName: "main"},
		},
		topo:   topology.ClusterTopology{ID: "c-1", Name: "home", Type: topology.TypeBasic, MasterNodes: []string{"main"}, SubNodes: []string{"board", "down"}, Config: topology.DefaultConfig(), Revision: 7},
		alerts: []workload.Alert{{ID: "old", RaisedAt: now().Add(-time.Hour)}, {ID: "new", RaisedAt: now()}},
		master: "10.0.0.1:7443",
	}
}

// did notes an action and gives the failure that is set.
func (f *fake) did(what string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fails != nil {
		return f.fails
	}
	f.done = append(f.done, what)
	return nil
}

func (f *fake) Nodes() []topology.Node {
	out := make([]topology.Node, len(f.nodes))
	for i, n := range f.nodes {
		out[i] = n.Clone()
	}
	return out
}

func (f *fake) Containers(node string) []workload.Container {
	return slices.DeleteFunc(slices.Clone(f.list), func(c workload.Container) bool { return node != "" && c.Node != node })
}

func (f *fake) Topology() topology.ClusterTopology { return f.topo }
func (f *fake) Alerts() []workload.Alert           { return slices.Clone(f.alerts) }
func (f *fake) AsOf() *time.Time                   { return f.asOf }

func (f *fake) ContainerStats(ctx context.Context, node string) (map[string]workload.ContainerStats, error) {
	if f.stats == nil {
		return nil, errors.New("no figures")
	}
	return f.stats(ctx, node)
}

func (f *fake) find(id string) (topology.Node, error) {
	i := slices.IndexFunc(f.nodes, func(n topology.Node) bool { return n.ID == id })
	if i < 0 {
		return topology.Node{}, store.ErrNotFound
	}
	return f.nodes[i].Clone(), nil
}

func (f *fake) EditNode(_ context.Context, id string, edit func(*topology.Node) error) (topology.Node, error) {
	n, err := f.find(id)
	if err != nil {
		return n, err
	}
	if err := edit(&n); err != nil {
		return n, err
	}
	for i := range f.nodes {
		if f.nodes[i].ID == id {
			f.nodes[i] = n
		}
	}
	return n, f.did("edit " + id)
}

func (f *fake) SetRole(_ context.Context, id string, role topology.Role) (topology.Node, error) {
	n, err := f.find(id)
	if err != nil {
		return n, err
	}
	n.Role = role
	return n, f.did("role " + string(role) + " " + id)
}

func (f *fake) SignalNode(_ context.Context, id string, s topology.Signal, by string) (topology.Node, error) {
	n, err := f.find(id)
	if err != nil {
		return n, err
	}
	if n, err = topology.Apply(n, s, n.Reasons, now()); err != nil {
		return n, err
	}
	return n, f.did("signal " + string(s) + " " + id + " by " + by)
}

func (f *fake) PutTopology(_ context.Context, t topology.ClusterTopology) (topology.ClusterTopology, error) {
	return t, f.did("put " + t.ID + " " + t.Name)
}

func (f *fake) Record(e auth.AuditEntry) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.audit = append(f.audit, e)
}

func (f *fake) CreateToken(_ context.Context, r auth.JoinRecord) error {
	f.tokens = append(f.tokens, r)
	return f.did("create token")
}

func (f *fake) ListTokens(context.Context) ([]auth.JoinRecord, error) {
	return slices.Clone(f.tokens), f.did("list tokens")
}
func (f *fake) DeleteToken(_ context.Context, id string) error { return f.did("delete token " + id) }

// sessions is the masters' side of the agents' conversation.
type sessions struct{ f *fake }

func (s sessions) Register(_ context.Context, _ string, r workload.Registration) (workload.Admission, error) {
	return workload.Admission{NodeID: r.NodeID}, s.f.did("register " + r.NodeID)
}
func (s sessions) Renew(_ context.Context, _, node string, _ []byte) ([]byte, []byte, error) {
	return []byte("crt"), []byte("ca"), s.f.did("renew " + node)
}
func (s sessions) Leave(_ context.Context, _, node string) error { return s.f.did("leave " + node) }

func (s sessions) Attach(_ context.Context, _ string, h workload.Hello, _ func(workload.Notice) error, _ func() (workload.Answer, error)) error {
	return s.f.did("attach " + h.Node)
}

func (s sessions) Heartbeat(_ context.Context, _ string, h workload.Heartbeat) (workload.HeartbeatReply, error) {
	return workload.HeartbeatReply{PlanRevision: 4}, s.f.did("heartbeat " + h.Node)
}
func (s sessions) Report(_ context.Context, _ string, r workload.Report) error {
	return s.f.did("report " + r.Node)
}

func (s sessions) NextPlan(_ context.Context, _, node string, _ int64, _ string) (*workload.Plan, error) {
	return &workload.Plan{Node: node, Revision: 4}, s.f.did("plan " + node)
}

// self is the node that serves.
type self struct {
	f  *fake
	id string
}

func (s self) Status() api.SelfStatus {
	return api.SelfStatus{ID: s.id, Master: s.f.master, Mode: s.f.mode}
}
func (s self) Leave(context.Context) error { return s.f.did("leave self") }

// newService makes the service of a master, or for live false of a sub.
func newService(t testing.TB, f *fake, live bool) *api.Service {
	t.Helper()
	o := api.Options{
		Knowledge: f, Self: self{f, "n-main"}, Figures: f, Fingerprint: "00112233445566778899aabbccddeeff",
		MasterAddress: "10.0.0.1:7443", Now: now,
	}
	if live {
		o.Administration, o.Tokens, o.Enrolment, o.Sessions = f, f, sessions{f}, sessions{f}
	} else {
		o.Self = self{f, "n-sub"}
	}
	s, err := api.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func kindOf(err error) api.Kind {
	var e *api.Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &e):
		return e.Kind
	}
	return "not an api.Error"
}

var admin = auth.Admin("root")
