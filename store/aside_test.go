package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/store/storetest"
)

func TestSetAside(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "etcd")
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	_, err := store.SetAside(dir, now)
	wantErr(t, "SetAside of nothing", err, store.ErrNotFound)
	var paths []string
	for i := range 4 {
		if err := os.MkdirAll(filepath.Join(dir, "member"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "member", "db"), make([]byte, 100_000), 0o600); err != nil {
			t.Fatal(err)
		}
		aside := must[store.Aside](t)(store.SetAside(dir, now.Add(-time.Duration(i)*time.Hour)))
		paths = append(paths, aside.Path)
		if aside.Bytes < 100_000 || aside.Bytes > 200_000 {
			t.Errorf("%+v", aside)
		}
		if i >= 2 && (len(aside.Removed) != 1 || aside.Removed[0] != paths[i-2] || aside.Freed < 100_000) {
			t.Errorf("%+v, want %s to be removed", aside, paths[i-2])
		}
	}
	left := must[[]os.DirEntry](t)(os.ReadDir(parent))
	if len(left) != 2 || left[0].Name() != "etcd.aside-0003-20260102T010405Z" || left[1].Name() != "etcd.aside-0004-20260102T000405Z" {
		t.Errorf("%v", left)
	}
}

func TestNotWhileInUse(t *testing.T) {
	l := loseCluster(t)
	_, stop := storetest.Start(t, l.opts)
	_, err := store.SetAside(l.opts.Dir, time.Now())
	wantErr(t, "SetAside", err, store.ErrInUse)
	_, _, err = store.Replace(bg(), store.RestoreFrom{Snapshot: l.snapshot}, l.opts, time.Now())
	wantErr(t, "Replace", err, store.ErrInUse)
	stop()
	if left := must[[]os.DirEntry](t)(os.ReadDir(filepath.Dir(l.opts.Dir))); len(left) != 2 {
		t.Errorf("%v", left) // the directory and the key file
	}
}

func TestFindRemedy(t *testing.T) {
	l := loseCluster(t)
	shelfDir := filepath.Join(t.TempDir(), "snapshots")
	shelf := newShelf(t, store.ShelfOptions{Dir: shelfDir, Sealer: l.opts.Sealer})
	find := func(others bool) store.Remedy {
		t.Helper()
		return must[store.Remedy](t)(store.FindRemedy(bg(), l.opts.Dir, others, shelf))
	}
	db := filepath.Join(l.opts.Dir, "member/snap/db")
	spoilRecord(t, db, "/piccolo/fruits/k20")
	if r := find(true); r.Way != store.WayRejoin {
		t.Errorf("with others: %+v", r)
	}
	r := find(false)
	if r.Way != store.WayOwn || r.Revision != l.newest || r.Newest != l.newest || len(r.Unreadable) != 1 || !strings.Contains(r.Lost, "/piccolo/fruits/k20") {
		t.Errorf("with a database: %+v", r)
	}

	m, stop := storetest.Start(t, func() store.Options { // something to take a snapshot of
		o := l.opts
		o.Dir = filepath.Join(t.TempDir(), "etcd")
		must[store.Restored](t)(store.Restore(bg(), store.RestoreFrom{Snapshot: l.snapshot}, o))
		return o
	}())
	must[store.Shelved](t)(shelf.Save(bg(), m))
	stop()
	before := fingerprint(t, l.opts.Dir)
	edit(t, db, func(b []byte) []byte { return b[:10_000] })
	if r = find(false); r.Way != store.WaySnapshot || r.Revision != l.taken.Revision+store.RevisionBump || r.Taken.IsZero() || !strings.Contains(r.Lost, "everything after revision") {
		t.Errorf("with a snapshot: %+v", r)
	}
	if _, _, err := store.Replace(bg(), r.From, l.opts, time.Now()); err != nil {
		t.Error(err)
	}
	m, stop = storetest.Start(t, l.opts)
	if list, _, err := fruits(m).List(bg()); err != nil || len(list) != 40 {
		t.Errorf("%d records, %v", len(list), err)
	}
	stop()

	if fingerprint(t, l.opts.Dir) == before {
		t.Error("fingerprint is blind")
	}
	if err := os.Truncate(db, 5000); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(shelfDir); err != nil {
		t.Fatal(err)
	}
	if r = find(false); r.Way != store.WayNone || !strings.Contains(r.Lost, "everything") {
		t.Errorf("with nothing: %+v", r)
	}
	_, err := store.Restore(bg(), r.From, l.opts)
	if !errors.Is(err, store.ErrExists) && !errors.Is(err, store.ErrInvalid) {
		t.Error(err)
	}
}
