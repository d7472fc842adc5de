package master

import (
	"context"
	"errors"
	"strings"
	"testing"

	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/store/storetest"
	"piccolo.io/piccolo/topology"
)

// restart ends the control plane and starts another over the same store.
func (c *cluster) restart() {
	c.t.Helper()
	c.stop()
	next := must[*Master](c.t)(New(c.options(nil)))
	c.Master, c.stop = next, c.run(next)
}

// damage makes a record one that cannot be read.
func (c *cluster) damage(prefix, key string) {
	c.t.Helper()
	if _, _, err := store.NewCollection[string](c.store, prefix, "rot").Put(c.t.Context(), key, "rot"); err != nil {
		c.t.Fatal(err)
	}
}

// TestDamagedNodeRecord: the node is not told that it was removed, because
// that would end its agent for good.
func TestDamagedNodeRecord(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	b := c.ready("kitchen")
	b.detach()
	c.damage("nodes", b.id)
	c.restart()
	if err := b.refused(); errors.Is(err, topology.ErrRemoved) || !errors.Is(err, store.ErrUnreadable) {
		t.Errorf("refused with %v", err)
	}
}

// TestDamagedPlan is written anew, and its node obeys.
func TestDamagedPlan(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	b := c.ready("kitchen")
	b.detach()
	before := must[store.Record[workload.Plan]](t)(c.plans.collection.Get(t.Context(), b.id))
	c.damage("plans", b.id)
	c.restart()
	eventually(t, "a new plan", func() string {
		if p, ok := c.plans.get(b.id); !ok || p.Revision <= before.Revision || p.Value.Node != b.id {
			return "there is none"
		}
		return ""
	})
	b.attach()
	b.obey()
}

// TestNewerThanTheStore: a node that obeys a plan newer than any here, because
// the store went back in time, is given what there is.
func TestNewerThanTheStore(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	b := c.ready("kitchen")
	b.detach()
	newest := b.hello.AppliedRevision
	b.hello.AppliedRevision = newest + 1000
	b.attach()
	b.beat()
	p := must[*workload.Plan](t)(c.NextPlan(t.Context(), b.connection, b.id, b.hello.AppliedRevision, ""))
	if p == nil || p.Revision != newest {
		t.Errorf("it is given %+v, the newest is %d", p, newest)
	}
}

// TestDamagedCluster: no plan is written from a configuration that nobody
// gave, and nobody is let in by it.
func TestDamagedCluster(t *testing.T) {
	t.Parallel()
	c := newCluster(t, manual)
	b := c.join("kitchen")
	must[topology.Node](t)(c.SignalNode(t.Context(), b.id, topology.SignalApproved, "admin"))
	eventually(t, "its plan", func() string {
		if _, ok := c.plans.get(b.id); !ok {
			return "there is none"
		}
		return ""
	})
	c.damage("cluster", clusterKey)
	before := c.revision()
	c.restart()
	if _, err := c.Register(t.Context(), "", newBoard(t, c, "stranger").registration(c.token(auth.JoinOptions{}))); !errors.Is(err, errNoCluster) {
		t.Errorf("register: %v", err)
	}
	if err := c.planAll(t.Context()); err == nil {
		t.Error("the planner saw no difficulty")
	}
	if ttl := c.leaseTTL(); ttl < topology.MissedHeartbeats*topology.DefaultHeartbeatInterval {
		t.Errorf("nodes may be silent for %s only", ttl)
	}
	if now := c.revision(); now > before+2 { // the token, and who leads
		t.Errorf("%d writes", now-before)
	}
}

// TestDamagedAudit: one entry that cannot be read keeps no other out.
func TestDamagedAudit(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	entries := func() []store.Record[auth.AuditEntry] {
		rows, _, err := c.audit.entries.List(t.Context())
		if err != nil && !errors.Is(err, store.ErrUnreadable) {
			t.Fatal(err)
		}
		return rows
	}
	c.Record(auth.AuditEntry{Principal: "admin", Action: "a1", Outcome: "ok"})
	eventually(t, "the first entry", func() string {
		if len(entries()) == 0 {
			return "not kept"
		}
		return ""
	})
	c.damage("audit", entries()[0].Key)
	c.restart()
	c.Record(auth.AuditEntry{Principal: "admin", Action: "a2", Outcome: "ok"})
	eventually(t, "the next entry", func() string {
		if rows := entries(); len(rows) != 1 || rows[0].Value.Action != "a2" {
			return "not kept"
		}
		return ""
	})
}

// TestEmptyStore: a master without its data does not start. Its nodes would
// find themselves unknown, and its people an empty cluster.
func TestEmptyStore(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	c.store = storetest.New(t)
	m := must[*Master](t)(New(c.options(nil)))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := m.Run(ctx); err == nil || !strings.Contains(err.Error(), "store is empty") || !strings.Contains(err.Error(), "c-1") {
		t.Errorf("it ends with %v", err)
	}
	c.damage("nodes", "n-x") // something, but no cluster
	other := topology.ClusterTopology{ID: "c-2", Name: "other", Config: topology.DefaultConfig()}
	if _, err := m.cluster.collection.Create(t.Context(), clusterKey, other); err != nil {
		t.Fatal(err)
	}
	if err := must[*Master](t)(New(c.options(nil))).Run(ctx); err == nil || !strings.Contains(err.Error(), "cluster other (c-2)") {
		t.Errorf("it ends with %v", err)
	}
}

// TestUnknownNode is not told that it was removed.
func TestUnknownNode(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	if err := newBoard(t, c, "stranger").refused(); errors.Is(err, topology.ErrRemoved) || !errors.Is(err, store.ErrNotFound) {
		t.Errorf("refused with %v", err)
	}
}
