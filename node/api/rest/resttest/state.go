package resttest

import (
	"context"
	"slices"
	"sync"
	"time"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/topology"
)

// State is what the cluster knows and what was done to it.
type State struct {
	mu     sync.Mutex
	nodes  []topology.Node
	topo   topology.ClusterTopology
	tokens []auth.JoinRecord
	asOf   *time.Time
	audit  []auth.AuditEntry
	self   api.SelfStatus
	left   bool
	// panics makes every question for nodes panic.
	panics bool
	// blocked is closed to let a blocked Containers go on; nil for none.
	blocked chan struct{}
	entered chan struct{}
}

func newState(master, sub string, live bool) *State {
	node := func(id, name string, role topology.Role, ip string, port int) topology.Node {
		return topology.Node{ID: id, Name: name, IP: ip, Role: role, Status: topology.StatusReady, CreatedAt: At(), StatusSince: At(),
			Version: "v0.1.0", Platform: topology.Platform{OS: "linux", Arch: "arm64"}, GossipPort: 7946, APIPort: port,
			Resources: topology.Resources{CPU: 4, Memory: 1024, Disk: 32}}
	}
	heart := At()
	warm := 48.5
	board := node(sub, "board", topology.RoleSub, "10.0.0.2", 0)
	board.LastHeartbeat, board.Usage = &heart, &topology.Usage{At: heart, CPUPercent: 1.5, Temperature: &warm}
	s := &State{
		nodes: []topology.Node{node(master, "main", topology.RoleMaster, "10.0.0.1", 7443), board},
		topo: topology.ClusterTopology{ID: "c-1", Name: "home", Type: topology.TypeBasic, MasterNodes: []string{"main"}, SubNodes: []string{"board"},
			Config: topology.DefaultConfig(), Revision: 7},
		self: api.SelfStatus{ID: master, Name: "main", Role: topology.RoleMaster, Version: "v0.1.0", Mode: "Online", Since: At(), StartedAt: At(), CertificateExpires: At().Add(90 * 24 * time.Hour)},
	}
	if !live {
		at := At().Add(123 * time.Millisecond)
		s.asOf = &at
		s.self.ID, s.self.Name, s.self.Role, s.self.Mode, s.self.Master = sub, "board", topology.RoleSub, "Offline", "10.0.0.1:7443"
	}
	return s
}

// Panic makes every later question for nodes panic.
func (s *State) Panic() { s.mu.Lock(); defer s.mu.Unlock(); s.panics = true }

// Block makes every later question for containers wait until release is
// called. entered tells that one waits.
func (s *State) Block() (entered <-chan struct{}, release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blocked, s.entered = make(chan struct{}), make(chan struct{}, 1)
	return s.entered, sync.OnceFunc(func() { close(s.blocked) })
}

// Left reports whether the node was told to leave.
func (s *State) Left() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.left }

// Audit returns what was recorded.
func (s *State) Audit() []auth.AuditEntry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.audit)
}

// Nodes of the cluster.
func (s *State) Nodes() []topology.Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.panics {
		panic("secret inside: nodes are broken")
	}
	out := make([]topology.Node, len(s.nodes))
	for i, n := range s.nodes {
		out[i] = n.Clone()
	}
	return out
}

// Containers of the board: one, and none on the master.
func (s *State) Containers(node string) []workload.Container {
	s.mu.Lock()
	board, blocked, entered := s.nodes[1].ID, s.blocked, s.entered
	s.mu.Unlock()
	if blocked != nil {
		entered <- struct{}{}
		<-blocked
	}
	if node != "" && node != board {
		return nil
	}
	started := At()
	return []workload.Container{{ID: "c0ffee", Name: "web", Image: "localhost/app:1", State: "running", CreatedAt: At(), StartedAt: &started, Node: board, NodeName: "board"}}
}

// Topology of the cluster.
func (s *State) Topology() topology.ClusterTopology { s.mu.Lock(); defer s.mu.Unlock(); return s.topo }

