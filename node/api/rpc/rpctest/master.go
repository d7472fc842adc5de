package rpctest

import (
	"context"
	"log/slog"
	"sync"
	"testing"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/api/rest"
	"piccolo.io/piccolo/node/api/rest/resttest"
	"piccolo.io/piccolo/node/api/rpc"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/topology"
)

// Master is the far end of an agent's connection.
type Master struct {
	// Cluster has the identities: Cluster.Sub is the agent's.
	Cluster *resttest.Cluster
	// Address of the TLS port, host:port.
	Address string
	// Stop ends the server and waits for it.
	Stop func()

	mu      sync.Mutex
	fails   error
	panics  bool
	plan    *workload.Plan
	notices chan workload.Notice

	// Answers is what came up the sessions.
	Answers chan workload.Answer
	// Heard is everything else that was received, in order.
	heard []any
	// connections of the sessions and heartbeats, in order.
	connections []string
}

// New starts a master that ends with the test.
func New(t testing.TB) *Master {
	t.Helper()
	m := &Master{Cluster: resttest.New(t, true), notices: make(chan workload.Notice, 16), Answers: make(chan workload.Answer, 16)}
	service, err := api.New(api.Options{
		Knowledge: m.Cluster.State, Self: nobody{}, Administration: m.Cluster.State, Tokens: m.Cluster.State,
		Enrolment: m, Sessions: m, Fingerprint: m.Cluster.CA.Fingerprint(), Now: resttest.At,
	})
	if err != nil {
		t.Fatal(err)
	}
	server, _, stop := m.Cluster.Serve(t, func(o *rest.Options) {
		o.GRPC = rpc.New(service, slog.New(slog.NewTextHandler(t.Output(), nil)))
	})
	m.Address, m.Stop = server.Addr().String(), stop
	return m
}

// Fail makes every call fail with err; nil ends that.
func (m *Master) Fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fails = err
}

// Panic makes every call panic.
func (m *Master) Panic() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.panics = true
}

// SetPlan is what Plan answers; nil for no newer one.
func (m *Master) SetPlan(p *workload.Plan) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.plan = p
}

// Tell sends a notice down the session that stands or comes next.
func (m *Master) Tell(n workload.Notice) { m.notices <- n }

// Heard returns what was received, in order.
func (m *Master) Heard() []any {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]any{}, m.heard...)
}

// Connections returns over which connections sessions and heartbeats came, in
// order.
func (m *Master) Connections() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string{}, m.connections...)
}

func (m *Master) take(what any) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.panics {
		panic("secret inside: the master is broken")
	}
	m.heard = append(m.heard, what)
	return m.fails
}

// Registered is what Heard tells of a registration.
type Registered struct {
	// Proven is the id of the node whose key was proven.
	Proven string
	workload.Registration
}

// Register lets everybody in.
func (m *Master) Register(_ context.Context, proven string, r workload.Registration) (workload.Admission, error) {
	return workload.Admission{
		NodeID: r.NodeID, Name: r.Name, Status: topology.StatusInitializing, Certificate: []byte("crt"), CA: []byte("ca"),
		Keyring: workload.Keyring{Keys: [][]byte{{1}}}, Plan: workload.Plan{Node: r.NodeID, Revision: 1, LogLevel: "info"},
	}, m.take(Registered{proven, r})
}

// Renew answers with a certificate that is none.
func (m *Master) Renew(_ context.Context, _, node string, csr []byte) (certificate, ca []byte, err error) {
	return append([]byte("crt of "+node+" for "), csr...), []byte("ca"), m.take("renew " + node)
}

// Leave notes who left.
func (m *Master) Leave(_ context.Context, _, node string) error { return m.take("leave " + node) }

// Attach sends what Tell is given and passes answers on.
func (m *Master) Attach(ctx context.Context, connection string, h workload.Hello, send func(workload.Notice) error, receive func() (workload.Answer, error)) error {
	m.mu.Lock()
	m.connections = append(m.connections, connection)
	m.mu.Unlock()
	if err := m.take(h); err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	go func() { // ends with the stream, since receive fails then
		for {
			a, err := receive()
			if err != nil {
				end(err)
				return
			}
			m.Answers <- a
		}
	}()
	for {
		select {
		case n := <-m.notices:
			if err := send(n); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Heartbeat answers with revision 4.
func (m *Master) Heartbeat(_ context.Context, connection string, h workload.Heartbeat) (workload.HeartbeatReply, error) {
	m.mu.Lock()
	m.connections = append(m.connections, connection)
	m.mu.Unlock()
	return workload.HeartbeatReply{PlanRevision: 4, MasterTime: resttest.At()}, m.take(h)
}

// Report notes the report.
func (m *Master) Report(_ context.Context, _ string, r workload.Report) error { return m.take(r) }

// NextPlan answers with what SetPlan was given.
func (m *Master) NextPlan(_ context.Context, _, node string, _ int64, _ string) (*workload.Plan, error) {
	err := m.take("plan for " + node)
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.plan, err
}

type nobody struct{}

func (nobody) Status() api.SelfStatus      { return api.SelfStatus{ID: "n-0"} }
func (nobody) Leave(context.Context) error { return nil }
