package master

import (
	"sync"
	"sync/atomic"
	"time"

	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/topology"
)

// figures of one node that never reach the disk.
type figures struct {
	at         time.Time // last heartbeat, by this master's clock
	usage      topology.Usage
	applied    int64
	applyError string
	own        bool // it was this master that heard the heartbeat
}

type liveFigures struct {
	heartbeats, reports, written atomic.Uint64
	// paces bound what the nodes can make this master write.
	paces *paces

	mu    sync.Mutex
	nodes map[string]figures
}

// Counts are figures of this master since its start.
type Counts struct {
	Heartbeats, Reports, ReportsWritten uint64
	// Sessions are the nodes that are attached now.
	Sessions int
}

// Counts tells how much this master has been told.
func (m *Master) Counts() Counts {
	return Counts{
		Heartbeats: m.live.heartbeats.Load(), Reports: m.live.reports.Load(), ReportsWritten: m.live.written.Load(),
		Sessions: len(m.sessions.all()),
	}
}

func newLiveFigures() *liveFigures {
	return &liveFigures{paces: newPaces(), nodes: map[string]figures{}}
}

func (l *liveFigures) get(id string) (figures, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f, ok := l.nodes[id]
	return f, ok
}

func (l *liveFigures) edit(id string, edit func(*figures)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.nodes[id]
	edit(&f)
	l.nodes[id] = f
}

// heartbeat takes one that this master has heard itself.
func (l *liveFigures) heartbeat(h workload.Heartbeat, at time.Time) {
	l.heartbeats.Add(1)
	l.edit(h.Node, func(f *figures) {
		f.at, f.usage, f.applied, f.applyError, f.own = at, h.Usage, h.AppliedRevision, h.ApplyError, true
	})
}

// heard takes one that another master tells of.
func (l *liveFigures) heard(h workload.Heartbeat, at time.Time) {
	l.edit(h.Node, func(f *figures) {
		f.at, f.usage, f.applied, f.applyError, f.own = at, h.Usage, h.AppliedRevision, h.ApplyError, false
	})
}

func (l *liveFigures) forget(id string) {
	l.paces.forget(id)
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.nodes, id)
}
