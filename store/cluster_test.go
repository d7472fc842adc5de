package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/store/storetest"
)

// TestReadsEverywhere: what was acknowledged by one member is read at once from
// any other, a learner included; without a quorum a read ends with its deadline.
func TestReadsEverywhere(t *testing.T) {
	t.Parallel() // it waits for etcd
	g := storetest.Cluster(t, 3)
	learner := add4th(t, g)
	for i := range 20 {
		from, to := g.Member(i%4), g.Member((i+1+i/4)%4)
		must[int64](t)(fruits(from).Create(bg(), fmt.Sprint("k", i), fruit{"k", i}))
		if r, err := fruits(to).Get(bg(), fmt.Sprint("k", i)); err != nil || r.Value.Count != i {
			t.Fatalf("write %d at member %d, read at member %d: %+v, %v", i, i%4, (i+1+i/4)%4, r, err)
		}
	}
	g.Cut(learner)
	ctx, cancel := context.WithTimeout(bg(), 300*time.Millisecond)
	defer cancel()
	_, err := fruits(g.Member(learner)).Get(ctx, "k0")
	wantErr(t, "a read that reaches nobody", err, store.ErrNoQuorum)
	if p := peer(t, g, learner, 0); p.Name != g.Name(0) {
		t.Error("a member that is cut off does not know the others any more")
	}
}

// add4th adds a learner to three voters; etcd wants 5 s of quiet before.
func add4th(t *testing.T, g *storetest.Group) int {
	t.Helper()
	i := g.Prepare()
	eventually(t, "a learner is added", func() bool {
		err := g.Member(g.Leader()).AddLearner(bg(), g.Name(i), g.Options(i).PeerAdvertise)
		if err != nil && !errors.Is(err, store.ErrQuorumAtRisk) && !errors.Is(err, store.ErrNotLeader) {
			t.Fatal(err)
		}
		return err == nil
	})
	g.Start(i)
	return i
}

// TestStandby: one voter and one learner. The loss of the standby costs nothing;
// after the loss of the voter the standby still shows what it knows.
func TestStandby(t *testing.T) {
	g := storetest.Cluster(t, 1)
	standby := add(t, g)
	c := fruits(g.Member(0))
	must[int64](t)(c.Create(bg(), "a", fruit{"a", 1}))
	g.Kill(standby)
	must[int64](t)(c.Create(bg(), "b", fruit{"b", 2}))
	g.Restart(standby)
	if r := must[store.Record[fruit]](t)(fruits(g.Member(standby)).Get(bg(), "b")); r.Value.Count != 2 {
		t.Errorf("%+v", r)
	}
	g.Kill(0)
	_, err := fruits(g.Member(standby)).Create(bg(), "c", fruit{})
	wantErr(t, "a write without the voter", err, store.ErrNoQuorum)
	shown := &tracker{}
	defer follow(t, fruits(g.Member(standby)), shown.take)()
	eventually(t, "the standby shows what it knows", func() bool { return shown.count("a") == 1 && shown.count("b") == 2 })
}

// TestFollowCutOff: a follower on a member that is cut off shows what that knew,
// and catches up when it is healed, be it far behind.
func TestFollowCutOff(t *testing.T) {
	g := storetest.Cluster(t, 3)
	leader := g.Leader()
	away := (leader + 1) % 3
	c := fruits(g.Member(leader))
	must[int64](t)(c.Create(bg(), "a", fruit{"a", 1}))
	before, after := &tracker{}, &tracker{}
	defer follow(t, fruits(g.Member(away)), before.take)()
	eventually(t, "followed", func() bool { return before.count("a") == 1 })

	g.Cut(away)
	for i := range 700 { // more than the others keep of their logs
		must[int64](t)(c.Update(bg(), "a", store.AnyRevision, fruit{"a", i + 2}))
	}
	defer follow(t, fruits(g.Member(away)), after.take)()
	eventually(t, "a new follower shows what was known", func() bool { return after.count("a") == 1 })
	if before.count("a") != 1 {
		t.Errorf("%d, through a cut", before.count("a"))
	}
	g.Heal(away)
	for _, f := range []*tracker{before, after} {
		eventually(t, "a follower has caught up", func() bool { return f.count("a") == 701 })
	}
	must[int64](t)(c.Create(bg(), "b", fruit{"b", 5}))
	for _, f := range []*tracker{before, after} {
		eventually(t, "a follower goes on", func() bool { return f.count("b") == 5 })
	}
}

// tracker keeps what a follower has shown last.
type tracker struct {
	mu   sync.Mutex
	seen map[string]int
}

func (f *tracker) take(b store.Batch[fruit]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if b.Reset {
		f.seen = make(map[string]int)
	}
	for _, r := range b.Puts {
		f.seen[r.Key] = r.Value.Count
	}
}

func (f *tracker) count(key string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seen[key]
}

// tally is what writers have been told.
type tally struct{ acknowledged, unknown atomic.Int64 }

// note fails the test if the store says that a write was refused which nobody else
// can have made: its own earlier try, not recognised.
func (y *tally) note(t *testing.T, err error) {
	switch {
	case err == nil:
		y.acknowledged.Add(1)
	case errors.Is(err, store.ErrNoQuorum):
		y.unknown.Add(1)
	default:
		t.Error(err)
	}
}

