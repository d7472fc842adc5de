package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/api/client"
	"piccolo.io/piccolo/node/api/rest/resttest"
	"piccolo.io/piccolo/node/api/rpc/rpctest"
	"piccolo.io/piccolo/node/pki"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/topology"
)

// dialAgent connects with the sub's certificate.
func dialAgent(t testing.TB, m *rpctest.Master) (*client.Agent, string) {
	t.Helper()
	a, err := client.DialAgent(limited(t), m.Address, m.Cluster.ClientTLS(t, m.Cluster.Sub))
	must(t, err)
	t.Cleanup(func() { _ = a.Close() })
	return a, strings.TrimPrefix(m.Cluster.Sub.Current().Subject.CommonName, "node:")
}

func newKey(t testing.TB) *pki.Identity {
	t.Helper()
	identity, err := pki.CreateKey(t.TempDir())
	must(t, err)
	return identity
}

func limited(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func TestAgentCalls(t *testing.T) {
	m := rpctest.New(t)
	a, id := dialAgent(t, m)
	if a.Own != "127.0.0.1" || a.Master.Subject.CommonName != m.Cluster.Master.Current().Subject.CommonName {
		t.Errorf("connected from %s to %s", a.Own, a.Master.Subject.CommonName)
	}
	identity := newKey(t)
	admission, err := a.Register(limited(t), identity, workload.Registration{NodeID: "n-new", Name: "new", Token: "pic1.x", Time: resttest.At()})
	if err != nil || admission.NodeID != "n-new" || admission.Plan.Revision != 1 || len(admission.Keyring.Keys) != 1 {
		t.Errorf("register: %+v, %v", admission, err)
	}
	beat := workload.Heartbeat{Node: id, Sequence: 3, Usage: topology.Usage{At: resttest.At(), Load1: 0.5}, AppliedRevision: 2, ApplyError: "why"}
	reply, err := a.Heartbeat(limited(t), beat)
	if err != nil || reply.PlanRevision != 4 || !reply.MasterTime.Equal(resttest.At()) {
		t.Errorf("heartbeat: %+v, %v", reply, err)
	}
	report := workload.Report{Node: id, Sequence: 5, At: resttest.At(), Conditions: topology.Reasons{topology.ReasonPodmanDown}, Containers: []workload.Container{{ID: "c1", State: "running", CreatedAt: resttest.At()}}}
	must(t, a.Report(limited(t), report))
	if p, err := a.Plan(limited(t), id, 1, ""); err != nil || p != nil {
		t.Errorf("no newer plan: %+v, %v", p, err)
	}
	m.SetPlan(&workload.Plan{Node: id, Revision: 9, LogLevel: "warn"})
	if p, err := a.Plan(limited(t), id, 1, ""); err != nil || p == nil || p.Revision != 9 || p.LogLevel != "warn" {
		t.Errorf("a newer plan: %+v, %v", p, err)
	}
	if crt, err := a.Renew(limited(t), []byte("csr")); err != nil || string(crt) != "crt of "+id+" for csr" {
		t.Errorf("renew: %s, %v", crt, err)
	}
	must(t, a.Leave(limited(t), id))
	heard := m.Heard()
	if r := heard[0].(rpctest.Registered); r.Proven != identity.ID() || r.Name != "new" {
		t.Errorf("%s registered, proven %q", r.Name, r.Proven)
	}
	want := []any{beat, report}
	got := []any{heard[1], heard[2]}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("received (-sent +received):\n%s", diff)
	}
}

func TestAgentSession(t *testing.T) {
	m := rpctest.New(t)
	a, id := dialAgent(t, m)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	notices, answers, ended := make(chan workload.Notice, 16), make(chan workload.Answer, 4), make(chan error, 1)
	go func() {
		ended <- a.Attach(ctx, workload.Hello{Node: id, Instance: "run-1"}, func(n workload.Notice) { notices <- n }, answers)
	}()
	m.Tell(workload.Notice{Ping: 7})
	next := func() workload.Notice {
		select {
		case n := <-notices:
			return n
		case err := <-ended:
			t.Fatalf("the session ended: %v", err)
		case <-time.After(patience):
			t.Fatal("no notice came")
		}
		return workload.Notice{}
	}
	if n := next(); n.Ping != 7 {
		t.Errorf("%+v", n)
	}
	answers <- workload.Answer{Pong: 7}
	answers <- workload.Answer{Stats: &workload.StatsAnswer{Query: 8, Error: "none"}}
	for _, ok := range []func(workload.Answer) bool{
		func(a workload.Answer) bool { return a.Pong == 7 }, func(a workload.Answer) bool { return a.Stats != nil && a.Stats.Error == "none" },
	} {
		select {
		case got := <-m.Answers:
			if !ok(got) {
				t.Errorf("%+v", got)
			}
		case <-time.After(patience):
			t.Fatal("no answer came")
		}
	}
	// Calls go on beside the session.
	_, err := a.Heartbeat(limited(t), workload.Heartbeat{Node: id})
	must(t, err)
	cancel()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("ended by its context: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("the session outlives its context")
	}
}

