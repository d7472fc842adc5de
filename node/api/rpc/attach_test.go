package rpc_test

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"piccolo.io/piccolo/node/api/piccolov1"
	"piccolo.io/piccolo/node/api/rpc/rpctest"
)

// TestSilentStreams do not stay: a stranger's is refused before it has said a
// word, a node's when it says none.
func TestSilentStreams(t *testing.T) {
	m := rpctest.New(t)
	stranger, err := dial(t, m, nil).Attach(bounded(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stranger.Recv(); status.Code(err) != codes.Unauthenticated {
		t.Errorf("a stranger: %v", err)
	}
	began := time.Now()
	node, err := dial(t, m, m.Cluster.Sub).Attach(bounded(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := node.Recv(); status.Code(err) != codes.InvalidArgument {
		t.Errorf("a node without a word: %v after %s", err, time.Since(began))
	}
	if heard := m.Heard(); len(heard) > 0 {
		t.Errorf("heard: %v", heard)
	}
}

// TestConnection: calls over one connection have one name, and another
// connection has another.
func TestConnection(t *testing.T) {
	m := rpctest.New(t)
	self := id(m.Cluster.Sub)
	for range 2 {
		c := dial(t, m, m.Cluster.Sub)
		s, err := c.Attach(bounded(t))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Send(&piccolov1.AgentMessage{Message: &piccolov1.AgentMessage_Hello{Hello: &piccolov1.Hello{NodeId: self}}}); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(patience); len(m.Connections())%2 == 0; {
			if time.Now().After(deadline) {
				t.Fatal("the session did not begin")
			}
		}
		if _, err := c.Heartbeat(bounded(t), &piccolov1.HeartbeatRequest{NodeId: self}); err != nil {
			t.Fatal(err)
		}
	}
	if c := m.Connections(); len(c) != 4 || c[0] == "" || c[0] != c[1] || c[2] != c[3] || c[0] == c[2] {
		t.Errorf("connections: %q", c)
	}
}
