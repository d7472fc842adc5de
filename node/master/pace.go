package master

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// quickBurst writes go at once, then one in quickEvery: an honest change
	// is seen immediately, also when twenty containers start together.
	quickBurst = 60
	quickEvery = time.Second
	// steadyBurst and the steady interval bound what goes on for hours, such
	// as a container that restarts for ever: a put costs 40 KB of flash on
	// every master.
	steadyBurst  = 600
	reportEvery  = time.Minute
	attachEvery  = 30 * time.Second
	alertEvery   = time.Minute
	renewEvery   = time.Minute
	returnEvery  = time.Minute
	attachMaxLag = time.Minute
	// reportUnit is what one token pays for, in bytes; a larger report costs
	// more of them.
	reportUnit = 32 << 10
	// linkAlertEvery is the least time between two alerts of one node's link,
	// which flaps where the mesh and this master see different things.
	linkAlertEvery = 10 * time.Minute
)

// pace bounds how often one node can make this master write.
type pace struct{ quick, steady *rate.Limiter }

func newPace(steady time.Duration) *pace {
	return &pace{quick: rate.NewLimiter(rate.Every(quickEvery), quickBurst), steady: rate.NewLimiter(rate.Every(steady), steadyBurst)}
}

// take pays for a write of this cost and returns 0, or how long to wait when
// it has taken nothing. A cost above the burst counts as the burst.
func (p *pace) take(now time.Time, cost int) time.Duration {
	cost = max(1, min(cost, p.quick.Burst(), p.steady.Burst()))
	quick, steady := p.quick.ReserveN(now, cost), p.steady.ReserveN(now, cost)
	wait := max(quick.DelayFrom(now), steady.DelayFrom(now))
	if wait > 0 {
		quick.CancelAt(now)
		steady.CancelAt(now)
	}
	return wait
}

// nodePaces are the bounds of one node.
type nodePaces struct{ reports, attaches, alerts, renewals, returns *pace }

// paces holds the bounds of the nodes that belong to the cluster.
type paces struct {
	mu    sync.Mutex
	nodes map[string]*nodePaces
	// links is when the alert of a node's link was raised last.
	links map[string]time.Time
}

func newPaces() *paces { return &paces{nodes: map[string]*nodePaces{}, links: map[string]time.Time{}} }

func (p *paces) of(id string) *nodePaces {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, ok := p.nodes[id]
	if !ok {
		n = &nodePaces{reports: newPace(reportEvery), attaches: newPace(attachEvery), alerts: newPace(alertEvery), renewals: newPace(renewEvery), returns: newPace(returnEvery)}
		p.nodes[id] = n
	}
	return n
}

// link reports whether the alert of a node's link may be raised again.
func (p *paces) link(id string, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if last, ok := p.links[id]; ok && now.Sub(last) < linkAlertEvery {
		return false
	}
	p.links[id] = now
	return true
}

func (p *paces) forget(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.nodes, id)
	delete(p.links, id)
}
