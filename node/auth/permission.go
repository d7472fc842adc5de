package auth

import (
	"errors"
	"fmt"
	"slices"

	"piccolo.io/piccolo/topology"
)

// Why an operation is refused.
var (
	// ErrUnauthenticated: nothing was shown that says who asks.
	ErrUnauthenticated = errors.New("not signed in")
	// ErrDenied: it is known who asks, and that is not enough.
	ErrDenied = errors.New("permission denied")
)

// Action is what an operation needs. The list is closed: an action that is not
// in Actions is denied to everybody.
type Action string

const (
	HealthRead     Action = "health:read"
	NodesRegister  Action = "nodes:register" // the operation itself checks token and request
	NodesRead      Action = "nodes:read"
	NodesWrite     Action = "nodes:write"
	ContainersRead Action = "containers:read"
	EventsRead     Action = "events:read"
	MetricsRead    Action = "metrics:read"
	TokensRead     Action = "tokens:read"
	TokensWrite    Action = "tokens:write"
	TopologyRead   Action = "topology:read"
	TopologyWrite  Action = "topology:write"
	MastersTalk    Action = "masters:talk" // what masters tell each other
	SelfRead       Action = "self:read"    // a node's own plan and configuration
	SelfWrite      Action = "self:write"   // a node's own heartbeat, report, renewal, departure
)

// Actions is the closed list, in the order of the documentation.
func Actions() []Action {
	return []Action{
		HealthRead, NodesRegister, NodesRead, NodesWrite, ContainersRead, EventsRead, MetricsRead,
		TokensRead, TokensWrite, TopologyRead, TopologyWrite, MastersTalk, SelfRead, SelfWrite,
	}
}

// Resource is what an action is about.
type Resource struct {
	// Owner is the id of the node that it belongs to; empty for what belongs
	// to the cluster, lists of everything included.
	Owner string
}

// Cluster is what belongs to no single node.
func Cluster() Resource { return Resource{} }

// OwnedBy is what belongs to one node.
func OwnedBy(nodeID string) Resource { return Resource{Owner: nodeID} }

// grant is how far a permission reaches.
type grant int

const (
	none grant = iota
	own        // only what belongs to the principal's own node
	all
)

// column is a kind of principal in the table of permissions.
type column struct {
	kind PrincipalKind
	role topology.Role // empty for kinds that have none
}

// permissions is the whole law: what is not listed is denied.
var permissions = map[column]map[Action]grant{
	{KindAnonymous, ""}: {
		HealthRead: all, NodesRegister: all,
	},
	// A sub reads and writes only what is its own. What it must know of the
	// others reaches it with its configuration.
	{KindNode, topology.RoleSub}: {
		HealthRead: all, NodesRegister: all,
		NodesRead: own, ContainersRead: own, SelfRead: own, SelfWrite: own,
	},
	// Masters agree through the store, so that even a master's certificate
	// does not administer the cluster.
	{KindNode, topology.RoleMaster}: {
		HealthRead: all, NodesRegister: all,
		NodesRead: all, ContainersRead: all, EventsRead: all, MetricsRead: all, TopologyRead: all,
		MastersTalk: all, SelfRead: own, SelfWrite: own,
	},
	{KindAdmin, ""}: {
		HealthRead: all, NodesRegister: all,
		NodesRead: all, NodesWrite: all, ContainersRead: all, EventsRead: all, MetricsRead: all,
		TokensRead: all, TokensWrite: all, TopologyRead: all, TopologyWrite: all,
	},
	// Root on a master holds the cluster's keys anyway.
	{KindLocal, topology.RoleMaster}: {
		HealthRead: all, NodesRegister: all,
		NodesRead: all, NodesWrite: all, ContainersRead: all, EventsRead: all, MetricsRead: all,
		TokensRead: all, TokensWrite: all, TopologyRead: all, TopologyWrite: all,
		SelfRead: own, SelfWrite: own,
	},
	// Root on a sub reads what the sub itself knows, and can let it leave.
	{KindLocal, topology.RoleSub}: {
		HealthRead: all,
		NodesRead:  all, ContainersRead: all, EventsRead: all, MetricsRead: all, TopologyRead: all,
		SelfRead: own, SelfWrite: own,
	},
}

// Authorize returns nil where the table lets p do the action on the resource,
// else ErrUnauthenticated (anonymous) or ErrDenied with what is missing.
func Authorize(p Principal, action Action, resource Resource) error {
	if !slices.Contains(Actions(), action) {
		return fmt.Errorf("%w: %.40q is no action that anybody may do", ErrDenied, string(action))
	}
	switch permissions[p.column()][action] {
	case all:
		return nil
	case own:
		if p.ID != "" && p.ID == resource.Owner {
			return nil
		}
		return fmt.Errorf("%w: %s has %s only for what is its own, %s", ErrDenied, p, action, resource.describe())
	}
	if p.column().kind == KindAnonymous {
		return fmt.Errorf("%w: %s needs a token or a client certificate", ErrUnauthenticated, action)
	}
	return fmt.Errorf("%w: %s lacks %s", ErrDenied, p, action)
}

func (p Principal) column() column {
	switch p.Kind {
	case "", KindAnonymous:
		return column{kind: KindAnonymous}
	case KindAdmin:
		return column{kind: KindAdmin}
	}
	return column{kind: p.Kind, role: p.Role}
}

func (r Resource) describe() string {
	if r.Owner == "" {
		return "this is the cluster's"
	}
	return fmt.Sprintf("this is of node %.32s", r.Owner)
}
