package workload

import (
	"net"
	"strconv"
	"time"

	"piccolo.io/piccolo/topology"
)

// HostPort joins an address and a port as the net package writes them.
func HostPort(ip string, port int) string { return net.JoinHostPort(ip, strconv.Itoa(port)) }

// Container is one container on one node, piccolo's own or a foreign one.
type Container struct {
	// ID is Podman's full id, 64 hex digits.
	ID    string `json:"id"`
	Name  string `json:"name"`
	Image string `json:"image"`
	// State in Podman's words: created, running, paused, exited, …
	State string `json:"state"`
	// Health is starting, healthy or unhealthy; empty without a check.
	Health string `json:"health,omitempty"`
	// ExitCode of the last run; meaningful once the container has exited.
	ExitCode int `json:"exit_code"`
	// Restarts that Podman made by its restart policy.
	Restarts   int               `json:"restarts"`
	Ports      []Port            `json:"ports"`
	CreatedAt  time.Time         `json:"created_at"`
	StartedAt  *time.Time        `json:"started_at,omitempty"`
	FinishedAt *time.Time        `json:"finished_at,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
	// Node and NodeName are set by whoever answers for several nodes.
	Node     string `json:"node,omitempty"`
	NodeName string `json:"node_name,omitempty"`
	// AsOf is set while the node is lost: when it was heard of last.
	AsOf *time.Time `json:"as_of,omitempty"`
	// Stats only when they were asked for.
	Stats *ContainerStats `json:"stats,omitempty"`
}

// Port is one published port.
type Port struct {
	// HostIP is empty for all addresses.
	HostIP        string `json:"host_ip,omitempty"`
	HostPort      int    `json:"host_port"`
	ContainerPort int    `json:"container_port"`
	// Protocol is tcp, udp or sctp.
	Protocol string `json:"protocol"`
}

// ContainerStats are figures of one moment.
type ContainerStats struct {
	// CPUPercent of one processor.
	CPUPercent float64 `json:"cpu_percent"`
	// MemoryBytes in use and its limit, 0 for none.
	MemoryBytes uint64 `json:"memory_bytes"`
	MemoryLimit uint64 `json:"memory_limit"`
}

// Severity of an alert.
type Severity string

const (
	SeverityInfo    Severity = "info"
	SeverityWarning Severity = "warning"
	SeverityError   Severity = "error"
)

// Alert is something that a person should know and that is not, or not only,
// a state of a node.
type Alert struct {
	// ID is unique per node and kind, so that an alert that stands is one
	// record, however often it is raised.
	ID   string `json:"id"`
	Kind string `json:"kind"`
	// Node is the id of the node that it is about, empty for the cluster.
	Node     string    `json:"node,omitempty"`
	NodeName string    `json:"node_name,omitempty"`
	Severity Severity  `json:"severity"`
	Message  string    `json:"message"`
	Hint     string    `json:"hint,omitempty"`
	RaisedAt time.Time `json:"raised_at"`
}

// Report is everything that one node says of itself. It is sent when its
// content changes; live figures are not content and go with the heartbeat.
type Report struct {
	Node string `json:"node"`
	// Sequence rises by one with every report of one run of the daemon.
	Sequence uint64    `json:"sequence"`
	At       time.Time `json:"at"`
	// Conditions are the reasons that the node itself raises; see
	// topology.Reason.FromNode.
	Conditions topology.Reasons `json:"conditions"`
	Containers []Container      `json:"containers"`
	// Complete is false while Podman does not answer: Containers is then what
	// was known last.
	Complete  bool               `json:"complete"`
	Alerts    []Alert            `json:"alerts"`
	Resources topology.Resources `json:"resources"`
	Platform  topology.Platform  `json:"platform"`
	Version   string             `json:"version"`
	// PodmanVersion as Podman tells it, empty while it does not answer.
	PodmanVersion string `json:"podman_version"`
}

// Heartbeat is a node's sign of life with its live figures.
type Heartbeat struct {
	Node     string         `json:"node"`
	Sequence uint64         `json:"sequence"`
	Usage    topology.Usage `json:"usage"`
	// AppliedRevision of the plan; ApplyError says why the newest one could
	// not be applied.
	AppliedRevision int64  `json:"applied_revision"`
	ApplyError      string `json:"apply_error,omitempty"`
}

// HeartbeatReply is the master's answer.
type HeartbeatReply struct {
	// PlanRevision is the newest plan that the masters hold for the node.
	PlanRevision int64 `json:"plan_revision"`
	// MasterTime is a hint for boards without a clock battery.
	MasterTime time.Time `json:"master_time"`
}

// Hello opens a session of a node with a master.
type Hello struct {
	Node string `json:"node"`
	// Instance is random per run of the daemon; with MachineID it tells a
	// node that comes back from a copy of its identity.
	Instance  string `json:"instance"`
	MachineID string `json:"machine_id"`
	// IP and the ports at which the node can be reached now.
	IP         string `json:"ip"`
	GossipPort int    `json:"gossip_port"`
	APIPort    int    `json:"api_port"`
	Version    string `json:"version"`
	// AppliedRevision of the plan that the node obeys.
	AppliedRevision int64     `json:"applied_revision"`
	Time            time.Time `json:"time"`
}

// Notice is what a master sends down a node's session. Exactly one field is
// set.
type Notice struct {
	// PlanRevision: a newer plan is there to be fetched.
	PlanRevision int64
	// View replaces the node's view of the cluster.
	View *View
	// StatsQuery asks for a StatsAnswer with the same number.
	StatsQuery uint64
	// Ping asks for a Pong with the same number.
	Ping uint64
	// Keyring replaces the keys of the gossip mesh.
	Keyring *Keyring
	// Removed tells the node that it no longer belongs to the cluster.
	Removed string
}

// Answer is what a node sends up its session. Exactly one field is set.
type Answer struct {
	Pong  uint64
	Stats *StatsAnswer
}

// StatsAnswer carries figures by container id.
type StatsAnswer struct {
	Query uint64
	Stats map[string]ContainerStats
	// Error says why there are none.
	Error string
}

// Keyring is the keys of the gossip mesh; the first one encrypts. The keys
// never appear in logs.
type Keyring struct {
	Keys [][]byte `json:"keys"`
}

// Registration is a node's request to join or to come back.
type Registration struct {
	// NodeID must be the id of the key in CSR.
	NodeID   string        `json:"node_id"`
	Name     string        `json:"name"`
	Hostname string        `json:"hostname"`
	IP       string        `json:"ip"`
	Role     topology.Role `json:"role"`
	// Token is the join token; empty for a node that comes back with the key
	// that the cluster knows.
	Token string `json:"-"`
	CSR   []byte `json:"csr"`
	// Proof that the sender holds the key of CSR, bound to the connection; a
	// node that the cluster knows is let in by it. See pki.Identity.Prove.
	Proof      []byte             `json:"-"`
	Resources  topology.Resources `json:"resources"`
	Platform   topology.Platform  `json:"platform"`
	Labels     map[string]string  `json:"labels"`
	Version    string             `json:"version"`
	MachineID  string             `json:"machine_id"`
	GossipPort int                `json:"gossip_port"`
	APIPort    int                `json:"api_port"`
	Time       time.Time          `json:"time"`
	// Readiness is the outcome of the join gate.
	Readiness []Finding `json:"readiness"`
}

// Finding is one readiness result that was not in order.
type Finding struct {
	Check    string   `json:"check"`
	Severity Severity `json:"severity"`
	Found    string   `json:"found"`
	Mend     string   `json:"mend,omitempty"`
}

// Admission is the answer to a Registration.
type Admission struct {
	NodeID string              `json:"node_id"`
	Name   string              `json:"name"`
	Status topology.NodeStatus `json:"status"`
	// Certificate and CA in PEM; empty while Status is Pending.
	Certificate []byte  `json:"certificate,omitempty"`
	CA          []byte  `json:"ca,omitempty"`
	Keyring     Keyring `json:"-"`
	View        View    `json:"view"`
	Plan        Plan    `json:"plan"`
	// RetryAfter says when to ask again while Status is Pending.
	RetryAfter time.Duration `json:"-"`
	MasterTime time.Time     `json:"master_time"`
}
