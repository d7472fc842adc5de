package master

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"piccolo.io/piccolo/gossip"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/topology"
)

const (
	// startGrace is how long nodes may take to attach to masters that have just
	// started before they ask after them.
	startGrace = 5 * time.Second
	// pendingTimeout is how long a node waits for an administrator's decision.
	pendingTimeout = time.Hour
	// leaseGrace is how long a heartbeat may be on its way when its lease has
	// run out; a master that was itself stalled finds it waiting.
	leaseGrace = time.Second
	// expireAgain is the pause before another attempt at what the store did not
	// take.
	expireAgain = 5 * time.Second
	// reexamineAfter is when a node without a session is asked again.
	reexamineAfter = 500 * time.Millisecond
	// returnInterval between two questions to an unreachable node that still
	// has a session.
	returnInterval = 500 * time.Millisecond
	// maxSuspicions that wait to be looked at. More than nodes of a cluster;
	// one that finds no place is dropped, and the heartbeat's lease decides.
	maxSuspicions = 64
)

// monitor watches whether nodes live. Nobody's word alone condemns a node:
// the end of a session or gossip's verdict is a suspicion, which the monitor
// confirms by asking the node itself.
type monitor struct {
	o *office
	m *Master
	// suspicions and due are node ids.
	suspicions chan suspicion
	due        chan string

	mu     sync.Mutex
	timers map[string]stateTimer
}

// suspicion is one witness's word that a node is lost.
type suspicion struct {
	node string
	// witness is "session", "gossip", "goodbye", "lease" or "start".
	witness string
}

func newMonitor(o *office) *monitor {
	return &monitor{o: o, m: o.m, suspicions: make(chan suspicion, maxSuspicions), due: make(chan string), timers: map[string]stateTimer{}}
}

