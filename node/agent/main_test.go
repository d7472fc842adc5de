package agent

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"piccolo.io/piccolo/node/runtest"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/podman"
	"piccolo.io/piccolo/podman/podmantest"
	"piccolo.io/piccolo/readiness"
	"piccolo.io/piccolo/store/cache"
	"piccolo.io/piccolo/topology"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func eventually(t testing.TB, what string, problem func() string) {
	t.Helper()
	runtest.Eventually(t, what, problem)
}

// fakeMaster is one master as the agent sees it.
type fakeMaster struct {
	mu        sync.Mutex
	down      error // Connect fails with it
	refuses   error // Attach fails with it
	beatErr   error
	reportErr error
	hang      chan struct{} // heartbeats wait for it, nil for none
	holdSend  chan struct{} // reports wait for it, nil for none
	plan      *workload.Plan
	view      workload.View

	dials    []string
	hellos   []workload.Hello
	beats    []workload.Heartbeat
	reports  []workload.Report
	confirms []confirm
	answers  []workload.Answer
	open     int
	cut      func(error) // ends the newest session
	notices  chan workload.Notice
}

type confirm struct {
	applied int64
	err     string
}

func (m *fakeMaster) connect(_ context.Context, address string) (Uplink, string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dials = append(m.dials, address)
	if m.down != nil {
		return nil, "", m.down
	}
	m.open++
	return &fakeLink{m: m}, "10.0.0.2", nil
}

// edit changes the master, or looks at it, in peace.
func (m *fakeMaster) edit(f func(*fakeMaster)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(m)
}

// fakeLink is one connection to it.
type fakeLink struct{ m *fakeMaster }

