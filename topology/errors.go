package topology

import "errors"

// ErrInvalid marks input that the sender can mend.
var ErrInvalid = errors.New("invalid")

// ErrRemoved is what a node hears that no longer belongs to the cluster.
var ErrRemoved = errors.New("this node was removed from the cluster")

// ErrIdentityInUse: another machine, or another connection, holds this
// identity now.
var ErrIdentityInUse = errors.New("this identity is in use by another machine")

// ErrTooOften: a node asks for what costs its masters something more often than
// an honest node needs it. It may ask again later.
var ErrTooOften = errors.New("too often: try again later")

// ErrNeeded: the cluster cannot do without this master now.
var ErrNeeded = errors.New("the cluster cannot do without it")

// ErrClusterFull: the cluster has as many nodes as it may have.
var ErrClusterFull = errors.New("the cluster is full")
