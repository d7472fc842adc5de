// Package readiness tells whether a board can join a cluster and run in it.
//
// It is a table of small checks (memory, disk, Podman, memory cgroup, clock,
// ports …). Each check ends in one Result: what was found, how bad it is and
// what to do about it. A check changes nothing; Fix applies those remedies
// that are safe and names the rest.
//
// Three gates run the checks. GateJoin is the only one that may refuse.
// GateStart reports, but a member always starts its work. GateRunning takes
// the checks that are cheap enough to be repeated while the node works;
// Conditions turns its reports into the reasons for which a node is NotReady,
// with hysteresis, so that a figure on the edge does not flap.
//
// The package knows neither Podman nor the network of the cluster: what it
// needs of them comes in through Options. It may be used by node and node/cli
// and imports topology only.
package readiness
