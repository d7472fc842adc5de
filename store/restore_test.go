package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/store/storetest"
)

// lostCluster is what is left of a cluster: a snapshot, a stopped directory that
// knows more, and what was remembered of it.
type lostCluster struct {
	opts     store.Options
	snapshot string
	taken    store.SnapshotInfo
	newest   int64 // revision of all
	lease    store.LeaseID
}

func loseCluster(t *testing.T) lostCluster {
	t.Helper()
	l := lostCluster{opts: storetest.Options(t), snapshot: filepath.Join(t.TempDir(), "snapshot")}
	m, stop := storetest.Start(t, l.opts)
	for i := range 50 {
		must[int64](t)(fruits(m).Create(bg(), fmt.Sprint("k", i), fruit{strings.Repeat("x", 100), i}))
	}
	for i := range 10 {
		if err := fruits(m).Delete(bg(), fmt.Sprint("k", i), store.AnyRevision); err != nil {
			t.Fatal(err)
		}
	}
	l.lease = must[store.Lease](t)(m.Grant(bg(), time.Hour)).ID
	must[int64](t)(fruits(m).Create(bg(), "leased", fruit{"leased", 1}, store.WithLease(l.lease)))
	l.taken = snapshotTo(t, m, l.snapshot)
	for i := range 20 { // the snapshot does not know these
		l.newest, _, _ = fruits(m).Put(bg(), "k20", fruit{"later", i})
	}
	stop()
	return l
}

// wantRestored checks a store that was restored, with the number of k20.
func wantRestored(t *testing.T, l lostCluster, opts store.Options, done store.Restored, k20 int) {
	t.Helper()
	m, stop := storetest.Start(t, opts)
	defer stop()
	list, rev, err := fruits(m).List(bg())
	if err != nil || len(list) != 40 || done.Records != 40 || done.Leased != 1 || rev != done.Revision {
		t.Fatalf("%d records at revision %d, restored %+v, %v", len(list), rev, done, err)
	}
	for _, r := range list {
		if r.Revision != done.Revision || r.Revision <= l.newest || r.Lease != store.NoLease {
			t.Errorf("%s is at revision %d, lease %x; revision %d was seen before", r.Key, r.Revision, r.Lease, l.newest)
		}
	}
	if r := must[store.Record[fruit]](t)(fruits(m).Get(bg(), "k20")); r.Value.Count != k20 {
		t.Errorf("%+v, want %d", r, k20)
	}
	if _, err := fruits(m).Get(bg(), "k5"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a deleted record: %v", err)
	}
	_, err = fruits(m).Update(bg(), "k20", l.newest, fruit{})
	wantErr(t, "Update at a revision of the old cluster", err, store.ErrConflict)
	_, err = m.KeepAlive(bg(), l.lease)
	wantErr(t, "KeepAlive of an old lease", err, store.ErrNotFound)
	must[store.Lease](t)(m.Grant(bg(), time.Minute))
	if s := must[store.Stats](t)(m.Stats()); s.Members != 1 || !s.Leader || s.Revision != done.Revision || s.History != 0 {
		t.Errorf("%+v", s)
	}

	ctx, cancel := context.WithCancel(bg())
	defer cancel()
	batches := make(chan store.Batch[fruit], 2)
	followed := make(chan error, 1)
	go func() {
		followed <- fruits(m).Follow(ctx, func(b store.Batch[fruit]) error { batches <- b; return nil })
	}()
	if b := <-batches; !b.Reset || len(b.Puts) != 40 || b.Revision != done.Revision {
		t.Errorf("follow begins with %d records at revision %d, reset %t", len(b.Puts), b.Revision, b.Reset)
	}
	next := must[int64](t)(fruits(m).Create(bg(), "new", fruit{"new", 1}))
	if b := <-batches; b.Reset || len(b.Puts) != 1 || b.Revision != next || next != done.Revision+1 {
		t.Errorf("follow goes on with %+v, the write was %d", b, next)
	}
	cancel()
	if err := <-followed; err != nil {
		t.Error(err)
	}
}

func TestRestore(t *testing.T) {
	l := loseCluster(t)
	opts := l.opts
	opts.Name, opts.Dir, opts.PeerListen = "n-new", filepath.Join(t.TempDir(), "etcd"), storetest.FreeAddr(t)
	for _, how := range []string{"into nothing", "into an empty directory"} {
		if how == "into an empty directory" {
			opts.Dir = t.TempDir()
		}
		done := must[store.Restored](t)(store.Restore(bg(), store.RestoreFrom{Snapshot: l.snapshot}, opts))
		if done.From != l.taken.Revision || done.Revision != done.From+store.RevisionBump {
			t.Errorf("%s: %+v", how, done)
		}
		wantRestored(t, l, opts, done, 20)
		// It is a directory like any other: it starts again, and again.
		m, stop := storetest.Start(t, opts)
		if list, _, err := fruits(m).List(bg()); err != nil || len(list) != 41 {
			t.Errorf("%s, started again: %d records, %v", how, len(list), err)
		}
		stop()
		_, err := store.Restore(bg(), store.RestoreFrom{Snapshot: l.snapshot}, opts)
		wantErr(t, "Restore into a directory with something in it", err, store.ErrExists)
	}
}

