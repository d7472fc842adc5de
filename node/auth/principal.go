package auth

import (
	"fmt"

	"piccolo.io/piccolo/topology"
)

// PrincipalKind is how somebody came in.
type PrincipalKind string

const (
	// KindAnonymous showed nothing. It is also what the zero Principal is.
	KindAnonymous PrincipalKind = "anonymous"
	// KindNode showed a node's certificate.
	KindNode PrincipalKind = "node"
	// KindAdmin showed an administrator's token.
	KindAdmin PrincipalKind = "admin"
	// KindLocal came over the local socket: root on this machine.
	KindLocal PrincipalKind = "local"
)

// Principal is who asks.
type Principal struct {
	Kind PrincipalKind `json:"kind"`
	// ID is the node's id (node, and local: of this machine), the user's name
	// (admin), or empty.
	ID string `json:"id,omitempty"`
	// Role is the node's role (node and local).
	Role topology.Role `json:"role,omitempty"`
}

// Anonymous is somebody who has shown nothing.
func Anonymous() Principal { return Principal{Kind: KindAnonymous} }

// Node is the holder of a node's certificate.
func Node(id string, role topology.Role) Principal {
	return Principal{Kind: KindNode, ID: id, Role: role}
}

// Admin is an administrator.
func Admin(user string) Principal { return Principal{Kind: KindAdmin, ID: user} }

// Local is root on the machine of this node, over its socket.
func Local(nodeID string, role topology.Role) Principal {
	return Principal{Kind: KindLocal, ID: nodeID, Role: role}
}

// String names the principal for logs and the audit.
func (p Principal) String() string {
	switch p.Kind {
	case "", KindAnonymous:
		return string(KindAnonymous)
	case KindLocal:
		if p.Role == topology.RoleMaster {
			return "root on the master"
		}
		return "root on " + p.ID
	case KindNode:
		return fmt.Sprintf("%s %s (%s)", p.Kind, p.ID, p.Role)
	}
	return fmt.Sprintf("%s %s", p.Kind, p.ID)
}
