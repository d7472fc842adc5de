// Command tapswitch is a user-space Ethernet switch for the lab: one TAP device, named eth0, in each board's network
// namespace, and frames copied between them. It exists because it can delay packets, which a kernel bridge can only
// do with netem, and the kernels of small test machines come without it. Use the bridge (the lab's default) for
// everything else: it is faster and costs no process.
//
// It is controlled over HTTP on a unix socket:
//
//	POST /ports?name=board1&netns=/run/netns/x   makes eth0 there and connects it
//	PUT  /ports/board1/carrier?state=down|up     pulls the cable, and puts it back
//	PUT  /faults                                 replaces all faults; one per line:
//
//	cut FROM TO                no frame passes in this direction
//	loss PORT PERCENT          share of the port's frames lost, in each direction
//	delay PORT MS JITTER_MS    delay, in each direction, evenly spread over MS to MS+JITTER_MS
//
// Frames from one port to another are never reordered, whatever the jitter.
package main
