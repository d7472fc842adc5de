package topology

import "errors"

// ErrInvalid marks input that the sender can mend.
var ErrInvalid = errors.New("invalid")

// ErrRemoved is what a node hears that no longer belongs to the cluster.
var ErrRemoved = errors.New("this node was removed from the cluster")
