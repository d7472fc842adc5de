package topology

import (
	"maps"
	"slices"
	"time"
)

// Role says what a node does for the cluster.
type Role string

const (
	// RoleMaster embeds etcd and the control plane beside its NodeAgent.
	RoleMaster Role = "master"
	// RoleSub runs only the NodeAgent.
	RoleSub Role = "sub"
)

// Valid reports whether r is one of the two roles.
func (r Role) Valid() bool { return r == RoleMaster || r == RoleSub }

// Node is one board or machine as the cluster knows it. It is the record
// under nodes/<id> and, as it is, the Node of the REST API.
type Node struct {
	// ID is "n-" and the first 12 hex digits of the SHA-256 of the node's
	// public key: a node is its key, never its address.
	ID string `json:"id"`
	// Name is unique in the cluster; an RFC 1123 label.
	Name string `json:"name"`
	// IP is the address at which the other nodes reach this one. It may
	// change while the node stays the same.
	IP     string     `json:"ip"`
	Role   Role       `json:"role"`
	Status NodeStatus `json:"status"`
	// Reasons says why a node is NotReady (or would be, while it is in
	// Maintenance). Sorted, without repeats.
	Reasons   Reasons   `json:"reasons"`
	Resources Resources `json:"resources"`
	CreatedAt time.Time `json:"created_at"`
	// StatusSince is the time of the last change of Status.
	StatusSince time.Time `json:"status_since"`
	// LastHeartbeat is kept in the masters' memory. The stored record has
	// the value that stood when the status last changed.
	LastHeartbeat *time.Time        `json:"last_heartbeat,omitempty"`
	Labels        map[string]string `json:"labels"`
	// Version is the node's Piccolo version.
	Version  string   `json:"version"`
	Platform Platform `json:"platform"`
	// GossipPort is the port of the node's gossip mesh, TCP and UDP.
	GossipPort int `json:"gossip_port"`
	// APIPort is the port of the API on a master, 0 on a sub.
	APIPort int `json:"api_port,omitempty"`
	// MachineID is a hash that differs between machines, so that a copied
	// data directory is noticed. Never the machine's own identifier.
	MachineID string `json:"machine_id,omitempty"`
	// LogLevel overrides the cluster's log level on this node when set.
	LogLevel string `json:"log_level,omitempty"`
	// PlanRevision is the newest plan that the masters hold for the node and
	// AppliedRevision the one that the node has confirmed. Both are answered
	// from memory.
	PlanRevision    int64 `json:"plan_revision,omitempty"`
	AppliedRevision int64 `json:"applied_revision,omitempty"`
	// ApplyError says why the node could not apply PlanRevision.
	ApplyError string `json:"apply_error,omitempty"`
	// Usage is the node's newest live figures, answered from memory.
	Usage *Usage `json:"usage,omitempty"`
}

// Clone returns a copy that shares no memory with n.
func (n Node) Clone() Node {
	n.Reasons = slices.Clone(n.Reasons)
	n.Labels = maps.Clone(n.Labels)
	if n.LastHeartbeat != nil {
		t := *n.LastHeartbeat
		n.LastHeartbeat = &t
	}
	if n.Usage != nil {
		u := *n.Usage
		if u.Temperature != nil {
			t := *u.Temperature
			u.Temperature = &t
		}
		n.Usage = &u
	}
	return n
}

// Resources is what a node has, not what it uses.
type Resources struct {
	// CPU is the number of logical processors.
	CPU int `json:"cpu"`
	// Memory in MB (2^20 bytes) as the kernel sees it.
	Memory int `json:"memory"`
	// Disk is the size in GB (2^30 bytes) of the file system that holds the
	// data directory.
	Disk int `json:"disk"`
}

// Platform is what a node's programs run on.
type Platform struct {
	// OS and Arch in Go's words: linux; amd64, arm64, arm.
	OS   string `json:"os"`
	Arch string `json:"arch"`
	// Variant is the ARM version of a 32-bit binary: v6 or v7.
	Variant string `json:"variant,omitempty"`
	Kernel  string `json:"kernel,omitempty"`
	// Model is the board's own name for itself where it tells one.
	Model string `json:"model,omitempty"`
}

// Usage is a node's live figures. They move all the time, so they never
// reach a disk.
type Usage struct {
	// At is when the figures were taken, by the node's clock.
	At time.Time `json:"at"`
	// CPUPercent of all processors together, 0–100, since the last figure.
	CPUPercent float64 `json:"cpu_percent"`
	Load1      float64 `json:"load1"`
	// MemoryUsed and MemoryAvailable in MB (2^20 bytes).
	MemoryUsed      int `json:"memory_used"`
	MemoryAvailable int `json:"memory_available"`
	// DiskUsedPercent of the data directory's file system, 0–100.
	DiskUsedPercent float64 `json:"disk_used_percent"`
	// Temperature in degrees Celsius; nil where the board shows none.
	Temperature *float64 `json:"temperature,omitempty"`
	// NetworkReceived and NetworkSent count bytes on all interfaces but
	// loopback since the board started.
	NetworkReceived uint64 `json:"network_received"`
	NetworkSent     uint64 `json:"network_sent"`
	// DeviceWritten counts the bytes that the board wrote to the device
	// which holds the data directory since the board started; 0 where the
	// kernel does not tell.
	DeviceWritten uint64 `json:"device_written,omitempty"`
	// FlashMBPerDay is what is written to that device, by everything on the
	// board, in MB (10^6 bytes) a day; 0, and not in the JSON, in the daemon's
	// first ten minutes.
	FlashMBPerDay float64 `json:"flash_mb_per_day,omitzero"`
	// UptimeSeconds of the board.
	UptimeSeconds uint64 `json:"uptime_seconds"`
}
