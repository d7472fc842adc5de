package master

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/topology"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// TestNew names what is missing.
func TestNew(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	for field, drop := range map[string]func(*Options){
		"Store": func(o *Options) { o.Store = nil }, "CA": func(o *Options) { o.CA = nil }, "Self": func(o *Options) { o.Self = "" },
		"Secrets": func(o *Options) { o.Secrets = nil }, "ClusterID": func(o *Options) { o.ClusterID = "" }, "Prober": func(o *Options) { o.Prober = nil }, "Publisher": func(o *Options) { o.Publisher = nil },
	} {
		o := c.options(nil)
		drop(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), field+" is missing") {
			t.Errorf("without %s: %v", field, err)
		}
	}
}

// TestPlantTwice: a power cut in the middle of the first start does no harm.
func TestPlantTwice(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	must[topology.Node](t)(c.EditNode(t.Context(), c.self, func(n *topology.Node) error { n.Labels["mine"] = "yes"; return nil }))
	c.o.Seed.Cluster.Name = "other"
	before := c.revision()
	if err := c.plant(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c.Topology().Name != "home" || c.node(c.self).Labels["mine"] != "yes" || c.revision() > before+1 { // +1: the planner's plan
		t.Errorf("the second planting changed something: %+v", c.Topology())
	}
}

func TestAuthenticate(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	p := must[auth.Principal](t)(c.Authenticate(t.Context(), c.admin.Reveal()))
	if p.Kind != auth.KindAdmin || p.ID != "admin" {
		t.Errorf("%+v", p)
	}
	other, _, err := auth.NewAPIToken(auth.APIOptions{Fingerprint: c.ca.Fingerprint(), Now: c.wall.now()})
	if err != nil {
		t.Fatal(err)
	}
	for name, bearer := range map[string]string{
		"empty": "", "garbage": "Bearer", "join token": c.token(auth.JoinOptions{}), "unknown": other.Reveal(),
		"truncated": c.admin.Reveal()[:50], "huge": strings.Repeat("a", 1<<20),
	} {
		if _, err := c.Authenticate(t.Context(), bearer); !errors.Is(err, auth.ErrUnauthenticated) {
			t.Errorf("%s: %v", name, err)
		} else if len(err.Error()) > 300 {
			t.Errorf("%s: the message has %d bytes", name, len(err.Error()))
		}
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	c.token(auth.JoinOptions{TTL: time.Minute, Description: "short"})
	long := c.token(auth.JoinOptions{TTL: 48 * time.Hour, Description: "long"})
	if list := must[[]auth.JoinRecord](t)(c.ListTokens(t.Context())); len(list) != 3 { // init made one
		t.Fatalf("%d tokens", len(list))
	}
	c.wall.advance(25 * time.Hour)
	list := must[[]auth.JoinRecord](t)(c.ListTokens(t.Context()))
	if len(list) != 2 { // the short one ran out more than a day ago
		t.Errorf("%d tokens: %+v", len(list), list)
	}
	id := strings.Split(long, ".")[2]
	if err := c.DeleteToken(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if err := c.DeleteToken(t.Context(), id); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("deleted twice: %v", err)
	}
	if err := c.DeleteToken(t.Context(), "../nodes/x y"); err == nil {
		t.Error("a key that is none was accepted")
	}
}

func TestPutTopology(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	first := c.Topology()
	next := first
	next.Name = "cabin"
	got := must[topology.ClusterTopology](t)(c.PutTopology(t.Context(), next))
	if got.Name != "cabin" || got.Revision <= first.Revision || len(got.MasterNodes) != 1 || got.MasterNodes[0] != "main" {
		t.Errorf("%+v", got)
	}
	if _, err := c.PutTopology(t.Context(), next); !errors.Is(err, topology.ErrTransition) {
		t.Errorf("an old revision: %v", err)
	}
	next.Revision, next.Name = 0, "hut"
	if got := must[topology.ClusterTopology](t)(c.PutTopology(t.Context(), next)); got.Name != "hut" {
		t.Errorf("%+v", got)
	}
	if v, ok := c.watchers.value("topology/cluster"); !ok || v.(topology.ClusterTopology).Name == "" {
		t.Errorf("the watchers were told %+v", v)
	}
}

// TestAuditIsBounded, survives a restart, and never makes anybody wait.
func TestAuditIsBounded(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	write := func(m *Master, from, to int) {
		for i := from; i < to; i++ {
			m.Record(auth.AuditEntry{At: c.wall.now(), Principal: "admin", Action: "nodes:write", Resource: fmt.Sprint(i), Outcome: "ok"})
		}
	}
	kept := func(m *Master) string {
		rows, _, err := m.audit.entries.List(t.Context())
		if err != nil {
			return err.Error()
		}
		var out []string
		for _, r := range rows {
			out = append(out, r.Value.Resource)
		}
		return strings.Join(out, ",")
	}
	write(c.Master, 0, 3)
	eventually(t, "three entries", func() string {
		if got := kept(c.Master); got != "0,1,2" {
			return "they are " + got
		}
		return ""
	})
	c.stop()
	next := must[*Master](t)(New(c.options(nil)))
	next.audit.kept = 5
	c.run(next)
	write(next, 3, 9)
	eventually(t, "the newest five", func() string {
		if got := kept(next); got != "4,5,6,7,8" {
			return "they are " + got
		}
		return ""
	})
	idle := must[*Master](t)(New(c.options(nil))) // nobody takes from its queue
	write(idle, 0, 3*auditQueue)
	if len(idle.audit.queue) != auditQueue {
		t.Errorf("%d entries wait", len(idle.audit.queue))
	}
}

// TestAlerts: an alert that stands is one record, whoever raises it how often.
func TestAlerts(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	b := c.ready("kitchen")
	a := workload.Alert{Kind: "Test", Node: b.id, Severity: workload.SeverityWarning, Message: "first"}
	raise := func(message string) {
		a.Message = message
		c.raise(t.Context(), a)
		eventually(t, "the alert", func() string {
			if r, ok := c.alerts.get("Test-" + b.id); !ok || r.Value.Message != message {
				return "not " + message
			}
			return ""
		})
	}
	raise("first")
	first, _ := c.alerts.get("Test-" + b.id)
	before := c.revision()
	raise("first")
	if c.revision() != before {
		t.Error("it was written again")
	}
	c.wall.advance(time.Hour)
	raise("second")
	if r, _ := c.alerts.get("Test-" + b.id); !r.Value.RaisedAt.Equal(first.Value.RaisedAt) || r.Value.NodeName != "kitchen" {
		t.Errorf("with other words it is another alert: %+v", r.Value)
	}
	if !c.watchers.heard("Alert kitchen first") || c.watchers.heard("Alert kitchen second") {
		t.Error("the log has it never or twice")
	}
	r := b.report()
	r.Alerts = []workload.Alert{{ID: "own", Kind: "Own", Message: "hot"}}
	if err := c.Report(t.Context(), b.connection, r); err != nil {
		t.Fatal(err)
	}
	if list := c.Alerts(); len(list) != 2 || list[1].NodeName != "kitchen" || list[1].Node != b.id {
		t.Errorf("%+v", list)
	}
	// They go with the node.
	if err := c.Leave(t.Context(), b.connection, b.id); err != nil {
		t.Fatal(err)
	}
	eventually(t, "no alerts", func() string {
		if list := c.Alerts(); len(list) > 0 {
			return list[0].Message
		}
		return ""
	})
}