// TestNothingLostNothingTwice: three writers at three members create records and
// count on one that they share, while one leader after another is cut off.
func TestNothingLostNothingTwice(t *testing.T) {
	g := storetest.Cluster(t, 3)
	c := fruits(g.Member(0))
	must[int64](t)(c.Create(bg(), "count", fruit{}))
	var created, counted tally
	var mine sync.Map // acknowledged keys
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for w := range 3 {
		_ = lead(t, g.Member(w))
		c := fruits(g.Member(w))
		writers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				key := fmt.Sprintf("w%d/%d", w, i)
				_, err := c.Create(bg(), key, fruit{key, i})
				if created.note(t, err); err == nil {
					mine.Store(key, i)
				}
				for { // others count too
					_, _, err = c.Modify(bg(), "count", func(f *fruit) error { f.Count++; return nil })
					if !errors.Is(err, store.ErrConflict) {
						break
					}
				}
				counted.note(t, err)
			}
		})
	}
	for range 4 {
		old := g.Leader()
		at := created.acknowledged.Load()
		eventually(t, "writes are accepted", func() bool { return created.acknowledged.Load() > at+20 })
		g.Cut(old)
		g.Leader()
		at = created.acknowledged.Load()
		eventually(t, "writes are accepted without the old leader", func() bool { return created.acknowledged.Load() > at+20 })
		g.Heal(old)
	}
	close(stop)
	writers.Wait()
	mine.Range(func(key, count any) bool {
		if r, err := c.Get(bg(), key.(string)); err != nil || r.Value.Count != count.(int) {
			t.Errorf("%s was acknowledged: %+v, %v", key, r.Value, err)
		}
		return true
	})
	sum := int64(must[store.Record[fruit]](t)(c.Get(bg(), "count")).Value.Count)
	if low, high := counted.acknowledged.Load(), counted.acknowledged.Load()+counted.unknown.Load(); sum < low || sum > high {
		t.Errorf("counted to %d, acknowledged %d, not known %d", sum, low, high-low)
	}
	t.Logf("created %d (%d not known), counted %d (%d not known)", created.acknowledged.Load(), created.unknown.Load(), counted.acknowledged.Load(), counted.unknown.Load())
}

// TestLateProposals: what was on its way to a leader that was cut off arrives when
// that is healed, and is passed on to the new one. By then it is not wanted any
// more: it was made again in the meantime, and others have deleted it.
func TestLateProposals(t *testing.T) {
	g := storetest.Cluster(t, 3)
	for i := range 3 {
		_ = lead(t, g.Member(i))
	}
	for round := range 3 {
		old := g.Leader()
		c := fruits(g.Member((old + 1) % 3))
		g.Cut(old)
		var creators sync.WaitGroup
		for i := range 20 {
			creators.Go(func() {
				key := fmt.Sprintf("k%d/%d", round, i)
				for {
					_, err := c.Create(bg(), key, fruit{})
					if err == nil {
						break
					}
					if !errors.Is(err, store.ErrNoQuorum) {
						t.Errorf("create %s: %v", key, err)
						return
					}
				}
				for c.Delete(bg(), key, store.AnyRevision) != nil {
				}
			})
		}
		creators.Wait()
		g.Heal(old)
		next := g.Leader()
		eventually(t, "the old leader follows", func() bool { return g.Member(old).Leader().Name == g.Name(next) })
		for i := range 50 { // and what it still had has gone ahead of these
			must[int64](t)(fruits(g.Member(old)).Create(bg(), fmt.Sprintf("after%d/%d", round, i), fruit{}))
		}
		list, _, err := c.List(bg())
		for _, r := range list {
			if strings.HasPrefix(r.Key, "k") {
				t.Errorf("%s was deleted, and is there again", r.Key)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestNothingLostWithAProcess is the same with real deaths and real freezes.
func TestNothingLostWithAProcess(t *testing.T) {
	t.Setenv("PICCOLO_TEST_QUIET", "1")
	all := processes(t, 3)
	all[0].ask(t, "set count 0")
	acknowledged, unknown := 0, 0
	for i, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP, syscall.SIGKILL, syscall.SIGSTOP} {
		leader, others := leaderOf(t, all...)
		answers := make(chan string, 100)
		var writers sync.WaitGroup
		for _, p := range others {
			writers.Go(func() {
				for range 25 {
					answers <- p.ask(t, "count count")
				}
			})
		}
		answers <- <-answers // they are at it
		leader.signal(t, sig)
		writers.Wait()
		if sig == syscall.SIGSTOP {
			leader.signal(t, syscall.SIGCONT)
		} else {
			leader.start(t, "", nil)
		}
		for range 50 {
			if a := <-answers; a == "done" {
				acknowledged++
			} else {
				unknown++
				t.Log(a)
			}
		}
		var name string
		var sum int
		if _, err := fmt.Sscan(leader.ask(t, "get count"), &name, &sum); err != nil || sum < acknowledged || sum > acknowledged+unknown {
			t.Fatalf("round %d: counted to %d, acknowledged %d, not known %d, %v", i, sum, acknowledged, unknown, err)
		}
	}
}
