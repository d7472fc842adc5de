package store_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/store/storetest"
)

// peer is what member by knows of member i.
func peer(t *testing.T, g *storetest.Group, by, i int) store.Peer {
	t.Helper()
	for _, p := range must[[]store.Peer](t)(g.Member(by).Peers(bg())) {
		if p.Name == g.Name(i) {
			return p
		}
	}
	return store.Peer{}
}

// add makes a further member a learner, runs it, and returns its number.
func add(t *testing.T, g *storetest.Group) int {
	t.Helper()
	i := g.Prepare()
	leader := g.Member(g.Leader())
	if err := leader.AddLearner(bg(), g.Name(i), g.Options(i).PeerAdvertise); err != nil {
		t.Fatal(err)
	}
	g.Start(i)
	return i
}

// promote waits until the learner has caught up.
func promote(t *testing.T, g *storetest.Group, i int) {
	t.Helper()
	eventually(t, "a learner is promoted", func() bool {
		err := g.Member(g.Leader()).Promote(bg(), g.Name(i))
		if err != nil && !errors.Is(err, store.ErrNotCaughtUp) && !errors.Is(err, store.ErrNotLeader) {
			t.Fatal(err)
		}
		return err == nil
	})
}

// TestOneTwoThree: a cluster grows from one master over a standby to three, and
// shrinks to one again.
func TestOneTwoThree(t *testing.T) {
	t.Parallel() // it waits for etcd
	g := storetest.Cluster(t, 1)
	first := g.Member(0)
	for i := range 300 {
		must[int64](t)(fruits(first).Create(bg(), fmt.Sprint("k", i), fruit{"k", i}))
	}
	one := add(t, g)
	standby := g.Member(one)
	if p := peer(t, g, 0, one); !p.Learner || !p.Started || p.Leader || p.Health == nil || !p.Health.Reachable || !p.Health.CaughtUp {
		t.Errorf("the standby: %+v, %+v", p, p.Health)
	}
	if p := peer(t, g, one, 0); p.Learner || !p.Leader || p.Health != nil {
		t.Errorf("the leader, as the standby knows it: %+v", p)
	}
	if list, _, err := fruits(standby).List(bg()); err != nil || len(list) != 300 {
		t.Errorf("the standby lists %d records, %v", len(list), err)
	}
	must[int64](t)(fruits(standby).Create(bg(), "by-standby", fruit{}))
	wantErr(t, "the second vote of two", first.Promote(bg(), g.Name(one)), store.ErrQuorumAtRisk)
	wantErr(t, "a change asked of another than the leader", standby.Promote(bg(), g.Name(one)), store.ErrNotLeader)

	two := add(t, g)
	promote(t, g, one)
	promote(t, g, two)
	s := must[store.Stats](t)(first.Stats())
	if s.Members != 3 || s.Voters != 3 {
		t.Errorf("%+v", s)
	}
	leader := g.Leader()
	g.Kill(leader)
	other := (leader + 1) % 3
	if _, err := fruits(g.Member(other)).Update(bg(), "by-standby", store.AnyRevision, fruit{"later", 1}); err != nil {
		t.Errorf("with two of three: %v", err)
	}
	g.Restart(leader)

	removeOther(t, g)
	removeOther(t, g)
	last := g.Leader()
	wantErr(t, "the last voter", g.Member(last).Remove(bg(), g.Name(last)), store.ErrQuorumAtRisk)
	if r := must[store.Record[fruit]](t)(fruits(g.Member(last)).Get(bg(), "by-standby")); r.Value.Count != 1 {
		t.Errorf("%+v", r)
	}
}

// removeOther removes a member that runs and does not lead, as soon as all answer.
func removeOther(t *testing.T, g *storetest.Group) {
	t.Helper()
	gone := -1
	eventually(t, "a member is removed", func() bool {
		leader := g.Leader()
		for i := range 3 {
			if i == leader || peer(t, g, leader, i).Name == "" {
				continue
			}
			err := g.Member(leader).Remove(bg(), g.Name(i))
			if err != nil && !errors.Is(err, store.ErrQuorumAtRisk) && !errors.Is(err, store.ErrNotLeader) {
				t.Fatal(err)
			}
			if err == nil {
				gone = i
				return true
			}
		}
		return false
	})
	wantErr(t, "Run of a removed member", g.Ended(gone), store.ErrRemoved)
}

