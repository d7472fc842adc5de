// Package gossiptest is a network in memory for tests of package gossip and of everything above it: hosts with
// addresses whose links can be cut (both ways or one way), delayed and made lossy, and which can be frozen like a
// process under SIGSTOP or killed like one under SIGKILL.
//
//	net := gossiptest.New(1)
//	a := net.Host("10.0.0.1")
//	mesh, err := gossip.New(gossip.Options{Bind: a.Addr(7946), Network: a, …})
//	net.Freeze(a)
//
// It has no goroutines of its own.
package gossiptest
