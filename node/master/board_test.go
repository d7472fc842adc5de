package master

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/node/pki"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/topology"
)

// board is a node as the master sees it: its key, and a session that answers
// pings while it is awake.
type board struct {
	t    testing.TB
	c    *cluster
	name string
	id   string
	key  *pki.Identity

	hello workload.Hello
	// connection that all calls come over.
	connection string
	notices    chan workload.Notice
	answers    chan workload.Answer
	gone       chan struct{}
	ended      chan error
	unplug     func()

	mu     sync.Mutex
	asleep bool
	// keyrings are those that it was told, in order.
	keyrings []workload.Keyring
	stats    func(query uint64) *workload.StatsAnswer
}

func newBoard(t testing.TB, c *cluster, name string) *board {
	t.Helper()
	key := must[*pki.Identity](t)(pki.CreateKey(t.TempDir()))
	b := &board{t: t, c: c, name: name, id: key.ID(), key: key, connection: "10.0.0.2:" + key.ID()}
	b.hello = workload.Hello{Node: b.id, Instance: "run-1", MachineID: "m-" + name, IP: "10.0.0.2", GossipPort: 7946, Version: "v1", Time: time.Now()}
	return b
}

// registration is a request to join that is in order.
func (b *board) registration(token string) workload.Registration {
	return workload.Registration{
		NodeID: b.id, Name: b.name, Hostname: b.name, IP: "10.0.0.2", Role: topology.RoleSub, Token: token, CSR: must[[]byte](b.t)(b.key.CSR()),
		Resources: topology.Resources{CPU: 4, Memory: 1024, Disk: 32}, Platform: topology.Platform{OS: "linux", Arch: "arm64"},
		Version: "v1", MachineID: "m-" + b.name, GossipPort: 7946,
	}
}

// join registers with a fresh token.
func (c *cluster) join(name string) *board {
	c.t.Helper()
	b := newBoard(c.t, c, name)
	must[workload.Admission](c.t)(c.Register(c.t.Context(), b.id, b.registration(c.token(auth.JoinOptions{}))))
	return b
}

// attach opens a session and waits until the master has taken it.
func (b *board) attach() {
	b.t.Helper()
	b.notices, b.answers, b.gone, b.ended = make(chan workload.Notice, 256), make(chan workload.Answer, 16), make(chan struct{}), make(chan error, 1)
	gone, answers, notices, ended := b.gone, b.answers, b.notices, b.ended
	send := func(n workload.Notice) error {
		select {
		case <-gone:
			return errors.New("send: connection reset by peer")
		default:
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		switch {
		case b.asleep:
		case n.Ping != 0:
			answers <- workload.Answer{Pong: n.Ping}
		case n.StatsQuery != 0 && b.stats != nil:
			answers <- workload.Answer{Stats: b.stats(n.StatsQuery)}
		case n.Keyring != nil:
			b.keyrings = append(b.keyrings, *n.Keyring)
		}
		notices <- n
		return nil
	}
	receive := func() (workload.Answer, error) {
		select {
		case a := <-answers:
			return a, nil
		case <-gone:
			return workload.Answer{}, io.EOF
		}
	}
	b.unplug = sync.OnceFunc(func() { close(gone) })
	b.t.Cleanup(b.unplug)
	go func() { ended <- b.c.Attach(context.Background(), b.connection, b.hello, send, receive) }()
	b.await("the view", func(n workload.Notice) bool { return n.View != nil })
}

// refused tries to attach and returns why that failed.
func (b *board) refused() error {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	hold := make(chan struct{})
	defer close(hold)
	err := b.c.Attach(ctx, b.connection, b.hello, func(workload.Notice) error { return nil }, func() (workload.Answer, error) {
		<-hold
		return workload.Answer{}, io.EOF
	})
	if err == nil || ctx.Err() != nil {
		b.t.Fatalf("%s was not refused: %v", b.name, err)
	}
	return err
}

// await skips notices until one is what the test waits for.
func (b *board) await(what string, ok func(workload.Notice) bool) workload.Notice {
	b.t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case n := <-b.notices:
			if ok(n) {
				return n
			}
		case err := <-b.ended:
			b.t.Fatalf("the session of %s ended before %s came: %v", b.name, what, err)
		case <-deadline:
			b.t.Fatalf("%s did not reach %s within %s", what, b.name, patience)
		}
	}
}

// detach ends the session as a process does that dies.
func (b *board) detach() {
	b.t.Helper()
	b.unplug()
	select {
	case <-b.ended:
	case <-time.After(patience):
		b.t.Fatalf("the session of %s did not end", b.name)
	}
}

// sleep makes the board answer no more, as SIGSTOP does; its session stays.
func (b *board) sleep(asleep bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asleep = asleep
}

// beat sends a heartbeat and returns the answer.
func (b *board) beat() workload.HeartbeatReply {
	b.t.Helper()
	return must[workload.HeartbeatReply](b.t)(b.c.Heartbeat(b.t.Context(), b.connection, b.heartbeat()))
}

func (b *board) heartbeat() workload.Heartbeat {
	return workload.Heartbeat{Node: b.id, Usage: topology.Usage{At: b.c.wall.now(), Load1: 0.5}, AppliedRevision: b.hello.AppliedRevision}
}

// obey fetches plans until there is no newer one, and confirms.
func (b *board) obey() {
	b.t.Helper()
	for {
		p := must[*workload.Plan](b.t)(b.c.NextPlan(b.t.Context(), b.connection, b.id, b.hello.AppliedRevision, ""))
		if p == nil {
			return
		}
		b.hello.AppliedRevision = p.Revision
	}
}

// report says what the board runs, and for what it calls itself unfit.
func (b *board) report(conditions ...topology.Reason) workload.Report {
	return workload.Report{
		Node: b.id, Sequence: 1, At: b.c.wall.now(), Conditions: topology.Reasons{}.With(conditions...), Complete: true,
		Containers: []workload.Container{{ID: "c1", Name: "web", Image: "app:1", State: "running", Ports: []workload.Port{}}},
		Resources:  topology.Resources{CPU: 4, Memory: 1024, Disk: 32}, Platform: topology.Platform{OS: "linux", Arch: "arm64"},
		Version: "v1", PodmanVersion: "5.4.2",
	}
}

func (b *board) sendReport(conditions ...topology.Reason) {
	b.t.Helper()
	if err := b.c.Report(b.t.Context(), b.connection, b.report(conditions...)); err != nil {
		b.t.Fatal(err)
	}
}

// ready joins a node and brings it to Ready, attached.
func (c *cluster) ready(name string) *board {
	c.t.Helper()
	b := c.join(name)
	b.attach()
	b.beat()
	b.obey()
	b.sendReport()
	c.waitStatus(b.id, topology.StatusReady)
	return b
}
