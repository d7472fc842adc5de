// Package gossip is the encrypted mesh between all nodes of a cluster and the only room that knows
// hashicorp/memberlist.
//
// A [Mesh] says who is there, what each node says of itself ([Meta]), and who has gone. Its word is a suspicion,
// never a verdict: memberlist declares a node dead for any stall as long as its window. Whoever decides asks
// [Mesh.Reach] first, from as many machines as it can.
//
// What this room adds to memberlist, and why, is in DESIGN.md beside this file: known addresses are dialled until
// the views agree again, a goodbye is told from a death, a moved address is told from a stolen identity, and keys
// change without a restart.
//
// The package may be used by node and whatever node wires together. It imports no other room.
package gossip
