// Package runtest runs one part of a node in a test, and waits for what it
// does. It imports no other part, so that the tests inside every package can
// use it; whole clusters are package nodetest's.
package runtest