// TestMasterStops: the session ends, every further call fails at once, and
// nothing is dialled again.
func TestMasterStops(t *testing.T) {
	m := rpctest.New(t)
	a, id := dialAgent(t, m)
	notices, ended := make(chan workload.Notice, 1), make(chan error, 1)
	go func() {
		ended <- a.Attach(limited(t), workload.Hello{Node: id}, func(n workload.Notice) { notices <- n }, nil)
	}()
	m.Tell(workload.Notice{Ping: 1})
	select {
	case <-notices:
	case <-time.After(patience):
		t.Fatal("no session")
	}
	m.Stop()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("the session ended without an error")
		}
	case <-time.After(patience):
		t.Fatal("the session outlives the master")
	}
	if _, err := a.Heartbeat(limited(t), workload.Heartbeat{Node: id}); err == nil {
		t.Error("a heartbeat reached a master that has stopped")
	}
}

// TestAgentErrors come back as what they were.
func TestAgentErrors(t *testing.T) {
	m := rpctest.New(t)
	a, id := dialAgent(t, m)
	for _, k := range api.Kinds() {
		m.Fail((&api.Error{Kind: k.Kind, Message: "change node: no"}).WithHint("wait"))
		_, err := a.Heartbeat(limited(t), workload.Heartbeat{Node: id})
		var e *api.Error
		if !errors.As(err, &e) || e.Kind != k.Kind || e.Message != "change node: no" || e.Hint != "wait" {
			t.Errorf("%s came back as %+v", k.Kind, err)
		}
	}
	m.Fail(fmt.Errorf("%w: kitchen was removed by admin", topology.ErrRemoved))
	for name, err := range map[string]error{
		"heartbeat": err1(a.Heartbeat(limited(t), workload.Heartbeat{Node: id})), "report": a.Report(limited(t), workload.Report{Node: id}),
		"plan": err1(a.Plan(limited(t), id, 0, "")), "leave": a.Leave(limited(t), id), "renew": err1(a.Renew(limited(t), nil)),
		"register": err1(a.Register(limited(t), newKey(t), workload.Registration{})),
		"attach":   a.Attach(limited(t), workload.Hello{Node: id}, func(workload.Notice) {}, nil),
	} {
		if !errors.Is(err, topology.ErrRemoved) || !strings.Contains(err.Error(), "kitchen was removed by admin") {
			t.Errorf("%s: %v", name, err)
		}
	}
	m.Fail(nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	if _, err := a.Heartbeat(ctx, workload.Heartbeat{Node: id}); !errors.Is(err, context.DeadlineExceeded) || api.Classify(err).Kind != api.KindUnavailable {
		t.Errorf("no time: %v", err)
	}
}

func err1[T any](_ T, err error) error { return err }

// TestDialAgentRefuses what is no master of this cluster, and says what it is.
func TestDialAgentRefuses(t *testing.T) {
	m, other := rpctest.New(t), rpctest.New(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer silent.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, closed.Close())
	talker, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer talker.Close()
	go func() {
		for {
			c, err := talker.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "SSH-2.0-OpenSSH_9.2\r\n")
			_ = c.Close()
		}
	}()
	config := m.Cluster.ClientTLS(t, m.Cluster.Sub)
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	for name, try := range map[string]struct {
		ctx     context.Context
		address string
		want    error
	}{
		"another cluster": {limited(t), other.Address, pki.ErrOtherCluster}, "not piccolo": {limited(t), talker.Addr().String(), pki.ErrNotPiccolo},
		"silence": {short, silent.Addr().String(), context.DeadlineExceeded}, "nobody": {limited(t), closed.Addr().String(), nil},
	} {
		a, err := client.DialAgent(try.ctx, try.address, config)
		if err == nil {
			_ = a.Close()
			t.Errorf("%s: connected", name)
		} else if try.want != nil && !errors.Is(err, try.want) || !strings.Contains(err.Error(), try.address) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestCloseWithoutACall gives the connection back too.
func TestCloseWithoutACall(t *testing.T) {
	m := rpctest.New(t)
	a, err := client.DialAgent(limited(t), m.Address, m.Cluster.ClientTLS(t, m.Cluster.Sub))
	must(t, err)
	must(t, a.Close())
	m.Stop() // would wait for a connection that is open
}

// TestSilence: a master that nobody asks anything is heard of all the same,
// and one that has gone is not.
func TestSilence(t *testing.T) {
	m := rpctest.New(t)
	a, id := dialAgent(t, m)
	_, err := a.Heartbeat(limited(t), workload.Heartbeat{Node: id, Usage: topology.Usage{At: resttest.At()}})
	must(t, err)
	tick := time.NewTicker(api.SignOfLife / 20)
	defer tick.Stop()
	last, end := a.Silence(), time.After(patience)
	for signs := 0; signs < 3; {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("%d signs of life in %s", signs, patience)
		}
		now := a.Silence()
		if now < last {
			signs++
		}
		last = now
	}
	must(t, a.Close())
	for before := a.Silence(); a.Silence() < before+2*api.SignOfLife; {
		select {
		case <-tick.C:
		case <-end:
			t.Fatal("still heard after the end")
		}
	}
}
