package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/store/storetest"
)

func wantErr(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

func revision(t testing.TB, m *store.Member) int64 {
	t.Helper()
	return must[store.Stats](t)(m.Stats()).Revision
}

func TestCollection(t *testing.T) {
	m := storetest.New(t)
	c := fruits(m)
	_, err := c.Get(bg(), "apple")
	wantErr(t, "Get of nothing", err, store.ErrNotFound)
	_, err = c.Update(bg(), "apple", 1, fruit{})
	wantErr(t, "Update of nothing", err, store.ErrNotFound)
	wantErr(t, "Delete of nothing", c.Delete(bg(), "apple", store.AnyRevision), store.ErrNotFound)

	apple := fruit{"apple", 1}
	rev := must[int64](t)(c.Create(bg(), "apple", apple))
	got := must[store.Record[fruit]](t)(c.Get(bg(), "apple"))
	if diff := cmp.Diff(store.Record[fruit]{Key: "apple", Value: apple, Revision: rev}, got); diff != "" {
		t.Error(diff)
	}
	_, err = c.Create(bg(), "apple", apple)
	wantErr(t, "Create twice", err, store.ErrExists)

	rev2 := must[int64](t)(c.Update(bg(), "apple", rev, fruit{"apple", 2}))
	_, err = c.Update(bg(), "apple", rev, fruit{"apple", 3})
	wantErr(t, "Update of an old revision", err, store.ErrConflict)
	if !strings.Contains(err.Error(), "/piccolo/fruits/apple") || !strings.Contains(err.Error(), fmt.Sprint(rev2)) {
		t.Errorf("%q tells neither record nor revision", err)
	}
	must[int64](t)(c.Create(bg(), "pear/green", fruit{"pear", 9}))
	must[int64](t)(store.NewCollection[fruit](m, "fruits2", "fruit").Create(bg(), "other", fruit{}))

	list, listRev, err := c.List(bg())
	if err != nil || len(list) != 2 || list[0].Value.Count != 2 || list[1].Key != "pear/green" || listRev < list[1].Revision {
		t.Fatalf("List = %v at %d, %v", list, listRev, err)
	}
	wantErr(t, "Delete of an old revision", c.Delete(bg(), "apple", rev), store.ErrConflict)
	if err := c.Delete(bg(), "apple", rev2); err != nil {
		t.Fatal(err)
	}
	if err := c.Delete(bg(), "pear/green", store.AnyRevision); err != nil {
		t.Fatal(err)
	}
}

func TestNothingChangedIsNotWritten(t *testing.T) {
	m := storetest.New(t)
	c := fruits(m)
	rev, written, err := c.Put(bg(), "apple", fruit{"apple", 1})
	if err != nil || !written {
		t.Fatal(written, err)
	}
	same, written, err := c.Put(bg(), "apple", fruit{"apple", 1})
	if err != nil || written || same != rev {
		t.Errorf("Put of the same: revision %d, written %v, %v", same, written, err)
	}
	_, written, err = c.Modify(bg(), "apple", func(f *fruit) error { f.Count += 0; return nil })
	if err != nil || written {
		t.Errorf("Modify to the same: written %v, %v", written, err)
	}
	if now := revision(t, m); now != rev {
		t.Errorf("revision went from %d to %d", rev, now)
	}
	stop := errors.New("stop")
	_, _, err = c.Modify(bg(), "apple", func(*fruit) error { return stop })
	wantErr(t, "Modify that refuses", err, stop)
	_, _, err = c.Modify(bg(), "none", func(*fruit) error { return nil })
	wantErr(t, "Modify of nothing", err, store.ErrNotFound)
}

func TestModifyLosesNothing(t *testing.T) {
	c := fruits(storetest.New(t))
	must[int64](t)(c.Create(bg(), "apple", fruit{}))
	const writers, times = 3, 20
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for done := 0; done < times; {
				_, _, err := c.Modify(bg(), "apple", func(f *fruit) error { f.Count++; return nil })
				if err == nil {
					done++
				} else if !errors.Is(err, store.ErrConflict) {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if got := must[store.Record[fruit]](t)(c.Get(bg(), "apple")); got.Value.Count != writers*times {
		t.Errorf("%d of %d increments are there", got.Value.Count, writers*times)
	}
}

func TestCommit(t *testing.T) {
	m := storetest.New(t)
	c, names := fruits(m), store.NewCollection[string](m, "names", "name")
	a := must[int64](t)(c.Create(bg(), "a", fruit{"a", 1}))
	b := must[int64](t)(c.Create(bg(), "b", fruit{"b", 1}))

	_, err := m.Commit(bg(), names.OpCreate("n", "x"), c.OpDelete("a", a), c.OpUpdate("b", b+100, fruit{}))
	wantErr(t, "one wrong revision", err, store.ErrConflict)
	_, err = names.Get(bg(), "n")
	wantErr(t, "nothing was done", err, store.ErrNotFound)
	_, err = m.Commit(bg(), names.OpCreate("n", "x"), c.OpCheck("a", 0))
	wantErr(t, "check of absence", err, store.ErrExists)
	_, err = m.Commit(bg(), names.OpCreate("n", "x"), c.OpCheck("c", store.AnyRevision))
	wantErr(t, "check of presence", err, store.ErrNotFound)

	rev := must[int64](t)(m.Commit(bg(), c.OpCheck("c", 0), names.OpCreate("n", "x"), c.OpDelete("a", a), c.OpUpdate("b", store.AnyRevision, fruit{"b", 2})))
	if r := must[store.Record[string]](t)(names.Get(bg(), "n")); r.Revision != rev || r.Value != "x" {
		t.Errorf("%+v", r)
	}
	list, _, err := c.List(bg())
	if err != nil || len(list) != 1 || list[0].Value.Count != 2 || list[0].Revision != rev {
		t.Errorf("%v, %v", list, err)
	}
}

func TestRefusedBeforeSending(t *testing.T) {
	m := storetest.New(t)
	c, texts := fruits(m), store.NewCollection[string](m, "texts", "text")
	for _, key := range []string{"", "/", "a/", "/a", "a//b", ".", "..", "a/../b", "a b", "ä", "a\x00", "a\n", strings.Repeat("k", 257)} {
		_, err := c.Create(bg(), key, fruit{})
		wantErr(t, fmt.Sprintf("Create(%.20q)", key), err, store.ErrInvalid)
		_, err = c.Get(bg(), key)
		wantErr(t, fmt.Sprintf("Get(%.20q)", key), err, store.ErrInvalid)
		wantErr(t, fmt.Sprintf("Delete(%.20q)", key), c.Delete(bg(), key, store.AnyRevision), store.ErrInvalid)
	}
	_, err := texts.Create(bg(), "a", strings.Repeat("x", store.MaxValueBytes))
	wantErr(t, "too large a value", err, store.ErrTooLarge)
	must[int64](t)(texts.Create(bg(), "a", strings.Repeat("x", store.MaxValueBytes-2)))
	var ops []store.Op
	for i := range 5 {
		ops = append(ops, texts.OpCreate(fmt.Sprint(i), strings.Repeat("x", store.MaxValueBytes-2)))
	}
	must[int64](t)(m.Commit(bg(), ops[:4]...))
	_, err = m.Commit(bg(), ops...)
	wantErr(t, "too large a transaction", err, store.ErrTooLarge)
	_, err = m.Commit(bg())
	wantErr(t, "empty transaction", err, store.ErrInvalid)
	_, err = m.Commit(bg(), make([]store.Op, store.MaxTxnOps+1)...)
	wantErr(t, "long transaction", err, store.ErrInvalid)
	_, err = m.Commit(bg(), c.OpCreate("x", fruit{}), c.OpDelete("x", store.AnyRevision))
	wantErr(t, "same record twice", err, store.ErrInvalid)
	_, err = c.Update(bg(), "x", 0, fruit{})
	wantErr(t, "Update of revision 0", err, store.ErrInvalid)
	_, err = store.NewCollection[func()](m, "f", "f").Create(bg(), "x", func() {})
	wantErr(t, "no JSON", err, store.ErrInvalid)
}

func TestFull(t *testing.T) {
	opts := storetest.Options(t)
	opts.MaxBytes = 1 << 20
	m, _ := storetest.Start(t, opts)
	c := store.NewCollection[string](m, "texts", "text")
	var err error
	eventually(t, "store is full", func() bool {
		_, _, err = c.Put(bg(), "a", fmt.Sprint(revision(t, m), strings.Repeat("x", 100<<10)))
		return err != nil
	})
	wantErr(t, "Put", err, store.ErrFull)
	if err := c.Delete(bg(), "a", store.AnyRevision); err != nil {
		t.Errorf("a delete is refused: %v", err)
	}
}

func TestOtherKindAndOtherPlace(t *testing.T) {
	m := storetest.New(t)
	c := fruits(m)
	must[int64](t)(c.Create(bg(), "a", fruit{"a", 1}))
	must[int64](t)(store.NewCollection[string](m, "fruits", "text").Create(bg(), "b", "no fruit"))
	_, err := c.Get(bg(), "b")
	wantErr(t, "Get of another kind", err, store.ErrUnreadable)
	list, _, err := c.List(bg())
	wantErr(t, "List", err, store.ErrUnreadable)
	if len(list) != 1 || list[0].Key != "a" || !strings.Contains(err.Error(), "/piccolo/fruits/b") {
		t.Errorf("List = %v, %v", list, err)
	}
	// Put heals what cannot be read, Modify does not touch it.
	_, _, err = c.Modify(bg(), "b", func(*fruit) error { return nil })
	wantErr(t, "Modify", err, store.ErrUnreadable)
	if _, written, err := c.Put(bg(), "b", fruit{"b", 2}); err != nil || !written {
		t.Errorf("Put: %v, %v", written, err)
	}
}

func TestHistoryIsCompacted(t *testing.T) {
	m := storetest.New(t)
	c := fruits(m)
	for i := range 1100 {
		if _, _, err := c.Put(bg(), "a", fruit{"a", i + 1}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "history is short", func() bool {
		return must[store.Stats](t)(m.Stats()).History < 700
	})
}

func TestClosed(t *testing.T) {
	opts := storetest.Options(t)
	m, stop := storetest.Start(t, opts)
	c := fruits(m)
	followed := make(chan error, 1)
	listed := make(chan struct{}, 1)
	go func() {
		followed <- c.Follow(bg(), func(store.Batch[fruit]) error { listed <- struct{}{}; return nil })
	}()
	<-listed
	stop()
	_, err := c.Get(bg(), "a")
	wantErr(t, "Get", err, store.ErrClosed)
	_, err = m.Stats()
	wantErr(t, "Stats", err, store.ErrClosed)
	wantErr(t, "Follow", <-followed, store.ErrClosed)
	wantErr(t, "Run again", m.Run(bg()), store.ErrInvalid)

	m, _ = storetest.Start(t, opts)
	ctx, cancel := context.WithCancel(bg())
	cancel()
	_, err = fruits(m).Get(ctx, "a")
	wantErr(t, "Get with an ended context", err, context.Canceled)
	_, err = fruits(m).Get(bg(), "a")
	wantErr(t, "Get after a restart", err, store.ErrNotFound)
}
