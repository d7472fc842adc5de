package store_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/store/storetest"
)

// TestRecoverStandby: of two masters the active one is lost. The standby, which
// has no vote, makes a cluster of its own of what it knows; the other one comes
// back, is not heard, and joins again as standby.
func TestRecoverStandby(t *testing.T) {
	t.Parallel() // it waits for etcd
	g := storetest.Cluster(t, 1)
	var newest int64
	for i := range 200 {
		newest = must[int64](t)(fruits(g.Member(0)).Create(bg(), fmt.Sprint("k", i), fruit{"k", i}))
	}
	one := add(t, g)
	eventually(t, "the standby knows everything", func() bool {
		rev, err := g.Member(one).Revision(bg())
		return err == nil && rev >= newest
	})
	g.Kill(0)

	begun := time.Now()
	opts := g.Options(one)
	snapshot := filepath.Join(t.TempDir(), "snapshot")
	snapshotTo(t, g.Member(one), snapshot)
	if err := g.Stop(one); err != nil {
		t.Fatal(err)
	}
	done, aside, err := store.Replace(bg(), store.RestoreFrom{Snapshot: snapshot}, *opts, time.Now())
	if err != nil || done.From != newest || done.Records != 200 {
		t.Fatalf("%+v, %+v, %v", done, aside, err)
	}
	g.Start(one)
	rev := must[int64](t)(fruits(g.Member(one)).Create(bg(), "after", fruit{"after", 1}))
	t.Logf("the standby accepts writes after %v", time.Since(begun).Round(time.Millisecond))
	if rev <= newest+store.RevisionBump {
		t.Errorf("revision %d", rev)
	}

	// The old one comes back: two clusters that do not hear each other.
	g.Restart(0)
	must[int64](t)(fruits(g.Member(0)).Create(bg(), "astray", fruit{"astray", 1}))
	for i, want := range []error{nil, store.ErrNotFound} {
		if _, err := fruits(g.Member(i)).Get(bg(), "astray"); !errors.Is(err, want) {
			t.Errorf("member %d: %v, want %v", i, err, want)
		}
	}
	if peers := must[[]store.Peer](t)(g.Member(one).Peers(bg())); len(peers) != 1 || peers[0].Learner || !peers[0].Leader {
		t.Errorf("%+v", peers)
	}

	if err := g.Stop(0); err != nil {
		t.Fatal(err)
	}
	must[store.Aside](t)(store.SetAside(g.Options(0).Dir, time.Now()))
	g.Options(0).InitialCluster, g.Options(0).Join = nil, []string{opts.PeerAdvertise}
	if err := g.Member(one).AddLearner(bg(), g.Name(0), g.Options(0).PeerAdvertise); err != nil {
		t.Fatal(err)
	}
	g.Start(0)
	eventually(t, "the old one knows what the new cluster knows", func() bool {
		_, err := fruits(g.Member(0)).Get(bg(), "after")
		return err == nil
	})
	if list, _, err := fruits(g.Member(0)).List(bg()); err != nil || len(list) != 201 {
		t.Errorf("%d records, %v", len(list), err)
	}
}
