package store_test

import (
	"errors"
	"fmt"
	"testing"

	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/store/storetest"
)

func TestFollow(t *testing.T) {
	m := storetest.New(t)
	c := fruits(m)
	must[int64](t)(c.Create(bg(), "a", fruit{"a", 1}))
	batches := make(chan store.Batch[fruit], 10)
	stop := follow(t, c, func(b store.Batch[fruit]) { batches <- b })
	defer stop()
	first := <-batches
	if !first.Reset || len(first.Puts) != 1 || first.Puts[0].Value.Count != 1 {
		t.Fatalf("first: %+v", first)
	}
	rev := must[int64](t)(m.Commit(bg(), c.OpDelete("a", store.AnyRevision), c.OpCreate("b", fruit{"b", 1}), c.OpCreate("c", fruit{"c", 1})))
	next := <-batches
	if next.Reset || next.Revision != rev || len(next.Puts) != 2 || len(next.Deletes) != 1 || next.Deletes[0] != "a" {
		t.Fatalf("a transaction comes as %+v", next)
	}
	must[int64](t)(store.NewCollection[string](m, "fruits", "text").Create(bg(), "x", "no fruit"))
	if b := <-batches; len(b.Unreadable) != 1 || b.Unreadable[0].Key != "x" || !errors.Is(b.Unreadable[0].Err, store.ErrUnreadable) {
		t.Fatalf("an unreadable record comes as %+v", b)
	}
}

func TestFollowEndsWithItsFunction(t *testing.T) {
	c := fruits(storetest.New(t))
	enough := errors.New("enough")
	wantErr(t, "Follow", c.Follow(bg(), func(store.Batch[fruit]) error { return enough }), enough)
}

func TestFollowersSeeOneOrder(t *testing.T) {
	m := storetest.New(t)
	c := fruits(m)
	const writes = 100
	seen := make([]chan string, 3)
	for i := range seen {
		seen[i] = make(chan string, 1)
		started := make(chan struct{})
		order := ""
		stop := follow(t, c, func(b store.Batch[fruit]) {
			if b.Reset {
				close(started)
			}
			for _, r := range b.Puts {
				order += fmt.Sprintln(r.Key, r.Revision)
				if r.Value.Count == writes {
					seen[i] <- order
				}
			}
		})
		defer stop()
		<-started
	}
	for i := range writes {
		must[int64](t)(c.Create(bg(), fmt.Sprint("k", i), fruit{"", i + 1}))
	}
	want := <-seen[0]
	for _, s := range seen[1:] {
		if got := <-s; got != want {
			t.Errorf("another order:\n%s\n%s", got, want)
		}
	}
}