func TestChangesRepeated(t *testing.T) {
	g := storetest.Cluster(t, 1)
	leader := g.Member(0)
	i := g.Prepare()
	name, addr := g.Name(i), g.Options(i).PeerAdvertise
	for range 2 {
		if err := leader.AddLearner(bg(), name, addr); err != nil {
			t.Fatal(err)
		}
	}
	if p := peer(t, g, 0, i); !p.Learner || p.Started || p.Address != addr {
		t.Errorf("%+v", p)
	}
	wantErr(t, "another address", leader.AddLearner(bg(), name, "127.0.0.1:1"), store.ErrConflict)
	wantErr(t, "another name", leader.AddLearner(bg(), "n-x", addr), store.ErrConflict)
	wantErr(t, "a second one that has not started", leader.AddLearner(bg(), "n-x", "127.0.0.1:1"), store.ErrChangePending)
	wantErr(t, "a vote for one that has not started", leader.Promote(bg(), name), store.ErrNotCaughtUp)
	wantErr(t, "a vote for nobody", leader.Promote(bg(), "n-x"), store.ErrNotFound)
	wantErr(t, "a new address for nobody", leader.Move(bg(), "n-x", "127.0.0.1:1"), store.ErrNotFound)
	wantErr(t, "the address of another", leader.Move(bg(), name, g.Options(0).PeerAdvertise), store.ErrConflict)
	for _, bad := range []string{"", "0.0.0.0:1", "host:1", "127.0.0.1:0"} {
		wantErr(t, "address "+bad, leader.AddLearner(bg(), "n-x", bad), store.ErrInvalid)
		wantErr(t, "address "+bad, leader.Move(bg(), name, bad), store.ErrInvalid)
	}
	for range 2 {
		if err := leader.Move(bg(), name, "127.0.0.1:1"); err != nil {
			t.Fatal(err)
		}
		if err := leader.Move(bg(), g.Name(0), g.Options(0).PeerAdvertise); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := leader.Remove(bg(), name); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(must[[]store.Peer](t)(leader.Peers(bg()))); n != 1 {
		t.Errorf("%d members", n)
	}
	if err := leader.AddLearner(bg(), name, addr); err != nil {
		t.Errorf("added, removed, and added again: %v", err)
	}
	g.Start(i)
}

// TestRemovedWhileAway: it learns so when it comes back, and can be added anew.
func TestRemovedWhileAway(t *testing.T) {
	t.Parallel() // it waits for etcd
	g := storetest.Cluster(t, 3)
	away := (g.Leader() + 1) % 3
	g.Kill(away)
	eventually(t, "the dead member is removed", func() bool { return g.Member(g.Leader()).Remove(bg(), g.Name(away)) == nil })
	g.Heal(away)
	g.Launch(away)
	wantErr(t, "Run of a removed member", g.Ended(away), store.ErrRemoved)

	opts := g.Options(away)
	opts.InitialCluster, opts.Join = nil, []string{"127.0.0.1:1", g.Options((away + 1) % 3).PeerAdvertise}
	if err := os.RemoveAll(opts.Dir); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is added again", func() bool { // etcd wants 5 s of quiet
		return g.Member(g.Leader()).AddLearner(bg(), g.Name(away), opts.PeerAdvertise) == nil
	})
	g.Start(away)
	promote(t, g, away)
}

// TestLeaderRemovesItself: it hands its office on first.
func TestLeaderRemovesItself(t *testing.T) {
	t.Parallel() // it waits for etcd
	g := storetest.Cluster(t, 3)
	old := g.Leader()
	wantErr(t, "Remove of the leader itself", g.Member(old).Remove(bg(), g.Name(old)), store.ErrNotLeader)
	eventually(t, "the heir removes it", func() bool { return g.Member(g.Leader()).Remove(bg(), g.Name(old)) == nil })
	wantErr(t, "Run of the old leader", g.Ended(old), store.ErrRemoved)
}

// TestEmptyMemberDoesNotJoin: neither uninvited nor in the place of one that has
// voted and lost its directory.
func TestEmptyMemberDoesNotJoin(t *testing.T) {
	g := storetest.Cluster(t, 1)
	i := g.Prepare()
	g.Options(i).StartTimeout = storetest.ClusterHeartbeat * 20
	g.Launch(i)
	if err := g.Ended(i); err == nil || !strings.Contains(err.Error(), "no room for "+g.Name(i)) {
		t.Errorf("uninvited: %v", err)
	}
	g.Options(i).StartTimeout = 0
	if err := g.Member(0).AddLearner(bg(), g.Name(i), g.Options(i).PeerAdvertise); err != nil {
		t.Fatal(err)
	}
	g.Start(i)
	if err := g.Stop(i); err != nil {
		t.Fatal(err)
	}
	g.Restart(i) // with its directory it may
	if err := g.Stop(i); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(g.Options(i).Dir); err != nil {
		t.Fatal(err)
	}
	g.Launch(i)
	wantErr(t, "without its directory", g.Ended(i), store.ErrDamaged)
}

// TestMove: a member is found again at its new address.
func TestMove(t *testing.T) {
	g := storetest.Cluster(t, 3)
	leader := g.Leader()
	moved := (leader + 1) % 3
	g.Kill(moved)
	must[int64](t)(fruits(g.Member(leader)).Create(bg(), "a", fruit{"a", 1}))
	addr := g.NewAddress(moved)
	eventually(t, "it is moved", func() bool { return g.Member(g.Leader()).Move(bg(), g.Name(moved), addr) == nil })
	g.Restart(moved)
	if p := peer(t, g, moved, moved); p.Address != addr {
		t.Errorf("%+v", p)
	}
	if r := must[store.Record[fruit]](t)(fruits(g.Member(moved)).Get(bg(), "a")); r.Value.Count != 1 {
		t.Errorf("%+v", r)
	}
	eventually(t, "the leader reaches it", func() bool { h := peer(t, g, g.Leader(), moved).Health; return h != nil && h.CaughtUp })
}

// TestUnknownAddress: a member that the others cannot dial, because nobody has
// told them its new address, dials them, and takes part.
func TestUnknownAddress(t *testing.T) {
	g := storetest.Cluster(t, 3)
	leader := g.Leader()
	moved, third := (leader+1)%3, (leader+2)%3
	g.Kill(moved)
	_ = g.NewAddress(moved)
	g.Restart(moved)
	g.Kill(third)
	eventually(t, "accepted by the two that are left", func() bool {
		_, _, err := fruits(g.Member(moved)).Put(bg(), "a", fruit{"a", 1})
		return err == nil
	})
}
