package nodetest

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"piccolo.io/piccolo/gossip/gossiptest"
	"piccolo.io/piccolo/node"
	"piccolo.io/piccolo/node/api/client"
	"piccolo.io/piccolo/podman/podmantest"
)

// stopLimit is how long a daemon may take to stop.
const stopLimit = 30 * time.Second

// Node is one machine. Its daemon runs between Start and Stop or Kill.
type Node struct {
	c *Cluster
	// ID is empty before it has joined.
	ID, Name string
	// Options are those of every command on it; a test may change them while
	// the daemon does not run.
	Options node.Options
	// Level is the daemon's log level, which plans change.
	Level     *slog.LevelVar
	Podman    *podmantest.Fake
	host      *gossiptest.Host
	advertise netip.AddrPort
	api       *client.HTTP

	mu     sync.Mutex
	cancel context.CancelFunc
	ended  chan struct{}
	err    error
}

// Start runs the daemon and returns when it serves, or has ended.
func (n *Node) Start() {
	n.c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended, ready := make(chan struct{}), make(chan struct{})
	n.mu.Lock()
	if n.cancel != nil {
		n.mu.Unlock()
		cancel()
		n.c.t.Fatalf("the daemon of %s runs already", n.Name)
	}
	n.cancel, n.ended, n.err = cancel, ended, nil
	n.mu.Unlock()
	o := n.Options
	o.Ready = func() { close(ready) }
	go func() {
		defer close(ended)
		err := node.Run(ctx, o)
		n.mu.Lock()
		defer n.mu.Unlock()
		n.err = err
	}()
	select {
	case <-ready:
	case <-ended:
	case <-time.After(Patience):
		n.c.t.Fatalf("the daemon of %s does not serve after %s", n.Name, Patience)
	}
}

// Err is why the daemon has ended, nil while it runs or when it was stopped.
func (n *Node) Err() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.err
}

// Ended is closed when the daemon has ended by itself or otherwise.
func (n *Node) Ended() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ended
}

// Stop ends the daemon as systemd does, and returns what Run returned. A
// daemon that does not run is left alone.
func (n *Node) Stop() error {
	n.c.t.Helper()
	n.mu.Lock()
	cancel, ended := n.cancel, n.ended
	n.cancel = nil
	n.mu.Unlock()
	n.api.Close()
	if cancel == nil {
		return nil
	}
	cancel()
	select {
	case <-ended:
	case <-time.After(stopLimit):
		n.c.t.Errorf("the daemon of %s has not stopped after %s", n.Name, stopLimit)
		return errors.New("still running")
	}
	return n.Err()
}

// Kill ends the daemon as far as the others can see like SIGKILL: its
// connections break and no goodbye reaches anybody.
func (n *Node) Kill() {
	n.c.t.Helper()
	n.c.net.Kill(n.host)
	if err := n.Stop(); err != nil {
		n.c.t.Errorf("the daemon of %s ended: %v", n.Name, err)
	}
}

// Restart starts the daemon again, after Kill as after Stop.
func (n *Node) Restart() {
	n.c.t.Helper()
	if err := n.Stop(); err != nil {
		n.c.t.Errorf("the daemon of %s ended: %v", n.Name, err)
	}
	n.c.net.Revive(n.host)
	n.Start()
}

// API is the node's own local socket, as root uses it.
func (n *Node) API() *client.HTTP { return n.api }
