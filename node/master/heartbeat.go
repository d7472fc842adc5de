package master

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/topology"
)

// attachment is the record under leases/<id>: which master a node's
// heartbeats reach. It disappears with its lease, which every heartbeat keeps
// alive without a write.
type attachment struct {
	Master string `json:"master"`
	// TTL of the lease in seconds.
	TTL int `json:"ttl"`
}

// leaseTTL is how long a node may be silent: three heartbeats and a second
// for the way.
func (m *Master) leaseTTL() time.Duration {
	config := topology.DefaultConfig()
	if c, ok := m.cluster.get(clusterKey); ok {
		config = c.Value.Config
	}
	return topology.MissedHeartbeats*time.Duration(config.HeartbeatInterval) + time.Second
}

// renewLease keeps the node's lease alive, or grants one where there is none
// or where the heartbeat's interval has changed.
func (m *Master) renewLease(ctx context.Context, id string) error {
	ttl := m.leaseTTL()
	want := attachment{Master: m.o.Self, TTL: int(ttl.Seconds())}
	if r, ok := m.leases.get(id); ok && r.Value == want {
		_, err := m.o.Store.KeepAlive(ctx, r.Lease)
		if !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	lease, err := m.o.Store.Grant(ctx, ttl)
	if err != nil {
		return fmt.Errorf("grant lease to node %s: %w", id, err)
	}
	revision, _, err := m.leases.collection.Put(ctx, id, want, store.WithLease(lease.ID))
	if err != nil {
		return fmt.Errorf("keep lease of node %s: %w", id, err)
	}
	return m.leases.wait(ctx, revision) // or the next heartbeat would grant another one
}

// Heartbeat takes a sign of life over the connection of the node's session.
// It writes nothing while the node's state does not change.
func (m *Master) Heartbeat(ctx context.Context, connection string, h workload.Heartbeat) (workload.HeartbeatReply, error) {
	n, _, err := m.attendee(ctx, connection, h.Node)
	if err != nil {
		return workload.HeartbeatReply{}, err
	}
	if h, err = tidyHeartbeat(h); err == nil {
		h.AppliedRevision, err = m.knownRevision(h.Node, h.AppliedRevision)
	}
	if err != nil {
		return workload.HeartbeatReply{}, fmt.Errorf("heartbeat of node %s: %w", n.Name, err)
	}
	m.live.heartbeat(h, m.o.Now())
	if err := m.renewLease(ctx, h.Node); err != nil {
		return workload.HeartbeatReply{}, err
	}
	m.signOfLife(h.Node)
	m.presences.changed(h.Node)
	m.clear(ctx, alertID(degradedLink, h.Node))
	m.checkClock(ctx, h)
	p, _ := m.plans.get(h.Node)
	return workload.HeartbeatReply{PlanRevision: p.Revision, MasterTime: m.o.Now()}, nil
}

// maxSkew between a node's clock and this master's before it is an alert. A
// skewed clock never makes a node NotReady: nothing in Piccolo's ordering or
// expiry depends on it.
const maxSkew = 5 * time.Minute

func (m *Master) checkClock(ctx context.Context, h workload.Heartbeat) {
	if h.Usage.At.IsZero() {
		return
	}
	skew := h.Usage.At.Sub(m.o.Now())
	if skew.Abs() < maxSkew {
		m.clear(ctx, alertID("ClockSkew", h.Node))
		return
	}
	direction := "ahead of"
	if skew < 0 {
		direction = "behind"
	}
	m.raise(ctx, workload.Alert{
		Kind: "ClockSkew", Node: h.Node, Severity: workload.SeverityWarning,
		Message: "the node's clock is far " + direction + " the master's",
		Hint:    "`timedatectl set-ntp true` on the node, or set its clock with `timedatectl set-time`",
	})
}

// Report takes what a node says of itself over the connection of its session
// and writes it if its content changed. A change above the node's pace waits
// as a whole, its conditions too, and a newer one takes its place: it is
// written by the session's own goroutine when the pace allows. One that waits
// when the session ends is gone; the node's next session begins with a report.
func (m *Master) Report(ctx context.Context, connection string, r workload.Report) error {
	n, s, err := m.attendee(ctx, connection, r.Node)
	if err != nil {
		return err
	}
	if r, err = tidyReport(r); err != nil {
		return fmt.Errorf("report of node %s: %w", n.Name, err)
	}
	if old, ok := m.reports.get(r.Node); ok && !r.Complete && len(r.Containers) == 0 {
		r.Containers = old.Value.Containers // what was known last, before Podman and the agent were down
	}
	content, err := reportContent(r)
	if err != nil {
		return fmt.Errorf("report of node %s: %w: %w", n.Name, topology.ErrInvalid, err)
	}
	m.live.reports.Add(1)
	select { // reports of one session are kept in their order
	case s.reporting <- struct{}{}:
		defer func() { <-s.reporting }()
	case <-ctx.Done():
		return ctx.Err()
	}
	cost := 1 + len(content)/reportUnit
	switch {
	case m.stored(r.Node, content):
		s.late(nil, 0)
	case m.live.paces.of(r.Node).reports.take(time.Now(), cost) > 0:
		s.late(&r, cost)
		trigger(s.overdue)
		return nil
	default:
		s.late(nil, 0)
	}
	return m.keepReport(ctx, r)
}

// reportContent is what makes two reports differ.
func reportContent(r workload.Report) ([]byte, error) {
	r.Sequence, r.At = 0, time.Time{}
	return json.Marshal(r)
}

// stored reports whether this is what the node reported last.
func (m *Master) stored(id string, content []byte) bool {
	r, ok := m.reports.get(id)
	if !ok {
		return false
	}
	old, err := reportContent(r.Value)
	return err == nil && bytes.Equal(old, content)
}

// lateReports writes what waits in a session, until ctx ends. What cannot be
// written ends the session, so that the node reports anew.
func (m *Master) lateReports(ctx context.Context, s *session) {
	for {
		select {
		case <-s.overdue:
		case <-ctx.Done():
			return
		}
		if err := m.keepLate(ctx, s); err != nil {
			s.end(fmt.Errorf("keep report: %w", err))
			return
		}
	}
}

func (m *Master) keepLate(ctx context.Context, s *session) error {
	pace := m.live.paces.of(s.hello.Node).reports
	for {
		s.mu.Lock()
		waits, cost := s.report != nil, s.cost
		s.mu.Unlock()
		if !waits {
			return nil
		}
		wait := pace.take(time.Now(), cost)
		if wait == 0 {
			break
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
	}
	select {
	case s.reporting <- struct{}{}:
		defer func() { <-s.reporting }()
	case <-ctx.Done():
		return nil
	}
	r := s.late(nil, 0)
	if r == nil {
		return nil
	}
	return m.keepReport(ctx, *r)
}

// keepReport writes a report and makes the changes of state that follow.
func (m *Master) keepReport(ctx context.Context, r workload.Report) error {
	n, err := m.member(ctx, r.Node)
	if err != nil {
		return err
	}
	content := r
	content.Sequence, content.At = 0, time.Time{}
	_, written, err := putOfNode(ctx, m, m.reports, r.Node, content)
	if err != nil {
		return fmt.Errorf("keep report of node %s: %w", n.Name, err)
	}
	if written {
		m.live.written.Add(1)
	}
	if n.Resources != r.Resources || n.Platform != r.Platform {
		if _, err := m.changeNode(ctx, r.Node, func(n *topology.Node) error {
			n.Resources, n.Platform = r.Resources, r.Platform
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// signOfLife is the news that a node lives, for whoever leads.
func (m *Master) signOfLife(id string) {
	m.leading(func(o *office) { o.judge.alive(id) })
}
