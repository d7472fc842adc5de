package store_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/store/storetest"
)

// canned is a Source that needs no etcd.
type canned struct {
	mu    sync.Mutex
	files map[int64][]byte // by revision
	rev   int64
	err   error
	taken int
}

func (c *canned) set(rev int64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rev, c.err = rev, err
}

func (c *canned) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.taken
}

func (c *canned) Revision(context.Context) (int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rev, nil
}

func (c *canned) Snapshot(_ context.Context, w io.Writer) (store.SnapshotInfo, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.taken++
	_, err := w.Write(c.files[c.rev])
	return store.SnapshotInfo{Revision: c.rev}, errors.Join(err, c.err)
}

// can returns a source with n states of a store, and what opens them.
func can(t *testing.T, n int) (*canned, []int64, *store.Sealer) {
	t.Helper()
	opts := storetest.Options(t)
	m, stop := storetest.Start(t, opts)
	defer stop()
	c := &canned{files: map[int64][]byte{}}
	for i := range n {
		rev, _, err := fruits(m).Put(bg(), "a", fruit{"a", i})
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		must[store.SnapshotInfo](t)(m.Snapshot(bg(), &b))
		c.files[rev], c.rev = b.Bytes(), rev
	}
	var revs []int64
	for rev := range c.files {
		revs = append(revs, rev)
	}
	slices.Sort(revs)
	return c, revs, opts.Sealer
}

func newShelf(t testing.TB, o store.ShelfOptions) *store.Shelf {
	t.Helper()
	if o.Dir == "" {
		o.Dir = filepath.Join(t.TempDir(), "snapshots")
	}
	return must[*store.Shelf](t)(store.NewShelf(o))
}

func revisions(list []store.Shelved) (revs []int64) {
	for _, one := range list {
		revs = append(revs, one.Revision)
	}
	return revs
}

func TestShelf(t *testing.T) {
	source, revs, sealer := can(t, 5)
	dir := filepath.Join(t.TempDir(), "snapshots")
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	shelf := newShelf(t, store.ShelfOptions{Dir: dir, Sealer: sealer, Keep: 3, Now: func() time.Time { return now }})
	_, err := shelf.Newest(bg())
	wantErr(t, "Newest of an empty shelf", err, store.ErrNotFound)

	for _, rev := range revs {
		source.set(rev, nil)
		now = now.Add(-time.Hour) // a clock that goes back changes nothing
		taken := must[store.Shelved](t)(shelf.Save(bg(), source))
		info := must[os.FileInfo](t)(os.Stat(taken.Path))
		if info.Mode() != 0o600 || info.Size() != taken.Bytes || taken.Revision != rev || taken.Records != 1 || !taken.Time.Equal(now) {
			t.Errorf("%+v is a file of %d bytes, mode %v", taken, info.Size(), info.Mode())
		}
	}
	list := must[[]store.Shelved](t)(shelf.List(bg()))
	if want := []int64{revs[4], revs[3], revs[2]}; !slices.Equal(revisions(list), want) {
		t.Errorf("kept %v, want %v", revisions(list), want)
	}
	for _, one := range list {
		if one.Err != nil || one.Records != 1 {
			t.Errorf("%+v", one)
		}
	}

	// What is damaged, or not what it is called, is passed over.
	edit(t, list[0].Path, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
	edit(t, list[1].Path, func([]byte) []byte { return source.files[revs[0]] })
	newest := must[store.Shelved](t)(shelf.Newest(bg()))
	if newest.Revision != revs[2] {
		t.Errorf("newest good is %v, want revision %d", newest, revs[2])
	}
	list = must[[]store.Shelved](t)(shelf.List(bg()))
	for i, want := range []error{store.ErrBadSnapshot, store.ErrBadSnapshot, nil} {
		if !errors.Is(list[i].Err, want) {
			t.Errorf("%s: %v, want %v", list[i].Path, list[i].Err, want)
		}
	}
}

func TestShelfBytes(t *testing.T) {
	source, revs, sealer := can(t, 3)
	each := int64(len(source.files[revs[0]]))
	for limit, want := range map[int64]int{1: 1, 2*each + 10: 2} {
		shelf := newShelf(t, store.ShelfOptions{Sealer: sealer, MaxBytes: limit})
		for range 4 {
			must[store.Shelved](t)(shelf.Save(bg(), source))
		}
		if list := must[[]store.Shelved](t)(shelf.List(bg())); len(list) != want {
			t.Errorf("%d snapshots of %d bytes with a limit of %d, want %d", len(list), each, limit, want)
		}
	}
}

// TestShelfFails: nothing is left under a good name, and what was there stays.
func TestShelfFails(t *testing.T) {
	source, revs, sealer := can(t, 2)
	dir := filepath.Join(t.TempDir(), "snapshots")
	shelf := newShelf(t, store.ShelfOptions{Dir: dir, Sealer: sealer, Keep: 1})
	source.set(revs[0], nil)
	must[store.Shelved](t)(shelf.Save(bg(), source))

	broken := errors.New("broken")
	source.set(revs[1], broken)
	_, err := shelf.Save(bg(), source)
	wantErr(t, "Save", err, broken)
	source.files[revs[1]][9000] ^= 1
	source.set(revs[1], nil)
	_, err = shelf.Save(bg(), source)
	wantErr(t, "Save", err, store.ErrBadSnapshot)

	// A power cut leaves an unfinished file; the next Save takes it away.
	if err := os.WriteFile(filepath.Join(dir, "unfinished-1"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	source.set(revs[0], nil)
	must[store.Shelved](t)(shelf.Save(bg(), source))
	if files := must[[]os.DirEntry](t)(os.ReadDir(dir)); len(files) != 1 {
		t.Errorf("%v", files)
	}
}

func TestShelfRun(t *testing.T) {
	source, revs, sealer := can(t, 3)
	dir := filepath.Join(t.TempDir(), "snapshots")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(bg())
		run := func() {
			shelf := newShelf(t, store.ShelfOptions{Dir: dir, Sealer: sealer})
			go func() {
				if err := shelf.Run(ctx, source); err != nil {
					t.Error(err)
				}
			}()
		}
		after := func(d time.Duration, want int, what string) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			if got := source.count(); got != want {
				t.Fatalf("%s: %d snapshots were begun, want %d", what, got, want)
			}
		}
		source.set(revs[0], nil)
		run()
		after(59*time.Second, 0, "just started")
		after(2*time.Second, 1, "there was none")
		after(10*time.Hour, 1, "nothing was written")
		source.set(revs[1], nil)
		after(time.Hour, 2, "something was written")
		source.set(revs[2], errors.New("broken"))
		after(time.Hour, 3, "broken")
		after(5*time.Minute, 4, "tried again")
		source.set(revs[2], nil)
		after(5*time.Minute, 5, "tried again")
		after(time.Hour, 5, "nothing was written")

		// A board that is started again and again still has its snapshot each hour.
		for i, want := range []int{6, 6, 6, 7} {
			source.set(revs[i%2], nil)
			cancel()
			ctx, cancel = context.WithCancel(bg())
			run()
			after(20*time.Minute, want, "started again")
		}
		cancel()
		synctest.Wait()
	})
}
