package store

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Stats are the figures of a member.
type Stats struct {
	Serving   bool  // Ready and not stopped
	Leader    bool  // this member leads; false if nobody does
	HasLeader bool  // somebody leads
	Members   int   // of the cluster, this one and learners included
	Voters    int   // of these, those with a vote
	DBBytes   int64 // size of the database file
	DBInUse   int64 // bytes of it that hold something
	Revision  int64 // grows by one with each write
	History   int64 // revisions that can still be watched from
	Term      uint64
	// How long the disk takes, since the process started. etcd counts both in the
	// process, so several members in one process share them.
	WALFsync, DBCommit Latency
}

// Latency is a distribution of durations.
type Latency struct {
	Count uint64
	Mean  time.Duration
	// P99 is the upper bound of the bucket that the 99th percentile lies in:
	// powers of two of a millisecond, up to 8 s. 0 if Count is 0, negative if it is beyond.
	P99 time.Duration
}

// etcd's histograms. They are registered in Prometheus' default registry, which
// etcd does not let anybody choose.
const (
	walFsyncMetric = "etcd_disk_wal_fsync_duration_seconds"
	dbCommitMetric = "etcd_disk_backend_commit_duration_seconds"
)

// Stats reads the figures from memory and writes nothing. ErrClosed
// before the member has started and after it has stopped.
func (m *Member) Stats() (Stats, error) {
	if !m.isStarted() || m.life.Err() != nil {
		return Stats{}, fmt.Errorf("read the store's figures: %w", ErrClosed)
	}
	s, err := call(context.Background(), m, func(context.Context, *clientv3.Client) (Stats, error) {
		return m.stats(), nil
	})
	if err != nil {
		return Stats{}, fmt.Errorf("read the store's figures: %w", err)
	}
	families, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		return s, fmt.Errorf("read the store's figures: %w", err)
	}
	for _, f := range families {
		switch f.GetName() {
		case walFsyncMetric:
			s.WALFsync = latencyOf(f)
		case dbCommitMetric:
			s.DBCommit = latencyOf(f)
		}
	}
	return s, nil
}

// stats can hang for ever if etcd has failed: see call.
func (m *Member) stats() Stats {
	server := m.etcd.Server
	s := Stats{
		Leader:    server.Leader() == server.MemberID(),
		HasLeader: server.Leader() != 0,
		DBBytes:   server.Backend().Size(),
		DBInUse:   server.Backend().SizeInUse(),
		Revision:  server.KV().Rev(),
		Term:      server.Term(),
	}
	for _, p := range server.Cluster().Members() {
		s.Members++
		if !p.IsLearner {
			s.Voters++
		}
	}
	s.History = s.Revision - max(server.KV().FirstRev(), 0)
	select {
	case <-m.ready:
		s.Serving = true
	default:
	}
	return s
}

func (m *Member) isStarted() bool {
	select {
	case <-m.started:
		return true
	default:
		return false
	}
}

func latencyOf(f *dto.MetricFamily) Latency {
	if len(f.GetMetric()) == 0 {
		return Latency{}
	}
	h := f.GetMetric()[0].GetHistogram()
	l := Latency{Count: h.GetSampleCount()}
	if l.Count == 0 {
		return l
	}
	seconds := func(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
	l.Mean = seconds(h.GetSampleSum() / float64(l.Count))
	l.P99 = -1
	rank := uint64(math.Ceil(0.99 * float64(l.Count)))
	for _, b := range h.GetBucket() {
		if b.GetCumulativeCount() >= rank && !math.IsInf(b.GetUpperBound(), 1) {
			l.P99 = seconds(b.GetUpperBound())
			break
		}
	}
	return l
}
