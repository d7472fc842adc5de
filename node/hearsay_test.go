package node_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"piccolo.io/piccolo/node"
	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/nodetest"
	"piccolo.io/piccolo/podman/podmantest"
	"piccolo.io/piccolo/topology"
)

// lines is a log that a test may read while it is written.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestHearsay: a sub tells nothing that only a master can know, and what it
// knows itself.
func TestHearsay(t *testing.T) {
	t.Parallel()
	c := nodetest.New(t, 2)
	sub := c.Node(1)
	_, err := c.Master().API().PatchNode(bounded(t), "sub-1", api.NodePatch{Labels: map[string]*string{"zone": ptr("roof")}})
	ok(t, err)
	nodetest.Eventually(t, nodetest.Patience, "the sub's own view", func() error {
		record, err := c.Record(sub)
		if err != nil {
			return err
		}
		list, err := sub.API().Nodes(bounded(t))
		if err != nil {
			return err
		}
		for _, n := range list.Value {
			want := int64(0)
			if n.ID == sub.ID {
				want = record.PlanRevision // 0 while the master has none
			}
			if n.LastHeartbeat != nil || n.Usage != nil || n.PlanRevision != want || n.AppliedRevision != want || want == 0 && n.ID == sub.ID {
				return fmt.Errorf("%+v; the master has plan %d", n, record.PlanRevision)
			}
		}
		if len(list.Value) != 2 {
			return fmt.Errorf("%d nodes", len(list.Value))
		}
		return nil
	})
	sub.Podman.Service(t, podmantest.ServiceKill)
	c.Master().Kill()
	waitMode(t, sub, "Offline", "")
	nodetest.Eventually(t, nodetest.Patience, "its own log", func() error {
		list, err := sub.API().Events(bounded(t), 0)
		text := fmt.Sprint(list.Value)
		for _, want := range []string{"Mode sub-1 Online: attached to ", "Podman sub-1 does not answer", "Mode sub-1 Offline: "} {
			if err == nil && !strings.Contains(text, want) {
				err = fmt.Errorf("no %q in %s", want, text)
			}
		}
		return err
	})
	st, err := sub.API().Status(bounded(t))
	if err != nil || len(st.Value.Advice) == 0 || !strings.Contains(st.Value.Advice[0], "reaches no master") {
		t.Errorf("advice: %q, %v", st.Value.Advice, err)
	}
}

// silentPort reports whether nothing holds the gossip port of n.
func silentPort(n *nodetest.Node) error {
	for _, m := range []string{"127.0.1.2", "0.0.0.0"} {
		at := netip.AddrPortFrom(netip.MustParseAddr(m), uint16(n.Options.GossipPort))
		l, err := n.Options.Network.Listen(at)
		if err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
		if err := l.Close(); err != nil {
			return err
		}
	}
	return nil
}

// TestRemovedNodeIsSilent: it says goodbye to the mesh and stays away from it;
// only its socket goes on, and tells why.
func TestRemovedNodeIsSilent(t *testing.T) {
	t.Parallel()
	c := nodetest.New(t, 2)
	sub := c.Node(1)
	if err := silentPort(sub); err == nil {
		t.Fatal("a member's mesh does not listen: this test could not fail")
	}
	_, err := c.Master().API().RemoveNode(bounded(t), "sub-1")
	ok(t, err)
	nodetest.Eventually(t, nodetest.Patience, "the mesh ends", func() error { return silentPort(sub) })
	st, err := sub.API().Status(bounded(t))
	if err != nil || st.Value.Self.Mode != "Removed" || !strings.Contains(fmt.Sprint(st.Value.Advice), "piccolo reset") {
		t.Errorf("%+v, %v", st.Value, err)
	}
	sub.Restart()
	waitMode(t, sub, "Removed", "")
	nodetest.Eventually(t, nodetest.Patience, "the mesh ends after a restart too", func() error { return silentPort(sub) })
	c.WaitStatus(c.Master(), topology.StatusReady)
}

// TestOrderlyLeave is no error, is over when it has answered, and is not done
// twice.
func TestOrderlyLeave(t *testing.T) {
	t.Parallel()
	c := nodetest.New(t, 1)
	sub := c.Prepare("sub-1")
	log := &lines{}
	sub.Options.Logger = slog.New(slog.NewTextHandler(log, nil))
	_, err := node.Join(bounded(t), c.JoinOptions(sub))
	ok(t, err)
	sub.Start()
	waitMode(t, sub, "Online", "")
	both := make(chan error, 2)
	for range 2 {
		go func() { both <- sub.API().Leave(bounded(t)) }()
	}
	one, other := <-both, <-both
	if (one == nil) == (other == nil) {
		t.Errorf("two at once: %v, %v", one, other)
	}
	if err := silentPort(sub); err != nil {
		t.Errorf("the mesh of a node that has left: %v", err)
	}
	<-sub.Ended()
	ok(t, sub.Err())
	if text := log.String(); strings.Contains(text, "level=ERROR") || !strings.Contains(text, "let this node go") {
		t.Errorf("the log says:\n%s", text)
	}
	if err := node.Member(sub.Options); !errors.Is(err, node.ErrNotMember) {
		t.Errorf("afterwards: %v", err)
	}
}
