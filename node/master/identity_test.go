package master

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/topology"
)

// calls are everything that a node does beside attaching.
func (b *board) calls(connection string) map[string]error {
	csr := must[[]byte](b.t)(b.key.CSR())
	_, _, renew := b.c.Renew(b.t.Context(), connection, b.id, csr)
	return map[string]error{
		"heartbeat": second(b.c.Heartbeat(b.t.Context(), connection, b.heartbeat())),
		"report":    b.c.Report(b.t.Context(), connection, b.report(topology.ReasonPodmanDown)),
		"plan":      second(b.c.NextPlan(b.t.Context(), connection, b.id, 0, "stolen")),
		"renew":     renew,
		"leave":     b.c.Leave(b.t.Context(), connection, b.id),
	}
}

// TestCertificateAloneIsNotEnough: calls are taken over the connection that
// attached and over no other.
func TestCertificateAloneIsNotEnough(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	b := c.join("kitchen")
	before := c.revision()
	for call, err := range b.calls(b.connection) {
		if !errors.Is(err, topology.ErrTransition) || !strings.Contains(err.Error(), "attach first") {
			t.Errorf("%s without a session: %v", call, err)
		}
	}
	if c.revision() != before {
		t.Error("something of it was written")
	}
	b.attach()
	b.beat()
	b.obey()
	b.sendReport()
	c.waitStatus(b.id, topology.StatusReady)
	for call, err := range b.calls("10.0.0.66:4711") {
		if !errors.Is(err, topology.ErrIdentityInUse) || strings.HasSuffix(err.Error(), ": invalid") {
			t.Errorf("%s of a thief: %v", call, err)
		}
	}
	if n := c.node(b.id); n.Status != topology.StatusReady || n.ApplyError != "" {
		t.Errorf("the thief had an effect: %+v", n)
	}
	eventually(t, "the alert", func() string {
		if list := c.Alerts(); len(list) != 1 || list[0].Kind != "IdentityInUse" || !strings.Contains(list[0].Message, "at 10.0.0.66 ") {
			return fmt.Sprint(list)
		}
		return ""
	})
}

// TestInstanceProvesNothing: it travels through the mesh, so that a thief
// knows it; the board that answers keeps its session.
func TestInstanceProvesNothing(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	b := c.ready("kitchen")
	thief := newBoard(t, c, "thief")
	thief.id, thief.hello, thief.connection = b.id, b.hello, "10.0.0.66:4711"
	if err := thief.refused(); !errors.Is(err, topology.ErrIdentityInUse) {
		t.Errorf("refused with %v", err)
	}
	b.beat()
}

// TestLastCallsOfTheOldConnection are refused without an alert: the node has
// changed its network, nobody stole anything.
func TestLastCallsOfTheOldConnection(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	b := c.ready("kitchen")
	b.sleep(true)
	again := newBoard(t, c, "kitchen")
	again.id, again.key, again.hello, again.connection = b.id, b.key, b.hello, "10.0.0.2:2"
	again.attach()
	if _, err := c.Heartbeat(t.Context(), b.connection, b.heartbeat()); !errors.Is(err, topology.ErrTransition) {
		t.Errorf("a late heartbeat: %v", err)
	}
	again.beat()
	if list := c.Alerts(); len(list) > 0 {
		t.Errorf("alerts: %+v", list)
	}
}

// TestComeBack needs the key that the cluster knows and no token. Without a
// proof a good token does not help.
func TestComeBack(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	b, stranger := c.join("kitchen"), newBoard(t, c, "stranger")
	for name, proven := range map[string]string{"nothing proven": "", "another key proven": stranger.id} {
		if a, err := c.Register(t.Context(), proven, b.registration(c.token(auth.JoinOptions{}))); !errors.Is(err, auth.ErrDenied) || len(a.Certificate) > 0 || len(a.Keyring.Keys) > 0 {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
	a := must[workload.Admission](t)(c.Register(t.Context(), b.id, b.registration("")))
	if len(a.Certificate) == 0 || len(a.Keyring.Keys) != 1 || a.Plan.Node != b.id || len(a.View.Nodes) != 2 {
		t.Errorf("with its key: %+v", a)
	}
}

// TestTokenUses counts the nodes that joined, not how often they asked.
func TestTokenUses(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	token := c.token(auth.JoinOptions{Description: "mine"})
	for _, name := range []string{"a", "b"} {
		r := newBoard(t, c, name).registration(token)
		for range 2 {
			must[workload.Admission](t)(c.Register(t.Context(), r.NodeID, r))
		}
	}
	for _, r := range must[[]auth.JoinRecord](t)(c.ListTokens(t.Context())) {
		if want := map[string]int{"mine": 2}[r.Description]; r.Uses != want {
			t.Errorf("token %q was used %d times, not %d", r.Description, r.Uses, want)
		}
	}
}

func TestClusterIsFull(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	token := c.token(auth.JoinOptions{})
	for i := range maxNodes - 1 {
		must[workload.Admission](t)(c.Register(t.Context(), "", newBoard(t, c, fmt.Sprint("n", i)).registration(token)))
	}
	if _, err := c.Register(t.Context(), "", newBoard(t, c, "one-more").registration(token)); !errors.Is(err, topology.ErrClusterFull) {
		t.Errorf("node %d: %v", maxNodes+1, err)
	}
}

// TestRegisterWaitsNoLongerThanItsCaller.
func TestRegisterWaitsNoLongerThanItsCaller(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	c.sessions.registering <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Register(ctx, "", newBoard(t, c, "kitchen").registration("")); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// TestTroubleIsNoRemoval: a node that hears that it was removed leaves for
// good, so only a revocation says that.
func TestTroubleIsNoRemoval(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.member(ctx, "n-000000000000"); err == nil || errors.Is(err, topology.ErrRemoved) {
		t.Errorf("%v", err)
	}
}
