// Package master is the control plane that runs on masters: it lets nodes in
// (registrar), keeps their states (state manager), watches whether they live
// (monitor) and computes what each is to obey (planner).
//
// The store's records are the truth. Every master mirrors them in memory and
// answers from the mirror; what changes all the time (heartbeats, figures)
// lives only in memory. A change of state is one transaction on one record
// that goes through the table in package topology, so that it does not matter
// which goroutine makes it.
//
// The package never imports agent or api: what they need of it they declare
// as interfaces, and package node wires them together.
package master
