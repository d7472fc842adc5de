package gossip_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"piccolo.io/piccolo/gossip"
)

// judge does what a leader does: it asks after everyone that is suspected.
type judge struct {
	n    *node
	wg   sync.WaitGroup
	stop context.CancelFunc

	mu         sync.Mutex
	busy       map[string]bool
	suspicions []gossip.Event
	verdicts   []verdict
}

// verdict is what came of one suspicion.
type verdict struct {
	id  string
	at  time.Time
	err error
}

func (v verdict) lost() bool {
	return errors.Is(v.err, gossip.ErrRefused) || errors.Is(v.err, gossip.ErrUnreachable)
}

// appoint makes a node judge until the test ends.
func appoint(t testing.TB, n *node) *judge {
	ctx, stop := context.WithCancel(context.Background())
	j := &judge{n: n, stop: stop, busy: map[string]bool{}}
	j.wg.Go(func() { _ = n.Follow(ctx, func(e gossip.Event) { j.take(ctx, e) }) })
	t.Cleanup(j.end)
	return j
}

func (j *judge) end() {
	j.stop()
	j.wg.Wait()
}

func (j *judge) take(ctx context.Context, e gossip.Event) {
	if e.Snapshot || e.Kind != gossip.Silent && e.Kind != gossip.Died {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.suspicions = append(j.suspicions, e)
	if j.busy[e.Member.ID] {
		return
	}
	j.busy[e.Member.ID] = true
	j.wg.Go(func() {
		err := j.n.Reach(ctx, e.Member.ID, e.Member.Addr)
		j.mu.Lock()
		defer j.mu.Unlock()
		delete(j.busy, e.Member.ID)
		if ctx.Err() == nil {
			j.verdicts = append(j.verdicts, verdict{e.Member.ID, time.Now(), err})
		}
	})
}

// lost is when a node was first found lost; zero for never.
func (j *judge) lost(id string) time.Time {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, v := range j.verdicts {
		if v.id == id && v.lost() {
			return v.at
		}
	}
	return time.Time{}
}

// condemned gives whoever was found lost but the given.
func (j *judge) condemned(but ...string) []verdict {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(j.verdicts), func(v verdict) bool { return !v.lost() || slices.Contains(but, v.id) })
}

// suspected gives the suspicions of all but the given.
func (j *judge) suspected(but ...string) []gossip.Event {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(j.suspicions), func(e gossip.Event) bool { return slices.Contains(but, e.Member.ID) })
}

// count gives the suspicions by kind, and forgets them.
func (j *judge) count() (silent, died int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, e := range j.suspicions {
		if e.Kind == gossip.Silent {
			silent++
		} else {
			died++
		}
	}
	j.suspicions = nil
	return silent, died
}

func (j *judge) forget() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.suspicions, j.verdicts = nil, nil
}

// watched runs f in virtual time with n nodes of one profile, the first of which is the observer.
func watched(t *testing.T, n int, p gossip.Profile, f func(*testing.T, *cluster, *judge)) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 0)
		for i := range n {
			c.start(fmt.Sprintf("n-%02d", i), fmt.Sprintf("10.0.0.%d", i+1), func(o *gossip.Options) { o.Profile = p })
		}
		c.settled(c.nodes...)
		link := time.Millisecond
		if p == gossip.ProfileWAN {
			link = 50 * time.Millisecond
		}
		c.net.Delay(link, 0)
		c.observed(0)
		t.Cleanup(c.mend) // a frozen host's code can't end
		j := appoint(t, c.nodes[0])
		time.Sleep(3 * time.Second)
		if silent, died := j.count(); silent+died > 0 {
			t.Errorf("%d silences and %d deaths of a quiet cluster: %+v", silent, died, j.verdicts)
		}
		for _, n := range c.nodes {
			if n.Doubts() {
				t.Errorf("%s takes itself for stalled", n.id)
			}
		}
		f(t, c, j)
	})
}

// observed names the observers, by their places.
func (c *cluster) observed(who ...int) {
	var ids []string
	for _, i := range who {
		ids = append(ids, c.nodes[i].id)
	}
	for _, n := range c.nodes {
		if err := n.SetObservers(ids); err != nil {
			c.t.Fatal(err)
		}
	}
}
