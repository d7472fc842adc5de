package piccolov1

// Reasons in the details of an error that mean more to a node than the code.
const (
	// ReasonRemoved: the node no longer belongs to the cluster.
	ReasonRemoved = "removed"
	// ReasonIdentityInUse: another machine with this identity is attached.
	ReasonIdentityInUse = "identity-in-use"
)
