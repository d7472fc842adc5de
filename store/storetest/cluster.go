package storetest

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"piccolo.io/piccolo/store"
)

// ClusterHeartbeat of the members of a Cluster: elections take half the usual time.
// With less, a busy machine elects without need.
const ClusterHeartbeat = 50 * time.Millisecond

// Group is several members of one cluster in one process. They are numbered from
// 0 and named n-0, n-1, …; each has a directory of its own, and can be cut off
// from the others, killed, and started again. Methods are for one goroutine.
type Group struct {
	t       testing.TB
	dir     string
	sealer  *store.Sealer
	network *network
	nodes   []*node
}

// node is one member, in its present life.
type node struct {
	opts   store.Options
	unplug func() // its proxy
	member *store.Member
	cancel context.CancelFunc
	ended  chan struct{}
	err    error // of Run, once ended is closed
	told   bool  // the test knows it
}

// Cluster runs n voting members, and waits until all of them serve. They are
// stopped when the test ends, which fails it if a Run has failed and the test has
// not asked for its error (Ended).
func Cluster(t testing.TB, n int) *Group {
	t.Helper()
	g := &Group{t: t, dir: t.TempDir(), network: newNetwork(t), sealer: Options(t).Sealer}
	together := make(map[string]string, n)
	for range n {
		i := g.Prepare()
		g.nodes[i].opts.Join = nil
		together[g.Name(i)] = g.Options(i).PeerAdvertise
	}
	for i := range n {
		g.nodes[i].opts.InitialCluster = together
		g.Launch(i)
	}
	for i := range n {
		g.wait(i)
	}
	t.Cleanup(g.stopAll)
	return g
}

// Prepare makes a further member that is not part of the cluster yet, and returns
// its number: let the leader add it, and call Start.
func (g *Group) Prepare() int {
	g.t.Helper()
	i := len(g.nodes)
	opts := Options(g.t)
	opts.Name = g.Name(i)
	opts.Dir = filepath.Join(g.dir, opts.Name)
	opts.Sealer = g.sealer
	opts.Heartbeat = ClusterHeartbeat
	for _, n := range g.nodes {
		opts.Join = append(opts.Join, n.opts.PeerAdvertise)
	}
	n := &node{opts: opts}
	n.opts.PeerAdvertise, n.unplug = g.network.proxy(g.t, i, opts.PeerListen)
	g.nodes = append(g.nodes, n)
	return i
}

// Name of member i.
func (g *Group) Name(i int) string { return fmt.Sprintf("n-%d", i) }

// Options that member i starts with. A test may change them between two lives.
func (g *Group) Options(i int) *store.Options { return &g.nodes[i].opts }

// Member is member i in its present life, or in its last one.
func (g *Group) Member(i int) *store.Member { return g.nodes[i].member }

// Start runs member i and waits until it serves.
func (g *Group) Start(i int) {
	g.t.Helper()
	g.Launch(i)
	g.wait(i)
}

// Launch is Start without the wait.
func (g *Group) Launch(i int) {
	g.t.Helper()
	m, err := store.New(g.nodes[i].opts)
	if err != nil {
		g.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n := g.nodes[i]
	n.member, n.cancel, n.ended, n.told = m, cancel, make(chan struct{}), false
	go func() {
		defer close(n.ended)
		n.err = m.Run(ctx)
	}()
}

func (g *Group) wait(i int) {
	g.t.Helper()
	select {
	case <-g.nodes[i].member.Ready():
	case <-g.nodes[i].ended:
		g.t.Fatalf("%s has ended instead of serving: %v", g.Name(i), g.nodes[i].err)
	case <-time.After(patience):
		g.t.Fatalf("%s does not serve after %v", g.Name(i), patience)
	}
}

// Stop ends member i in good order: a leader hands its office on.
func (g *Group) Stop(i int) error {
	g.t.Helper()
	g.nodes[i].cancel()
	return g.Ended(i)
}

// Ended waits until member i has ended and returns the error of its Run.
func (g *Group) Ended(i int) error {
	g.t.Helper()
	select {
	case <-g.nodes[i].ended:
		g.nodes[i].told = true
		return g.nodes[i].err
	case <-time.After(patience):
		g.t.Fatalf("%s has not ended after %v", g.Name(i), patience)
		return nil
	}
}

// Kill ends member i without a word to the others, as if its board had lost its
// power: it is cut off first.
func (g *Group) Kill(i int) {
	g.t.Helper()
	g.Cut(i)
	if s, err := g.nodes[i].member.Stats(); err == nil && s.Voters > 1 {
		g.resigned(i)
	}
	if err := g.Stop(i); err != nil {
		g.t.Errorf("%s: %v", g.Name(i), err)
	}
}

// resigned waits until member i has noticed that it leads nobody: its stop would
// wait for an heir in vain.
func (g *Group) resigned(i int) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_ = g.nodes[i].member.FollowLeader(ctx, func(l store.Leader) error {
		if l.Self {
			return nil
		}
		cancel()
		return nil
	})
	if ctx.Err() == context.DeadlineExceeded {
		g.t.Fatalf("%s still believes that it leads after %v", g.Name(i), patience)
	}
}

// Restart starts member i again after Stop or Kill, heals its network, and waits
// until it serves.
func (g *Group) Restart(i int) {
	g.t.Helper()
	g.Heal(i)
	g.Start(i)
}

// Cut takes member i off the network: whatever is sent from it or to it waits.
func (g *Group) Cut(i int) { g.network.setCut(i, true) }

// Heal ends a Cut.
func (g *Group) Heal(i int) { g.network.setCut(i, false) }

// NewAddress gives member i another address, which nobody has been told yet: at
// the old one nothing answers any more.
func (g *Group) NewAddress(i int) string {
	g.t.Helper()
	n := g.nodes[i]
	n.unplug()
	n.opts.PeerAdvertise, n.unplug = g.network.proxy(g.t, i, n.opts.PeerListen)
	n.opts.InitialCluster = nil // of the old address; the directory knows better
	return n.opts.PeerAdvertise
}

// Leader waits until a member that is not cut off leads, and returns its number.
func (g *Group) Leader() int {
	g.t.Helper()
	tick := time.NewTicker(ClusterHeartbeat)
	defer tick.Stop()
	for deadline := time.After(patience); ; {
		leader, term := -1, uint64(0)
		for i, n := range g.nodes {
			if n.member == nil || g.network.isCut(i) {
				continue
			}
			if l := n.member.Leader(); l.Self && l.Term > term {
				leader, term = i, l.Term
			}
		}
		if leader >= 0 {
			return leader
		}
		select {
		case <-tick.C:
		case <-deadline:
			g.t.Fatalf("nobody leads after %v", patience)
		}
	}
}

// stopAll stops the leader last: it would wait for an heir among those that are
// stopping too.
func (g *Group) stopAll() {
	var last []int
	for i, n := range g.nodes {
		g.Heal(i)
		switch {
		case n.member == nil:
		case n.member.Leader().Self:
			last = append(last, i)
		default:
			n.cancel()
		}
	}
	for i, n := range g.nodes {
		if n.member != nil && !slices.Contains(last, i) {
			g.stopped(i)
		}
	}
	for _, i := range last {
		g.nodes[i].cancel()
		g.stopped(i)
	}
}

func (g *Group) stopped(i int) {
	select {
	case <-g.nodes[i].ended:
		if n := g.nodes[i]; n.err != nil && !n.told {
			g.t.Errorf("%s: %v", g.Name(i), n.err)
		}
	case <-time.After(patience):
		g.t.Errorf("%s has not ended after %v", g.Name(i), patience)
	}
}