// TestRestoreDirectory: the database of a stopped member is as good as a snapshot.
func TestRestoreDirectory(t *testing.T) {
	l := loseCluster(t)
	opts := l.opts
	opts.Dir = filepath.Join(t.TempDir(), "etcd")
	done := must[store.Restored](t)(store.Restore(bg(), store.RestoreFrom{Directory: l.opts.Dir}, opts))
	if done.From != l.newest {
		t.Errorf("%+v, the newest write was %d", done, l.newest)
	}
	wantRestored(t, l, opts, done, 19)
}

// TestRestoredClusterIsAnother: a member of the old cluster cannot join in.
func TestRestoredClusterIsAnother(t *testing.T) {
	l := loseCluster(t)
	seen := map[uint64]bool{}
	for range 3 {
		opts := l.opts
		opts.Dir = filepath.Join(t.TempDir(), "etcd")
		done := must[store.Restored](t)(store.Restore(bg(), store.RestoreFrom{Snapshot: l.snapshot}, opts))
		if seen[done.ClusterID] || done.ClusterID == 0 {
			t.Errorf("cluster id %x again", done.ClusterID)
		}
		seen[done.ClusterID] = true
	}
}

func TestRestoreTwice(t *testing.T) {
	l := loseCluster(t)
	for i := range int64(2) {
		opts := l.opts
		opts.Dir = filepath.Join(t.TempDir(), "etcd")
		done := must[store.Restored](t)(store.Restore(bg(), store.RestoreFrom{Snapshot: l.snapshot}, opts))
		if want := l.taken.Revision + (i+1)*store.RevisionBump; done.Revision != want {
			t.Errorf("%+v, want revision %d", done, want)
		}
		m, stop := storetest.Start(t, opts)
		if s := must[store.Stats](t)(m.Stats()); s.Term <= uint64(i+1)*1_000_000 {
			t.Errorf("term %d", s.Term)
		}
		snapshotTo(t, m, l.snapshot)
		stop()
	}
}

func TestRestoreRefuses(t *testing.T) {
	l := loseCluster(t)
	opts := l.opts
	opts.Dir = filepath.Join(t.TempDir(), "etcd")
	bad := filepath.Join(t.TempDir(), "bad")
	if err := os.WriteFile(bad, must[[]byte](t)(os.ReadFile(l.snapshot)), 0o600); err != nil {
		t.Fatal(err)
	}
	edit(t, bad, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
	cut := copyDir(t, filepath.Dir(l.opts.Dir))
	edit(t, dbOf(cut), func(b []byte) []byte { return b[:10_000] })
	for what, c := range map[string]struct {
		from store.RestoreFrom
		want error
	}{
		"nothing":                  {store.RestoreFrom{}, store.ErrInvalid},
		"a damaged snapshot":       {store.RestoreFrom{Snapshot: bad}, store.ErrBadSnapshot},
		"no snapshot":              {store.RestoreFrom{Snapshot: bad + "?"}, store.ErrNotFound},
		"a damaged database":       {store.RestoreFrom{Directory: filepath.Join(cut, "etcd")}, store.ErrDamaged},
		"a directory of no member": {store.RestoreFrom{Directory: t.TempDir()}, store.ErrDamaged},
	} {
		_, err := store.Restore(bg(), c.from, opts)
		wantErr(t, "Restore of "+what, err, c.want)
	}
	if left := must[[]os.DirEntry](t)(os.ReadDir(filepath.Dir(opts.Dir))); len(left) != 0 {
		t.Errorf("%v is left", left)
	}
	ctx, cancel := context.WithCancel(bg())
	cancel()
	_, err := store.Restore(ctx, store.RestoreFrom{Snapshot: l.snapshot}, opts)
	wantErr(t, "Restore", err, context.Canceled)
}

// TestReplace: one record of the database is damaged, an older one is in the
// snapshot, a newer record is only in the database.
func TestReplace(t *testing.T) {
	l := loseCluster(t)
	m, stop := storetest.Start(t, l.opts)
	must[int64](t)(fruits(m).Create(bg(), "extra", fruit{"damaged, and in no snapshot", 1}))
	stop()
	for _, key := range []string{"/piccolo/fruits/k20", "/piccolo/fruits/extra"} {
		spoilRecord(t, filepath.Join(l.opts.Dir, "member/snap/db"), key)
	}
	other := must[*store.Member](t)(store.New(l.opts))
	err := other.Run(bg())
	wantErr(t, "Run", err, store.ErrDamaged)

	done, aside, err := store.Replace(bg(), store.RestoreFrom{Directory: l.opts.Dir, Snapshot: l.snapshot}, l.opts, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(done.Replaced, done.Lost); got != "[/piccolo/fruits/k20] [/piccolo/fruits/extra]" {
		t.Errorf("replaced and lost: %s", got)
	}
	if !strings.HasPrefix(aside.Path, l.opts.Dir+".aside-0001-") || aside.Bytes < 8<<20 {
		t.Errorf("%+v", aside)
	}
	wantRestored(t, l, l.opts, done, 20)
}

// spoilRecord flips a bit in the newest value of a record in a database.
func spoilRecord(t *testing.T, db, key string) {
	t.Helper()
	edit(t, db, func(b []byte) []byte {
		for at := 0; ; {
			i := strings.Index(string(b[at:]), key)
			if i < 0 {
				return b
			}
			at += i + len(key)
			if v := strings.Index(string(b[at:min(at+40, len(b))]), "PS\x01"); v >= 0 {
				b[at+v+30] ^= 1
			}
		}
	})
}
