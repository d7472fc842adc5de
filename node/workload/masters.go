package workload

import "time"

// Presence is what one master tells the others of a node: whether it is
// attached there, and what its last heartbeat there said.
type Presence struct {
	Node     string
	Attached bool
	// Heard is false where no heartbeat of the node has reached this master.
	// HeardAgo is how long the last one was ago when this was said; clocks of
	// two masters need not agree.
	Heard     bool
	HeardAgo  time.Duration
	Heartbeat Heartbeat
}

// Inquiry is a question of one master to another about a node that is attached
// there.
type Inquiry struct {
	Node string
	// Stats asks for the figures of its containers; otherwise the question is
	// only whether it answers.
	Stats bool
}

// Secrets is what every master holds and no other node does.
type Secrets struct {
	// CAKey is the key of the cluster's CA in PEM, StoreKey the key file of the
	// store.
	CAKey, StoreKey []byte
}
