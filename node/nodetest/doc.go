// Package nodetest runs whole clusters in one process, through the very same
// Init, Join and Run that the commands call: real certificates, a real store,
// the real API on loopback. Podman is podmantest's fake, and gossip travels on
// gossiptest's network, so that it can be cut and a node can die without a
// goodbye. Connections to the API are the machine's own; cutting those, and
// freezing a process, is the lab's part.
//
//	c := nodetest.New(t, 3)
//	c.Node(1).Kill()
//	c.WaitStatus(c.Node(1), topology.StatusNotReady, topology.ReasonUnreachable)
//
// Nothing but tests may import it.
package nodetest
