package node

import (
	"context"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	dto "github.com/prometheus/client_model/go"

	"piccolo.io/piccolo/topology"
)

// newMetrics gathers what /metrics tells: this node's own figures, the Go
// runtime's, and on a master the cluster's and etcd's. Everything is read at
// the time of the question; nothing is counted beside.
func newMetrics(d *daemon) (prometheus.Gatherer, error) {
	own := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), &collector{d: d, descs: descriptions()},
	} {
		if err := own.Register(c); err != nil {
			return nil, err
		}
	}
	if d.master == nil {
		return own, nil
	}
	return prometheus.Gatherers{own, prometheus.GathererFunc(etcdMetrics)}, nil
}

// etcdMetrics are those that etcd registers for the whole process.
func etcdMetrics() ([]*dto.MetricFamily, error) {
	all, err := prometheus.DefaultGatherer.Gather()
	return slices.DeleteFunc(all, func(f *dto.MetricFamily) bool { return !strings.HasPrefix(f.GetName(), "etcd_") }), err
}

// collector reads the parts of one daemon.
type collector struct {
	d     *daemon
	descs map[string]*prometheus.Desc
}

func descriptions() map[string]*prometheus.Desc {
	out := map[string]*prometheus.Desc{}
	for _, m := range []struct {
		name, help string
		labels     []string
	}{
		{"piccolo_info", "1, with the version and role of this node.", []string{"version", "role"}},
		{"piccolo_online", "1 while the agent is attached to a master.", nil},
		{"piccolo_flash_mb_per_day", "MB (10^6 bytes) a day written to the device of the data directory, by everything on the board; 0 in the first ten minutes.", nil},
		{"piccolo_plan_revision", "Revision of the plan that this node obeys.", nil},
		{"piccolo_containers", "Containers on this node by state.", []string{"state"}},
		{"piccolo_certificate_expires_seconds", "When this node's certificate runs out, as a Unix time.", nil},
		{"piccolo_nodes", "Nodes of the cluster by state.", []string{"status"}},
		{"piccolo_node_heartbeat_age_seconds", "Seconds since a node's last heartbeat.", []string{"node"}},
		{"piccolo_heartbeats_total", "Heartbeats that this master took.", nil},
		{"piccolo_reports_total", "Reports that this master took.", nil},
		{"piccolo_reports_written_total", "Reports whose content changed, so that they were written.", nil},
		{"piccolo_sessions", "Nodes attached to this master.", nil},
		{"piccolo_gossip_members", "Other members of the gossip mesh by state.", []string{"state"}},
		{"piccolo_gossip_health", "memberlist's health score of this node; 0 is best.", nil},
		{"piccolo_gossip_received_bytes_total", "Bytes of gossip that came in, without the headers of IP, UDP and TCP.", nil},
		{"piccolo_gossip_sent_bytes_total", "Bytes of gossip that went out, without the headers of IP, UDP and TCP.", nil},
		{"piccolo_gossip_rejoins_total", "Times that the mesh had to dial a known node again.", nil},
	} {
		out[m.name] = prometheus.NewDesc(m.name, m.help, m.labels, nil)
	}
	return out
}

// Describe names every figure.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
}

// Collect reads every figure.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(name string, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(c.descs[name], prometheus.GaugeValue, value, labels...)
	}
	counter := func(name string, value uint64) {
		ch <- prometheus.MustNewConstMetric(c.descs[name], prometheus.CounterValue, float64(value))
	}
	st := c.d.agent.Standing()
	gauge("piccolo_info", 1, c.d.o.Version, string(c.d.m.Role))
	gauge("piccolo_online", truth(st.Mode == "Online"))
	gauge("piccolo_flash_mb_per_day", c.d.agent.FlashMBPerDay(context.Background()))
	gauge("piccolo_plan_revision", float64(st.PlanRevision))
	gauge("piccolo_certificate_expires_seconds", float64(c.d.source.Current().NotAfter.Unix()))
	states := map[string]int{}
	for _, container := range c.d.agent.Containers() {
		states[container.State]++
	}
	for state, n := range states {
		gauge("piccolo_containers", float64(n), state)
	}
	mesh := c.d.mesh.Stats()
	gauge("piccolo_gossip_members", float64(mesh.Alive), "alive")
	gauge("piccolo_gossip_members", float64(mesh.Lost), "lost")
	gauge("piccolo_gossip_health", float64(mesh.Health))
	counter("piccolo_gossip_rejoins_total", mesh.Rejoins)
	counter("piccolo_gossip_received_bytes_total", mesh.BytesIn)
	counter("piccolo_gossip_sent_bytes_total", mesh.BytesOut)
	if c.d.master == nil {
		return
	}
	counts := c.d.master.Counts()
	counter("piccolo_heartbeats_total", counts.Heartbeats)
	counter("piccolo_reports_total", counts.Reports)
	counter("piccolo_reports_written_total", counts.ReportsWritten)
	gauge("piccolo_sessions", float64(counts.Sessions))
	byStatus := map[topology.NodeStatus]int{}
	for _, n := range c.d.master.Nodes() {
		byStatus[n.Status]++
		if n.LastHeartbeat != nil {
			gauge("piccolo_node_heartbeat_age_seconds", max(0, c.d.clock.Now().Sub(*n.LastHeartbeat).Seconds()), n.Name)
		}
	}
	for _, s := range topology.Statuses() {
		gauge("piccolo_nodes", float64(byStatus[s]), string(s))
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