func (l *fakeLink) Attach(ctx context.Context, h workload.Hello, notice func(workload.Notice), answers <-chan workload.Answer) error {
	ctx, cut := context.WithCancelCause(ctx)
	defer cut(nil)
	notices := make(chan workload.Notice, 64)
	var refused error
	var view workload.View
	l.m.edit(func(m *fakeMaster) {
		m.hellos = append(m.hellos, h)
		refused, view, m.cut, m.notices = m.refuses, m.view, cut, notices
	})
	if refused != nil {
		return refused
	}
	notice(workload.Notice{View: &view})
	for {
		select {
		case n := <-notices:
			notice(n)
		case a := <-answers:
			l.m.edit(func(m *fakeMaster) { m.answers = append(m.answers, a) })
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (l *fakeLink) Heartbeat(ctx context.Context, h workload.Heartbeat) (workload.HeartbeatReply, error) {
	var hang chan struct{}
	var err error
	reply := workload.HeartbeatReply{MasterTime: time.Now()}
	l.m.edit(func(m *fakeMaster) {
		m.beats = append(m.beats, h)
		hang, err = m.hang, m.beatErr
		if m.plan != nil {
			reply.PlanRevision = m.plan.Revision
		}
	})
	if hang != nil {
		select {
		case <-hang:
		case <-ctx.Done():
			return reply, ctx.Err()
		}
	}
	return reply, err
}

func (l *fakeLink) Report(ctx context.Context, r workload.Report) error {
	var hold chan struct{}
	var err error
	l.m.edit(func(m *fakeMaster) { m.reports, hold, err = append(m.reports, r), m.holdSend, m.reportErr })
	if hold == nil {
		return err
	}
	select {
	case <-hold:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *fakeLink) Plan(_ context.Context, _ string, applied int64, applyError string) (*workload.Plan, error) {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	l.m.confirms = append(l.m.confirms, confirm{applied, applyError})
	if l.m.plan == nil || l.m.plan.Revision == applied {
		return nil, nil
	}
	p := *l.m.plan
	return &p, nil
}

func (l *fakeLink) Close() error {
	l.m.edit(func(m *fakeMaster) { m.open-- })
	return nil
}

// tell sends a notice down the newest session.
func (m *fakeMaster) tell(n workload.Notice) {
	m.mu.Lock()
	notices := m.notices
	m.mu.Unlock()
	notices <- n
}

// checker is the readiness of the board, which tests set.
type checker struct {
	mu      sync.Mutex
	results []readiness.Result
	runs    int
}

func (c *checker) Run(_ context.Context, gate readiness.Gate) readiness.Report {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.runs++
	return readiness.Report{Gate: gate, Results: append([]readiness.Result{}, c.results...)}
}

func (c *checker) set(results ...readiness.Result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.results = results
}

// board is an agent and everything around it.
type board struct {
	*Agent
	t       testing.TB
	o       Options
	master  *fakeMaster
	podman  *podmantest.Fake
	checker *checker
	dir     string
	disk    *cache.Cache

	mu      sync.Mutex
	obeyed  []workload.Plan
	refuse  error // Apply fails with it
	removed []string
	rings   []workload.Keyring
	views   int
	atApply func(workload.Plan)
}

// newBoard makes the surroundings of an agent. change may alter its options.
func newBoard(t testing.TB, change func(*Options)) *board {
	t.Helper()
	b := &board{t: t, podman: podmantest.NewFake(t, ""), checker: &checker{}, dir: t.TempDir()}
	b.master = &fakeMaster{plan: plan(3, "info"), view: view("10.0.0.1")}
	var err error
	if b.disk, err = cache.New(cache.Options{Dir: filepath.Join(b.dir, "cache")}); err != nil {
		t.Fatal(err)
	}
	engine, err := podman.New(podman.Options{Socket: b.podman.Socket()})
	if err != nil {
		t.Fatal(err)
	}
	b.o = Options{
		Identity: Identity{ID: "n-1", Name: "kitchen", Role: topology.RoleSub, GossipPort: 7946, Version: "v1", MachineID: "m-1", Instance: "run-1", DataDir: b.dir},
		Masters:  []string{"10.0.0.1:7443"}, Connect: b.master.connect, Podman: engine, Checker: b.checker,
		Cache: b.disk, Apply: b.apply, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		OnRemoved: func(reason string) { b.edit(func() { b.removed = append(b.removed, reason) }) },
		OnKeyring: func(k workload.Keyring) { b.edit(func() { b.rings = append(b.rings, k) }) },
		OnView:    func(workload.View) { b.edit(func() { b.views++ }) },
	}
	if change != nil {
		change(&b.o)
	}
	return b
}

func (b *board) edit(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

func (b *board) apply(p workload.Plan) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.atApply != nil {
		b.atApply(p)
	}
	if b.refuse != nil {
		return b.refuse
	}
	b.obeyed = append(b.obeyed, p)
	return nil
}

// start makes an agent of the options and runs it until the test ends or
// stop is called.
func (b *board) start() (stop func()) {
	b.t.Helper()
	var err error
	if b.Agent, err = New(b.o); err != nil {
		b.t.Fatal(err)
	}
	return runtest.Run(b.t, "the agent", b.Run)
}

// online starts the agent and waits until it has done all that it does first.
func (b *board) online() (stop func()) {
	b.t.Helper()
	stop = b.start()
	b.waitMode(ModeOnline)
	eventually(b.t, "the first round", func() string {
		b.master.mu.Lock()
		defer b.master.mu.Unlock()
		last := confirm{}
		if n := len(b.master.confirms); n > 0 {
			last = b.master.confirms[n-1]
		}
		switch {
		case len(b.master.beats) == 0:
			return "no heartbeat"
		case len(b.master.reports) == 0 || !b.master.reports[len(b.master.reports)-1].Complete:
			return "no complete report"
		case b.master.plan != nil && last.applied != b.master.plan.Revision:
			return "plan not confirmed"
		}
		return ""
	})
	return stop
}

func (b *board) waitMode(mode Mode) {
	b.t.Helper()
	eventually(b.t, "mode", func() string {
		if s := b.Standing(); s.Mode != mode {
			return "it is " + string(s.Mode) + ": " + s.Reason
		}
		return ""
	})
}

// waitReport waits for a report of which problem says nothing bad.
func (b *board) waitReport(what string, problem func(workload.Report) string) {
	b.t.Helper()
	eventually(b.t, what, func() string {
		b.master.mu.Lock()
		defer b.master.mu.Unlock()
		if len(b.master.reports) == 0 {
			return "no report"
		}
		return problem(b.master.reports[len(b.master.reports)-1])
	})
}

func plan(revision int64, level string) *workload.Plan {
	return &workload.Plan{Node: "n-1", Revision: revision, Name: "kitchen", Labels: map[string]string{}, HeartbeatInterval: topology.Duration(topology.DefaultHeartbeatInterval), LogLevel: level}
}

func view(masters ...string) workload.View {
	v := workload.View{ClusterID: "c-1", ClusterName: "home", Revision: 1, Nodes: []topology.Node{{ID: "n-1", Name: "kitchen", IP: "10.0.0.2", Role: topology.RoleSub, Status: topology.StatusReady, Labels: map[string]string{}}}}
	for _, ip := range masters {
		v.Nodes = append(v.Nodes, topology.Node{ID: "n-" + ip, Name: "main", IP: ip, Role: topology.RoleMaster, APIPort: 7443, Status: topology.StatusReady, Labels: map[string]string{}})
	}
	return v
}

var errRefusedDial = errors.New("connect: connection refused")
