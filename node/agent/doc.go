// Package agent is the NodeAgent, which runs on every node: it keeps a session
// with a master, reports what the node is and what Podman runs, and obeys the
// newest plan.
//
// Its loops do not know whether a master can be reached; they know only the
// newest plan, which lies on disk before it is obeyed. What it needs of a
// master it declares as the interface Uplink; package node gives it one.
package agent
