package node

import (
	"context"
	"slices"
	"time"

	"piccolo.io/piccolo/node/agent"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/topology"
)

// hearsay is what a sub knows: its own containers, and the cluster as a
// master told it last. It lets the local socket answer at any time.
type hearsay struct {
	m     Membership
	agent *agent.Agent
}

func (h *hearsay) Nodes() []topology.Node {
	v, st := h.agent.View(), h.agent.Standing()
	out := make([]topology.Node, len(v.Nodes))
	for i, n := range v.Nodes {
		out[i] = known(n)
		if n.ID == h.m.ID {
			out[i].PlanRevision, out[i].AppliedRevision, out[i].ApplyError = st.NewestRevision, st.PlanRevision, st.ApplyError
		}
	}
	return out
}

// known is a node without what only the masters know: what they keep in memory
// is old, or missing, in a view.
func known(n topology.Node) topology.Node {
	n = n.Clone()
	n.LastHeartbeat, n.Usage = nil, nil
	n.PlanRevision, n.AppliedRevision, n.ApplyError = 0, 0, ""
	return n
}

// Containers of other nodes are the masters' to tell.
func (h *hearsay) Containers(node string) []workload.Container {
	if node != "" && node != h.m.ID {
		return []workload.Container{}
	}
	return append([]workload.Container{}, h.agent.Containers()...)
}

func (h *hearsay) Topology() topology.ClusterTopology {
	t := topology.ClusterTopology{
		ID: h.m.ClusterID, Name: h.m.Cluster, Type: topology.TypeBasic, MasterNodes: []string{}, SubNodes: []string{},
		Config: topology.DefaultConfig(),
	}
	v := h.agent.View()
	if v.Config.Validate() == nil { // a view of an older master has none
		t.Config = v.Config
	}
	for _, n := range v.Nodes {
		switch {
		case n.Status == topology.StatusPending:
		case n.Role == topology.RoleMaster:
			t.MasterNodes = append(t.MasterNodes, n.Name)
		default:
			t.SubNodes = append(t.SubNodes, n.Name)
		}
	}
	slices.Sort(t.MasterNodes)
	slices.Sort(t.SubNodes)
	return t
}

func (h *hearsay) Alerts() []workload.Alert { return h.agent.Alerts() }

// AsOf is when a master was heard of last: on a healthy node a heartbeat ago at
// most.
func (h *hearsay) AsOf() *time.Time {
	at := h.agent.View().AsOf
	return &at
}

// ContainerStats measures this board's own containers.
func (h *hearsay) ContainerStats(ctx context.Context, _ string) (map[string]workload.ContainerStats, error) {
	return h.agent.Stats(ctx)
}