// run works until ctx ends. Each suspicion is looked at by a goroutine of its
// own, one per node at a time, and run waits for them all.
func (mo *monitor) run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer mo.stopTimers()
	// busy holds the nodes that are being looked at; one that is suspected
	// again meanwhile is looked at once more.
	busy, again, finished := map[string]bool{}, map[string]suspicion{}, make(chan string)
	examine := func(s suspicion) {
		busy[s.node] = true
		wg.Go(func() {
			mo.examine(ctx, s)
			select {
			case finished <- s.node:
			case <-ctx.Done():
			}
		})
	}
	// One who takes over from another has heard the nodes all the time, and asks
	// after all of them at once: what the witnesses said before was not to it.
	grace := max(0, startGrace-time.Since(mo.m.since))
	start := time.NewTimer(grace)
	defer start.Stop()
	for _, r := range mo.m.nodes.all() {
		mo.statusChanged(r.Value)
	}
	for {
		select {
		case s := <-mo.suspicions:
			if busy[s.node] {
				if waiting, ok := again[s.node]; !ok || waiting.witness != "lease" {
					again[s.node] = s
				}
				continue
			}
			examine(s)
		case id := <-finished:
			delete(busy, id)
			if s, ok := again[id]; ok {
				delete(again, id)
				examine(s)
			}
		case id := <-mo.due:
			wg.Go(func() { mo.expire(ctx, id) })
		case <-start.C:
			for _, r := range mo.m.nodes.all() {
				if grace == 0 || !mo.m.attachedSomewhere(r.Key) {
					mo.suspect(r.Key, "start")
				}
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// suspect asks for a node to be looked at. It never blocks.
func (mo *monitor) suspect(id, witness string) {
	select {
	case mo.suspicions <- suspicion{id, witness}:
	default:
		mo.m.o.Logger.Warn("suspicion dropped, the heartbeat decides", "node", id, "witness", witness)
	}
}

// Lost is gossip's word that a node is gone.
func (m *Master) Lost(id string) { m.leading(func(o *office) { o.monitor.suspect(id, "gossip") }) }

// Departed is the node's own goodbye, which comes while it still answers.
func (m *Master) Departed(id string) {
	m.leading(func(o *office) { o.monitor.suspect(id, "goodbye") })
}

func (m *Master) leaseChanged(id string, _, new *attachment) {
	if new == nil {
		m.leading(func(o *office) { o.monitor.suspect(id, "lease") })
	}
}

// examine confirms a suspicion or lets it drop.
func (mo *monitor) examine(ctx context.Context, s suspicion) {
	r, ok := mo.m.nodes.get(s.node)
	if !ok || s.node == mo.m.o.Self {
		return
	}
	n := r.Value
	switch n.Status {
	case topology.StatusPending:
		return
	case topology.StatusTerminating:
		if !mo.m.attachedSomewhere(n.ID) { // it has let go, whoever says so
			mo.warn(n, "release", mo.m.release(ctx, n.ID, mo.o.term.Fence()))
		}
		return
	}
	// That its lease has run out is a fact, whoever asked for the look.
	if _, leased := mo.m.leases.get(n.ID); s.witness == "lease" || !leased && !mo.m.attachedSomewhere(n.ID) {
		mo.leaseExpired(ctx, n)
		return
	}
	if n.Reasons.Has(topology.ReasonUnreachable) || s.witness == "session" && mo.m.attachedSomewhere(n.ID) {
		return // known already, or attached again meanwhile
	}
	// The mesh and the session are asked at the same time: either answer is a
	// sign of life.
	answered := make(chan bool, 1)
	go func() { answered <- mo.m.answers(ctx, n.ID) }() // bounded by pingTimeout
	switch err := mo.m.o.Prober.Reach(ctx, n.ID, gossipAddr(n)); {
	case err == nil:
		mo.notConfirmed(ctx, n, s)
	case errors.Is(err, gossip.ErrNoPath), errors.Is(err, gossip.ErrNotRunning), ctx.Err() != nil:
		// This machine's own link is down: that says nothing of the node.
		mo.m.o.Logger.Warn("cannot confirm a suspicion: this master has no path", "node", n.Name, "error", err)
	case !errors.Is(err, gossip.ErrRefused) && <-answered:
		mo.notConfirmed(ctx, n, s)
	default:
		mo.m.o.Logger.Info("node lost", "node", n.Name, "witness", s.witness, "confirmed", err)
		mo.o.judge.find(n.ID, func(v *verdict) { v.unreachable = true })
		mo.awaitReturn(ctx, n.ID)
	}
}

// notConfirmed: somebody reaches the node, so it stays as it is. If gossip was
// wrong, people are told that its link is bad. A node that has no session is
// going or coming: it is asked again until it has attached or is gone.
func (mo *monitor) notConfirmed(ctx context.Context, n topology.Node, s suspicion) {
	if !mo.m.attachedSomewhere(n.ID) {
		select {
		case <-time.After(reexamineAfter):
			mo.suspect(n.ID, "session")
		case <-ctx.Done():
		}
		return
	}
	if s.witness != "gossip" {
		return
	}
	mo.m.raise(ctx, workload.Alert{
		Kind: "DegradedLink", Node: n.ID, Severity: workload.SeverityWarning,
		Message: "other nodes do not reach " + n.Name + ", this master does",
		Hint:    "look at the board's cable, Wi-Fi signal and power supply",
	})
}

// awaitReturn asks a lost node that still has a session (it was frozen, or
// its cable was out for a moment) until it answers or the session ends. A
// node without a session returns by attaching.
func (mo *monitor) awaitReturn(ctx context.Context, id string) {
	tick := time.NewTicker(returnInterval)
	defer tick.Stop()
	for mo.m.attachedSomewhere(id) {
		if mo.m.answers(ctx, id) {
			mo.o.judge.alive(id)
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// leaseExpired is the slow, certain path. A heartbeat that was on its way
// while this master was busy or stalled is given the time to arrive.
func (mo *monitor) leaseExpired(ctx context.Context, n topology.Node) {
	select {
	case <-time.After(leaseGrace):
	case <-ctx.Done():
		return
	}
	renewed := func() bool {
		_, ok := mo.m.leases.get(n.ID)
		return ok
	}
	if renewed() {
		return
	}
	mo.o.judge.find(n.ID, func(v *verdict) { v.missed = true })
	if renewed() { // its heartbeat came meanwhile
		mo.o.judge.alive(n.ID)
	}
}

// statusChanged sets the one timer that a state may have. Only a change of
// the state sets it anew.
func (mo *monitor) statusChanged(n topology.Node) {
	limits := map[topology.NodeStatus]time.Duration{
		topology.StatusPending:      pendingTimeout,
		topology.StatusInitializing: topology.InitializingTimeout,
		topology.StatusTerminating:  topology.TerminatingGrace,
	}
	mo.mu.Lock()
	defer mo.mu.Unlock()
	t, ok := mo.timers[n.ID]
	if ok && t.status == n.Status {
		return
	}
	if ok {
		t.Stop()
		delete(mo.timers, n.ID)
	}
	if limit, limited := limits[n.Status]; limited {
		mo.timers[n.ID] = stateTimer{mo.after(limit, n.ID), n.Status}
	}
}

// forget stops the timer of a node that is gone.
func (mo *monitor) forget(id string) {
	mo.mu.Lock()
	defer mo.mu.Unlock()
	if t, ok := mo.timers[id]; ok {
		t.Stop()
		delete(mo.timers, id)
	}
}

// stateTimer ends the time that a node may spend in a state.
type stateTimer struct {
	*time.Timer
	status topology.NodeStatus
}

// after asks run to look at a node whose time is over.
func (mo *monitor) after(d time.Duration, id string) *time.Timer {
	return time.AfterFunc(d, func() {
		select {
		case mo.due <- id:
		case <-time.After(time.Second): // run has ended
		}
	})
}

func (mo *monitor) stopTimers() {
	mo.mu.Lock()
	defer mo.mu.Unlock()
	for _, t := range mo.timers {
		t.Stop()
	}
}

// expire is the end of a state's time.
func (mo *monitor) expire(ctx context.Context, id string) {
	r, ok := mo.m.nodes.get(id)
	if !ok {
		return
	}
	n := r.Value
	var err error
	switch n.Status {
	case topology.StatusPending:
		_, err = mo.m.SignalNode(ctx, id, topology.SignalExpired, "")
	case topology.StatusInitializing:
		mo.o.judge.find(id, func(v *verdict) { v.late = true })
	case topology.StatusTerminating:
		err = mo.m.release(ctx, id, mo.o.term.Fence())
	}
	if err == nil || ctx.Err() != nil {
		return
	}
	mo.warn(n, "end its time as "+string(n.Status), err)
	mo.mu.Lock()
	defer mo.mu.Unlock()
	if t, ok := mo.timers[id]; ok && t.status == n.Status {
		mo.timers[id] = stateTimer{mo.after(expireAgain, id), n.Status}
	}
}

func (mo *monitor) warn(n topology.Node, what string, err error) {
	if err != nil {
		mo.m.o.Logger.Warn("could not "+what, "node", n.Name, "error", err)
	}
}

// gossipAddr is where the node's mesh listens.
func gossipAddr(n topology.Node) netip.AddrPort {
	ip, _ := netip.ParseAddr(n.IP)
	return netip.AddrPortFrom(ip, uint16(n.GossipPort))
}
