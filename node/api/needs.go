package api

import (
	"context"
	"time"

	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/topology"
)

// Knowledge is what this node can tell without asking anybody: on a master
// the whole cluster as it is now, on a sub what it was told last. Everything
// returned is the caller's own copy.
type Knowledge interface {
	Nodes() []topology.Node
	// Containers of one node by its id, or of all nodes for "".
	Containers(node string) []workload.Container
	Topology() topology.ClusterTopology
	Alerts() []workload.Alert
	// AsOf is nil where the knowledge is live, and the time of the last word
	// from a master otherwise.
	AsOf() *time.Time
}

// Administration changes the cluster. Only masters have it.
type Administration interface {
	// EditNode changes the labels or the log level of a node.
	EditNode(ctx context.Context, id string, edit func(*topology.Node) error) (topology.Node, error)
	// SignalNode carries out an administrator's signal.
	SignalNode(ctx context.Context, id string, signal topology.Signal, by string) (topology.Node, error)
	// SetRole makes a sub a master, or a master a sub.
	SetRole(ctx context.Context, id string, role topology.Role) (topology.Node, error)
	// PutTopology replaces the cluster's name and configuration. A revision
	// other than 0 must be the newest one.
	PutTopology(ctx context.Context, t topology.ClusterTopology) (topology.ClusterTopology, error)
	// Record keeps what was done and by whom. It does not wait for the disk.
	Record(e auth.AuditEntry)
}

// Tokens keeps the join tokens. Only masters have it.
type Tokens interface {
	CreateToken(ctx context.Context, record auth.JoinRecord) error
	ListTokens(ctx context.Context) ([]auth.JoinRecord, error)
	DeleteToken(ctx context.Context, id string) error
}

// Figures fetches what is only known on the spot.
type Figures interface {
	// ContainerStats of one node by its id, keyed by container id.
	ContainerStats(ctx context.Context, node string) (map[string]workload.ContainerStats, error)
}

// Enrolment lets nodes in, renews their certificates and lets them go. Only
// masters have it. connection is Caller.Connection: a node's calls are taken
// only over the one that carries its session.
type Enrolment interface {
	// Register lets a node in. proven is the id of the node whose key the
	// sender has proven to hold, empty where it has not.
	Register(ctx context.Context, proven string, r workload.Registration) (workload.Admission, error)
	Renew(ctx context.Context, connection, node string, csr []byte) (certificate, ca []byte, err error)
	Leave(ctx context.Context, connection, node string) error
}

// Sessions is the masters' side of the conversation with the agents. A call is
// refused unless the node is attached over the same connection
// (Caller.Connection).
type Sessions interface {
	// Attach keeps a session open until ctx ends, the node goes or the master
	// ends it. send and receive carry one message each; receive fails when
	// the node is gone.
	Attach(ctx context.Context, connection string, h workload.Hello, send func(workload.Notice) error, receive func() (workload.Answer, error)) error
	Heartbeat(ctx context.Context, connection string, h workload.Heartbeat) (workload.HeartbeatReply, error)
	Report(ctx context.Context, connection string, r workload.Report) error
	// NextPlan returns the newest plan, nil when applied is the newest.
	NextPlan(ctx context.Context, connection, node string, applied int64, applyError string) (*workload.Plan, error)
}

// Self tells about and acts on the node that serves this API.
type Self interface {
	Status() SelfStatus
	// Leave takes this node out of its cluster and stops the daemon.
	Leave(ctx context.Context) error
}

// SelfStatus is the part of a status that only the node itself knows.
type SelfStatus struct {
	ID      string        `json:"id"`
	Name    string        `json:"name"`
	Role    topology.Role `json:"role"`
	Version string        `json:"version"`
	// Mode is Online, Suspect, Offline, CatchingUp or Removed.
	Mode string `json:"mode"`
	// ModeReason says in words why the mode is not Online.
	ModeReason string    `json:"mode_reason,omitempty"`
	Since      time.Time `json:"since"`
	// Master is the API address of the master that the node is attached to.
	Master       string `json:"master,omitempty"`
	PlanRevision int64  `json:"plan_revision"`
	// FlashMBPerDay is what is written to the device of the data directory, by
	// everything on the board, in MB (10^6 bytes) a day; 0, and not in the
	// JSON, in the first ten minutes.
	FlashMBPerDay float64   `json:"flash_mb_per_day,omitzero"`
	StartedAt     time.Time `json:"started_at"`
	// CertificateExpires is when the node's certificate runs out; zero, and
	// not in the JSON, while it is lost.
	CertificateExpires time.Time `json:"certificate_expires,omitzero"`
}

// Status is the answer of GET /api/v1/status.
type Status struct {
	Cluster topology.ClusterTopology `json:"cluster"`
	Self    SelfStatus               `json:"self"`
	// Nodes counts the nodes by state.
	Nodes map[topology.NodeStatus]int `json:"nodes"`
	// Containers counts all containers, and Running the running ones.
	Containers int              `json:"containers"`
	Running    int              `json:"running"`
	Alerts     []workload.Alert `json:"alerts"`
	// AsOf is set where the answer is not live.
	AsOf *time.Time `json:"as_of,omitempty"`
	// Advice says in words what is not in order and what to do about it.
	Advice []string `json:"advice"`
}

// Event is one line of the cluster's log.
type Event struct {
	At   time.Time `json:"at"`
	Kind string    `json:"kind"`
	// Node is a node's name, empty for the cluster.
	Node    string `json:"node,omitempty"`
	Message string `json:"message"`
}

// NodePatch is a JSON merge patch (RFC 7396) of a node. Fields that are
// absent stay; a label or log level that is null is removed.
type NodePatch struct {
	Labels map[string]*string `json:"labels"`
	// LogLevel: an empty string or null removes the override.
	LogLevel *string `json:"log_level"`
	// Role makes a sub a master, or a master a sub.
	Role *topology.Role `json:"role"`
	// Status asks for a change of state: Maintenance, Ready (resume) or
	// Initializing (approve a pending node).
	Status *topology.NodeStatus `json:"status"`
}

// TokenRequest asks for a join token.
type TokenRequest struct {
	Role topology.Role `json:"role"`
	// TTL until the token expires; 24 h where it is 0, at most a year.
	TTL         topology.Duration `json:"ttl"`
	Description string            `json:"description"`
}

// TokenCreated is the only answer that ever holds a token's secret.
type TokenCreated struct {
	auth.JoinRecord
	Token string `json:"token"`
	// JoinCommand is the line to type on the new board.
	JoinCommand string `json:"join_command"`
}
