package master

import (
	"errors"
	"strings"
	"testing"
	"time"

	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/topology"
)

func TestRemove(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	b := c.ready("kitchen")
	n := must[topology.Node](t)(c.SignalNode(t.Context(), b.id, topology.SignalRemove, "admin root"))
	if n.Status != topology.StatusTerminating {
		t.Errorf("it is %s", n.Status)
	}
	notice := b.await("the notice", func(n workload.Notice) bool { return n.Removed != "" })
	if !strings.Contains(notice.Removed, "removed by admin root") {
		t.Errorf("it is told %q", notice.Removed)
	}
	if _, err := c.Heartbeat(t.Context(), b.connection, b.heartbeat()); !errors.Is(err, topology.ErrRemoved) {
		t.Errorf("its heartbeat: %v", err)
	}
	b.detach() // it lets go
	eventually(t, "the record goes", func() string { return c.node(b.id).ID })
	if _, ok := c.plans.get(b.id); ok || len(c.Containers(b.id)) != 0 {
		t.Error("plan or report stay")
	}
	for name, err := range map[string]error{
		"register": second(c.Register(t.Context(), b.id, b.registration(c.token(auth.JoinOptions{})))), "attach": b.refused(),
	} {
		if !errors.Is(err, topology.ErrRemoved) || !strings.Contains(err.Error(), "kitchen was removed by admin root on 20") {
			t.Errorf("%s afterwards: %v", name, err)
		}
	}
	if _, err := c.SignalNode(t.Context(), b.id, topology.SignalRemove, "admin"); err == nil {
		t.Error("it was removed twice")
	}
	if !c.watchers.heard("NodeRemoved kitchen") {
		t.Error("nobody was told")
	}
	// The name is free again, for another key.
	c.join("kitchen")
}

func TestRemoveWithoutSession(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	b := c.join("kitchen")
	must[topology.Node](t)(c.SignalNode(t.Context(), b.id, topology.SignalRemove, "admin"))
	if n := c.node(b.id); n.ID != "" {
		t.Errorf("nobody is attached, and yet it stays: %+v", n)
	}
}

// TestGrace: a node that does not let go is released without it.
func TestGrace(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	b := c.ready("kitchen")
	must[topology.Node](t)(c.SignalNode(t.Context(), b.id, topology.SignalRemove, "admin"))
	if n := c.node(b.id); n.Status != topology.StatusTerminating {
		t.Fatalf("it is %s", n.Status)
	}
	c.office.Load().monitor.expire(t.Context(), b.id) // as its timer does
	if n := c.node(b.id); n.ID != "" {
		t.Errorf("it stays: %+v", n)
	}
}

func TestLeave(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	b := c.ready("kitchen")
	if err := c.Leave(t.Context(), b.connection, b.id); err != nil {
		t.Fatal(err)
	}
	if n := c.node(b.id); n.ID != "" {
		t.Errorf("it stays: %+v", n)
	}
	select {
	case err := <-b.ended:
		if !errors.Is(err, topology.ErrRemoved) {
			t.Errorf("its session ended with %v", err)
		}
	case <-time.After(patience):
		t.Error("its session stays")
	}
	eventually(t, "its containers go", func() string {
		if v, _ := c.watchers.value("container/" + b.id + "/c1"); v != nil {
			return "still told"
		}
		return ""
	})
	if n, err := c.SignalNode(t.Context(), c.self, topology.SignalRemove, "admin"); !errors.Is(err, topology.ErrNeeded) || !strings.Contains(err.Error(), "piccolo reset") {
		t.Errorf("the only master was removed: %+v, %v", n, err)
	}
	if err := c.Leave(t.Context(), b.connection, b.id); !errors.Is(err, topology.ErrRemoved) || !strings.Contains(err.Error(), "by itself") {
		t.Errorf("a second time: %v", err)
	}
}
