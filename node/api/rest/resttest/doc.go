// Package resttest is a small cluster in memory behind the real API, the real
// certificates and the real server: what tests of both ends of REST talk to.
// It has two nodes, a master and a sub, and does what it is told.
package resttest
