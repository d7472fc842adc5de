package master

import (
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"testing"

	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/topology"
)

// TestConditionsBesideThePlan: a node that confirms its plan and reports a
// condition at the same moment does not stay Ready.
func TestConditionsBesideThePlan(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	for i := range 12 {
		b := c.join(fmt.Sprint("n", i))
		b.attach()
		b.beat()
		b.sendReport()
		p := must[*workload.Plan](t)(c.NextPlan(t.Context(), b.connection, b.id, 0, ""))
		var both sync.WaitGroup
		both.Go(func() { b.sendReport(topology.ReasonPodmanDown) })
		both.Go(func() {
			if _, err := c.NextPlan(t.Context(), b.connection, b.id, p.Revision, ""); err != nil {
				t.Error(err)
			}
		})
		both.Wait()
		c.waitStatus(b.id, topology.StatusNotReady, topology.ReasonPodmanDown)
	}
}

// TestRemovedWhileItAttaches: the removal falls into the question to its
// former session.
func TestRemovedWhileItAttaches(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	b := c.ready("kitchen")
	b.sleep(true) // the old session answers no pings
	second := &board{t: t, c: c, name: "kitchen", id: b.id, key: b.key, hello: b.hello, connection: "10.0.0.2:second"}
	second.hello.AppliedRevision = 0
	refused := make(chan error, 1)
	go func() { refused <- second.refused() }()
	b.await("the ping of the admission", func(n workload.Notice) bool { return n.Ping != 0 })
	b.detach()
	must[topology.Node](t)(c.SignalNode(t.Context(), b.id, topology.SignalRemove, "admin"))
	if err := <-refused; !errors.Is(err, topology.ErrRemoved) {
		t.Errorf("refused with %v", err)
	}
	if c.sessions.get(b.id) != nil {
		t.Error("it has a session")
	}
}

// TestReportBesideRemoval leaves nothing behind.
func TestReportBesideRemoval(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	for i := range 12 {
		b := c.ready(fmt.Sprint("n", i))
		r := b.report()
		r.Containers[0].Name = "other"
		var both sync.WaitGroup
		both.Go(func() { _ = c.Report(t.Context(), b.connection, r) }) // may be refused
		both.Go(func() {
			if err := c.Leave(t.Context(), b.connection, b.id); err != nil {
				t.Error(err)
			}
		})
		both.Wait()
		eventually(t, "its record goes", func() string { return c.node(b.id).ID })
		if _, err := c.reports.collection.Get(t.Context(), b.id); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("its report: %v", err)
		}
	}
}

// TestAlertOfAnother: a node's alerts are its own, whatever it calls them.
func TestAlertOfAnother(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	victim, evil := c.ready("victim"), c.ready("evil")
	c.raise(t.Context(), workload.Alert{Kind: identityInUse, Node: victim.id, Severity: workload.SeverityError, Message: "stolen"})
	own := func() string {
		v, _ := c.watchers.value("alert/" + alertID(identityInUse, victim.id))
		if a, ok := v.(workload.Alert); !ok || a.Message != "stolen" {
			return fmt.Sprintf("the watchers see %+v", v)
		}
		return ""
	}
	eventually(t, "the master's alert", own)
	r := evil.report()
	r.Alerts = []workload.Alert{{ID: alertID(identityInUse, victim.id), Kind: identityInUse, Message: "all is well"}}
	for _, alerts := range [][]workload.Alert{r.Alerts, nil} {
		r.Alerts = alerts
		if err := c.Report(t.Context(), evil.connection, r); err != nil {
			t.Fatal(err)
		}
		eventually(t, "its own alert comes and goes", func() string {
			v, _ := c.watchers.value("alert/" + evil.id + "/" + identityInUse)
			if a, ok := v.(workload.Alert); ok != (len(alerts) > 0) || ok && a.NodeName != "evil" {
				return fmt.Sprintf("the watchers see %+v", v)
			}
			return ""
		})
		if problem := own(); problem != "" {
			t.Error(problem)
		}
	}
}

// TestSubIsNoServer: no name or address that a sub gives itself makes its
// certificate one that curl takes for the master's.
func TestSubIsNoServer(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	b := newBoard(t, c, "localhost")
	r := b.registration(c.token(auth.JoinOptions{}))
	r.IP = "10.0.0.1" // the master's
	a := must[workload.Admission](t)(c.Register(t.Context(), b.id, r))
	crt, roots := leaf(t, a.Certificate), x509.NewCertPool()
	roots.AppendCertsFromPEM(a.CA)
	for _, name := range []string{"10.0.0.1", "localhost", "main"} {
		if _, err := crt.Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); err == nil {
			t.Errorf("it passes for %s", name)
		}
	}
	if _, err := crt.Verify(x509.VerifyOptions{Roots: roots}); err == nil {
		t.Error("it serves as a server's certificate")
	}
}
