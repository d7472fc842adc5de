package topology

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// ClusterType is how the clusters of an installation hang together.
type ClusterType string

const (
	// TypeBasic is one cluster of boards around its own masters.
	TypeBasic ClusterType = "basic"
	// TypeEdgeCloud has masters in the cloud and boards at the edge.
	TypeEdgeCloud ClusterType = "edge-cloud"
	// TypeMultiCluster is several clusters under a parent.
	TypeMultiCluster ClusterType = "multi-cluster"
	// TypeGeoDistributed is several clusters far apart, as equals.
	TypeGeoDistributed ClusterType = "geo-distributed"
)

// ClusterTypes lists the four types.
func ClusterTypes() []ClusterType {
	return []ClusterType{TypeBasic, TypeEdgeCloud, TypeMultiCluster, TypeGeoDistributed}
}

// ClusterTopology is the cluster as a whole: the record under cluster and the
// body of /api/v1/topology.
type ClusterTopology struct {
	ID   string      `json:"id"`
	Name string      `json:"name"`
	Type ClusterType `json:"type"`
	// MasterNodes and SubNodes are node names, sorted. They follow from the
	// nodes and cannot be set.
	MasterNodes   []string `json:"master_nodes"`
	SubNodes      []string `json:"sub_nodes"`
	ParentCluster string   `json:"parent_cluster,omitempty"`
	Config        Config   `json:"config"`
	// Revision is the store's revision of the record; a PUT that carries one
	// is refused when it is not the newest.
	Revision int64 `json:"revision,omitempty"`
}

// Limits of Config.
const (
	// DefaultHeartbeatInterval and MinHeartbeatInterval are the requirement's
	// own figures.
	DefaultHeartbeatInterval = 10 * time.Second
	MinHeartbeatInterval     = 5 * time.Second
	MaxHeartbeatInterval     = 10 * time.Minute
	// MissedHeartbeats in a row make a node NotReady.
	MissedHeartbeats = 3
)

// Approval says who lets a node join.
type Approval string

const (
	// ApprovalToken: a valid join token is enough.
	ApprovalToken Approval = "token"
	// ApprovalManual: an administrator approves each node that comes with a
	// valid token.
	ApprovalManual Approval = "manual"
)

// Config is what the cluster tells all its nodes.
type Config struct {
	// HeartbeatInterval is how often a node says that it lives; 5 s to
	// 10 min, 10 s where nothing is said.
	HeartbeatInterval Duration `json:"heartbeat_interval"`
	// LogLevel is debug, info, warn or error.
	LogLevel string   `json:"log_level"`
	Approval Approval `json:"approval"`
}

// DefaultConfig is what a new cluster begins with.
func DefaultConfig() Config {
	return Config{HeartbeatInterval: Duration(DefaultHeartbeatInterval), LogLevel: "info", Approval: ApprovalToken}
}

// Validate names the field that is wrong and what is allowed.
func (c Config) Validate() error {
	switch d := time.Duration(c.HeartbeatInterval); {
	case d < MinHeartbeatInterval:
		return fmt.Errorf("heartbeat_interval %s is too short: the minimum is %s", d, MinHeartbeatInterval)
	case d > MaxHeartbeatInterval:
		return fmt.Errorf("heartbeat_interval %s is too long: the maximum is %s", d, MaxHeartbeatInterval)
	}
	if err := ValidateLogLevel(c.LogLevel); err != nil {
		return err
	}
	if c.Approval != ApprovalToken && c.Approval != ApprovalManual {
		return fmt.Errorf("approval %q is not valid: use %q or %q", c.Approval, ApprovalToken, ApprovalManual)
	}
	return nil
}

// ValidateLogLevel accepts debug, info, warn and error.
func ValidateLogLevel(level string) error {
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, level) {
		return fmt.Errorf("log_level %q is not valid: use debug, info, warn or error", shorten(level))
	}
	return nil
}

// Validate checks everything that a person can set.
func (t ClusterTopology) Validate() error {
	if err := ValidateName(t.Name); err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	if !slices.Contains(ClusterTypes(), t.Type) {
		return fmt.Errorf("type %q is not valid: this version has %q", t.Type, TypeBasic)
	}
	if t.Type != TypeBasic {
		return fmt.Errorf("type %q is not supported by this version: use %q", t.Type, TypeBasic)
	}
	if t.ParentCluster != "" {
		return fmt.Errorf("parent_cluster %q: a cluster of type %q has no parent", shorten(t.ParentCluster), TypeBasic)
	}
	return t.Config.Validate()
}

// Duration is a time.Duration that reads and writes as "10s" in JSON.
type Duration time.Duration

// MarshalJSON writes the duration in Go's notation.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

// UnmarshalJSON reads Go's notation, such as "1m30s".
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("a duration is a string such as \"10s\", not %s", shorten(string(b)))
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("%q is not a duration: write it such as \"10s\"", shorten(s))
	}
	*d = Duration(v)
	return nil
}
