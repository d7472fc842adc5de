// Package topology holds the words that every other part of Piccolo speaks:
// nodes, their roles, states and reasons, labels, and the cluster as a whole.
//
// It is pure: it imports only the standard library, does no input or output
// and starts no goroutine. Any package may import it.
package topology