// Alerts that stand: one.
func (s *State) Alerts() []workload.Alert {
	return []workload.Alert{{ID: "a-1", Kind: "clock", Severity: workload.SeverityWarning, Message: "the clock is 2 s off", RaisedAt: At()}}
}

// AsOf is nil where the cluster is live.
func (s *State) AsOf() *time.Time { return s.asOf }

// ContainerStats of the one container.
func (s *State) ContainerStats(context.Context, string) (map[string]workload.ContainerStats, error) {
	return map[string]workload.ContainerStats{"c0ffee": {CPUPercent: 12.5, MemoryBytes: 1 << 20}}, nil
}

func (s *State) find(id string) int {
	return slices.IndexFunc(s.nodes, func(n topology.Node) bool { return n.ID == id })
}

// EditNode changes one node.
func (s *State) EditNode(_ context.Context, id string, edit func(*topology.Node) error) (topology.Node, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.find(id)
	if i < 0 {
		return topology.Node{}, store.ErrNotFound
	}
	n := s.nodes[i].Clone()
	if err := edit(&n); err != nil {
		return n, err
	}
	s.nodes[i] = n
	return n.Clone(), nil
}

// SetRole changes one node's role.
func (s *State) SetRole(ctx context.Context, id string, role topology.Role) (topology.Node, error) {
	return s.EditNode(ctx, id, func(n *topology.Node) error { n.Role = role; return nil })
}

// SignalNode changes one node's state.
func (s *State) SignalNode(_ context.Context, id string, signal topology.Signal, _ string) (topology.Node, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.find(id)
	if i < 0 {
		return topology.Node{}, store.ErrNotFound
	}
	n, err := topology.Apply(s.nodes[i], signal, s.nodes[i].Reasons, At())
	if err != nil {
		return n, err
	}
	s.nodes[i] = n
	return n.Clone(), nil
}

// PutTopology replaces the topology.
func (s *State) PutTopology(_ context.Context, t topology.ClusterTopology) (topology.ClusterTopology, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.Revision != 0 && t.Revision != s.topo.Revision {
		return t, store.ErrConflict
	}
	t.MasterNodes, t.SubNodes, t.Revision = s.topo.MasterNodes, s.topo.SubNodes, s.topo.Revision+1
	s.topo = t
	return t, nil
}

// Record keeps an entry of the audit.
func (s *State) Record(e auth.AuditEntry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.audit = append(s.audit, e)
}

// CreateToken keeps a token.
func (s *State) CreateToken(_ context.Context, r auth.JoinRecord) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens = append(s.tokens, r)
	return nil
}

// ListTokens lists the tokens.
func (s *State) ListTokens(context.Context) ([]auth.JoinRecord, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.tokens), nil
}

// DeleteToken removes a token.
func (s *State) DeleteToken(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := len(s.tokens)
	if s.tokens = slices.DeleteFunc(s.tokens, func(r auth.JoinRecord) bool { return r.ID == id }); len(s.tokens) == was {
		return store.ErrNotFound
	}
	return nil
}

type self struct{ s *State }

func (x self) Status() api.SelfStatus { return x.s.self }

func (x self) Leave(context.Context) error {
	x.s.mu.Lock()
	defer x.s.mu.Unlock()
	x.s.left = true
	return nil
}

type enrolment struct{ s *State }

func (enrolment) Register(_ context.Context, _ string, r workload.Registration) (workload.Admission, error) {
	if r.Token != Registration().Token {
		return workload.Admission{}, auth.ErrUnauthenticated
	}
	return workload.Admission{NodeID: r.NodeID, Name: r.Name, Status: topology.StatusInitializing, Certificate: []byte("cert"), CA: []byte("ca"), MasterTime: At(),
		Keyring: workload.Keyring{Keys: [][]byte{{1}}}, Plan: workload.Plan{Node: r.NodeID, Revision: 1, Name: r.Name}}, nil
}

func (enrolment) Renew(context.Context, string, string, []byte) (certificate, ca []byte, err error) {
	return nil, nil, store.ErrNotFound
}

func (enrolment) Leave(context.Context, string, string) error { return nil }
