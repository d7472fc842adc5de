package node_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"piccolo.io/piccolo/node"
	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/nodetest"
	"piccolo.io/piccolo/topology"
)

// expires is when a node's certificate runs out, as it says itself.
func expires(t testing.TB, n *nodetest.Node) time.Time {
	t.Helper()
	st, err := n.API().Status(bounded(t))
	ok(t, err)
	return st.Value.Self.CertificateExpires
}

// TestRenewalInPlace: with certificates of a minute, each node has a new one
// after 40 s, and nobody notices.
func TestRenewalInPlace(t *testing.T) {
	t.Parallel()
	c := nodetest.With(t, 2, nodetest.Options{CertificateLifetime: time.Minute})
	first := []time.Time{expires(t, c.Node(0)), expires(t, c.Node(1))}
	for i := range 2 {
		n := c.Node(i)
		if left := time.Until(first[i]); left > time.Minute {
			t.Fatalf("the first certificate of %s lasts %s", n.Name, left)
		}
		nodetest.Eventually(t, nodetest.Patience+time.Minute, "a new certificate for "+n.Name, func() error {
			if got := expires(t, n); !got.After(first[i].Add(30 * time.Second)) {
				return fmt.Errorf("it still has the one until %s", got)
			}
			return nil
		})
		c.WaitStatus(n, topology.StatusReady)
	}
	if l := log(t, c); strings.Contains(l, "CertificateExpired") {
		t.Errorf("the log says:\n%s", l)
	}
	// What was renewed is what the next start uses.
	c.Node(1).Restart()
	c.WaitStatus(c.Node(1), topology.StatusReady)
}

// later makes a node believe that so much time has passed: a binary that was
// built then is proof.
func later(n *nodetest.Node, d time.Duration) { n.Options.BuildTime = time.Now().Add(d) }

// TestReturnAfterExpiry: the whole cluster was off until every certificate had
// run out. It comes back by itself: the master signs its own, and the sub
// proves that it holds the key that the cluster knows.
func TestReturnAfterExpiry(t *testing.T) {
	t.Parallel()
	c := nodetest.New(t, 2)
	const away = 100 * 24 * time.Hour
	for i := range 2 {
		ok(t, c.Node(i).Stop())
		later(c.Node(i), away)
		if first := c.Node(i).Options.BuildTime; first.IsZero() {
			t.Fatal("no time has passed")
		}
	}
	c.Master().Start()
	ok(t, c.Master().Err())
	c.Node(1).Start()
	waitMode(t, c.Node(1), "Online", "")
	c.WaitStatus(c.Node(1), topology.StatusReady)
	for i := range 2 {
		if got := expires(t, c.Node(i)); got.Before(time.Now().Add(away)) {
			t.Errorf("the certificate of %s has expired on %s", c.Node(i).Name, got)
		}
	}

	// A node that was removed while it was off is told so all the same.
	sub := c.Node(1)
	sub.Kill()
	c.WaitStatus(sub, topology.StatusNotReady, topology.ReasonUnreachable)
	_, err := c.Master().API().RemoveNode(bounded(t), sub.ID)
	ok(t, err)
	later(sub, 2*away)
	c.Master().Stop() // its own certificate would have expired for the sub
	later(c.Master(), 2*away)
	c.Master().Start()
	sub.Restart()
	waitMode(t, sub, "Removed", "sub-1 was removed by")
	var e *api.Error
	if _, err := c.Record(sub); !errors.As(err, &e) || e.Kind != api.KindNotFound {
		t.Errorf("it is back: %v", err)
	}
}

// TestLostCertificate: it is missing or damaged, and the key is good. The master
// signs its own, the sub proves its key, and a sub without a master starts all
// the same. A key that is another node's is refused.
func TestLostCertificate(t *testing.T) {
	t.Parallel()
	c := nodetest.New(t, 2)
	master, sub := c.Master(), c.Node(1)
	crt := func(n *nodetest.Node) string { return filepath.Join(n.Options.DataDir, "node.crt") }
	ok(t, sub.Stop())
	ok(t, master.Stop())
	ok(t, os.Remove(crt(sub)))
	ok(t, os.WriteFile(crt(master), []byte("half a fi"), 0o600))
	sub.Start()
	waitMode(t, sub, "Offline", "")
	if at := expires(t, sub); !at.IsZero() {
		t.Errorf("a lost certificate expires on %s", at)
	}
	master.Start()
	waitMode(t, sub, "Online", "")
	c.WaitStatus(sub, topology.StatusReady)
	for _, n := range []*nodetest.Node{master, sub} {
		if at := expires(t, n); time.Until(at) < 24*time.Hour {
			t.Errorf("the new certificate of %s expires on %s", n.Name, at)
		}
	}

	ok(t, sub.Stop())
	b, err := os.ReadFile(filepath.Join(master.Options.DataDir, "node.key"))
	ok(t, err)
	ok(t, os.Remove(crt(sub)))
	ok(t, os.WriteFile(filepath.Join(sub.Options.DataDir, "node.key"), b, 0o600))
	var h interface{ Hint() string }
	if err := node.Run(bounded(t), sub.Options); err == nil || !strings.Contains(err.Error(), master.ID) || !errors.As(err, &h) || !strings.Contains(h.Hint(), "piccolo node rm sub-1") {
		t.Errorf("with another node's key: %v", err)
	}
}

// TestClockFarAhead: a board whose clock is in another decade cannot check the
// master's certificate, and is told what to do before it has changed anything.
func TestClockFarAhead(t *testing.T) {
	t.Parallel()
	c := nodetest.New(t, 1)
	n := c.Prepare("dreamer")
	later(n, 20*365*24*time.Hour)
	_, err := node.Join(bounded(t), c.JoinOptions(n))
	if err == nil || !strings.Contains(err.Error(), "clock") {
		t.Errorf("%v", err)
	}
	if left := tree(t, n.Options.DataDir); len(left) > 0 {
		t.Errorf("it left behind %v", left)
	}
}
