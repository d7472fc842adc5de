package workload

import (
	"fmt"
	"time"

	"piccolo.io/piccolo/topology"
)

// Plan is everything that one node is to run and obey, at one revision. The
// masters own it; a node keeps its newest plan on disk before it obeys it.
type Plan struct {
	// Node is the id of the node that the plan is for.
	Node string `json:"node"`
	// Revision rises with every change of the plan; 0 is no plan at all.
	Revision int64 `json:"revision"`
	// Name and Labels as the cluster has them.
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels"`
	// Role that the node is to have; empty in a plan of an older master.
	Role topology.Role `json:"role,omitempty"`
	// HeartbeatInterval between two signs of life; see topology.Config.
	HeartbeatInterval topology.Duration `json:"heartbeat_interval"`
	// LogLevel of the node's daemon.
	LogLevel string `json:"log_level"`
}

// PlanFor computes a node's plan from the cluster's configuration and the
// node's own record. Equal input gives an equal plan; Revision is left 0 for
// the store to set.
func PlanFor(config topology.Config, n topology.Node) Plan {
	level := config.LogLevel
	if n.LogLevel != "" {
		level = n.LogLevel
	}
	labels := make(map[string]string, len(n.Labels))
	for k, v := range n.Labels {
		labels[k] = v
	}
	return Plan{Node: n.ID, Name: n.Name, Role: n.Role, Labels: labels, HeartbeatInterval: config.HeartbeatInterval, LogLevel: level}
}

// Validate is the node's own guard: it refuses a plan that is not for it or
// that it could not obey, and keeps the one it has.
func (p Plan) Validate(node string) error {
	if p.Node != node {
		return fmt.Errorf("plan %d is for node %s, not for this one (%s)", p.Revision, p.Node, node)
	}
	if p.Revision <= 0 {
		return fmt.Errorf("plan for node %s has no revision", p.Node)
	}
	if p.Role != "" && !p.Role.Valid() {
		return fmt.Errorf("plan %d asks for role %.32q, which this version does not know", p.Revision, p.Role)
	}
	c := topology.Config{HeartbeatInterval: p.HeartbeatInterval, LogLevel: p.LogLevel, Approval: topology.ApprovalToken}
	if err := c.Validate(); err != nil {
		return fmt.Errorf("plan %d: %w", p.Revision, err)
	}
	return topology.ValidateLabels(p.Labels)
}

// View is what a node knows of the cluster around it, so that it can answer
// its own operator and find its peers when no master can be reached.
type View struct {
	ClusterID   string `json:"cluster_id"`
	ClusterName string `json:"cluster_name"`
	// Config of the cluster; zero where the master is too old to tell it.
	Config topology.Config `json:"config"`
	// Nodes without their live figures.
	Nodes []topology.Node `json:"nodes"`
	// Revision of the newest change in it.
	Revision int64 `json:"revision"`
	// AsOf is when a master last confirmed the view, by the node's clock.
	AsOf time.Time `json:"as_of"`
}

// Masters returns the API addresses of the masters in the view, host:port.
func (v View) Masters() []string {
	var out []string
	for _, n := range v.Nodes {
		if n.Role == topology.RoleMaster && n.APIPort > 0 {
			out = append(out, HostPort(n.IP, n.APIPort))
		}
	}
	return out
}
