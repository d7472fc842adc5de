// Package node is one Piccolo node: it wires the rooms below it together,
// starts and stops them in order, and holds the three things a person does to
// a node as a whole: Init makes a cluster, Join brings a board into one, and
// Run is the daemon that resumes from the data directory.
//
// It is the only package that knows all the others.
package node
