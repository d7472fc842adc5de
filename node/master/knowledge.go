package master

import (
	"slices"
	"time"

	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/topology"
)

// Nodes returns all nodes with their live figures.
func (m *Master) Nodes() []topology.Node {
	rows := m.nodes.all()
	out := make([]topology.Node, len(rows))
	for i, r := range rows {
		out[i] = m.withLive(r.Value)
	}
	return out
}

// withLive adds what is only in memory.
func (m *Master) withLive(n topology.Node) topology.Node {
	n = n.Clone()
	if r, ok := m.plans.get(n.ID); ok {
		n.PlanRevision = r.Revision
	}
	if l, ok := m.live.get(n.ID); ok {
		n.AppliedRevision, n.ApplyError = l.applied, l.applyError
		if !l.at.IsZero() {
			at, usage := l.at, l.usage
			n.LastHeartbeat, n.Usage = &at, &usage
		}
	}
	return n
}

// Containers returns what the nodes reported last, of one node or of all.
func (m *Master) Containers(node string) []workload.Container {
	out := []workload.Container{}
	for _, r := range m.reports.all() {
		n, ok := m.nodes.get(r.Key)
		if !ok || node != "" && r.Key != node {
			continue
		}
		asOf := m.lastHeard(n.Value)
		for _, c := range r.Value.Containers {
			c.Node, c.NodeName, c.AsOf = r.Key, n.Value.Name, asOf
			out = append(out, c)
		}
	}
	return out
}

// lastHeard is nil for a node that is heard of, and the time of its last
// heartbeat for one that is lost.
func (m *Master) lastHeard(n topology.Node) *time.Time {
	if !n.Reasons.Has(topology.ReasonUnreachable) && !n.Reasons.Has(topology.ReasonHeartbeatMissed) {
		return nil
	}
	at := n.LastHeartbeat
	if l, ok := m.live.get(n.ID); ok && !l.at.IsZero() {
		at = &l.at
	}
	if at == nil {
		at = new(time.Time)
	}
	return at
}

// publishContainers tells the watchers which containers of a node changed.
func (m *Master) publishContainers(id string, old, new *workload.Report) {
	name, seen := m.nameOf(id), map[string]bool{}
	if new != nil {
		for _, c := range new.Containers {
			c.Node, c.NodeName = id, name
			seen[c.ID] = true
			m.o.Publisher.Publish("container", id+"/"+c.ID, c)
		}
	}
	if old != nil {
		for _, c := range old.Containers {
			if !seen[c.ID] {
				m.o.Publisher.Publish("container", id+"/"+c.ID, nil)
			}
		}
	}
}

// publishAlerts tells the watchers which alerts of a node came or went.
func (m *Master) publishAlerts(id string, old, new *workload.Report) {
	standing := map[string]bool{}
	if new != nil {
		for _, a := range new.Alerts {
			a.Node, a.NodeName = id, m.nameOf(id)
			standing[a.ID] = true
			m.o.Publisher.Publish("alert", a.ID, a)
		}
	}
	if old != nil {
		for _, a := range old.Alerts {
			if !standing[a.ID] {
				m.o.Publisher.Publish("alert", a.ID, nil)
			}
		}
	}
}

// nameOf is a node's name, or its id where it has none here.
func (m *Master) nameOf(id string) string {
	if n, ok := m.nodes.get(id); ok {
		return n.Value.Name
	}
	return id
}

// Topology returns the cluster with the names of its nodes.
func (m *Master) Topology() topology.ClusterTopology {
	r, _ := m.cluster.get(clusterKey)
	t := r.Value
	t.Revision = r.Revision
	t.MasterNodes, t.SubNodes = []string{}, []string{}
	for _, n := range m.nodes.all() {
		switch {
		case n.Value.Status == topology.StatusPending:
		case n.Value.Role == topology.RoleMaster:
			t.MasterNodes = append(t.MasterNodes, n.Value.Name)
		default:
			t.SubNodes = append(t.SubNodes, n.Value.Name)
		}
	}
	slices.Sort(t.MasterNodes)
	slices.Sort(t.SubNodes)
	return t
}

// Alerts returns the masters' own alerts and those that nodes report.
func (m *Master) Alerts() []workload.Alert {
	out := []workload.Alert{}
	for _, r := range m.alerts.all() {
		out = append(out, r.Value)
	}
	for _, r := range m.reports.all() {
		n, ok := m.nodes.get(r.Key)
		if !ok {
			continue
		}
		for _, a := range r.Value.Alerts {
			a.Node, a.NodeName = r.Key, n.Value.Name
			out = append(out, a)
		}
	}
	return out
}

// AsOf is nil: a master's answers are live.
func (m *Master) AsOf() *time.Time { return nil }

// view is what every node is told of the cluster.
func (m *Master) view() workload.View {
	t := m.Topology()
	v := workload.View{ClusterID: t.ID, ClusterName: t.Name, Config: t.Config}
	for _, r := range m.nodes.all() {
		n := r.Value.Clone()
		n.MachineID, n.LogLevel = "", ""
		v.Nodes = append(v.Nodes, n)
		v.Revision = max(v.Revision, r.Revision)
	}
	c, _ := m.cluster.get(clusterKey)
	v.Revision = max(v.Revision, c.Revision)
	return v
}
