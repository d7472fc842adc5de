package store_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/store/storetest"
)

// reign is one call of Lead's work: the term, and the context that ends with it.
type reign struct {
	term store.Term
	ctx  context.Context
}

// lead runs m.Lead until the test ends, with a work that waits for its context.
func lead(t testing.TB, m *store.Member) <-chan reign {
	t.Helper()
	reigns := make(chan reign, 100)
	ctx, cancel := context.WithCancel(bg())
	var wg sync.WaitGroup
	wg.Go(func() {
		err := m.Lead(ctx, func(ctx context.Context, term store.Term) error {
			reigns <- reign{term, ctx}
			<-ctx.Done()
			return ctx.Err()
		})
		if err != nil && !errors.Is(err, store.ErrClosed) {
			t.Errorf("Lead: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return reigns
}

func TestLeadAlone(t *testing.T) {
	opts := storetest.Options(t)
	m, stop := storetest.Start(t, opts)
	c := fruits(m)
	before := revision(t, m)
	reigns := lead(t, m)
	first := <-reigns
	if l := m.Leader(); !l.Self || l.Name != opts.Name || l.Term != first.term.Number {
		t.Errorf("leader %+v in term %+v", l, first.term)
	}
	if now := revision(t, m); now != before+1 {
		t.Errorf("taking office has cost %d writes", now-before)
	}
	must[int64](t)(c.Create(bg(), "a", fruit{"a", 1}, store.WithTerm(first.term)))
	must[int64](t)(m.Commit(bg(), first.term.Fence(), c.OpCreate("b", fruit{"b", 1})))
	must[int64](t)(m.Commit(bg(), first.term.Fence()))
	if err := c.Delete(bg(), "b", store.AnyRevision, store.WithTerm(first.term)); err != nil {
		t.Error(err)
	}
	_, err := c.Create(bg(), "a", fruit{}, store.WithTerm(first.term))
	wantErr(t, "a condition that does not hold within the term", err, store.ErrExists)
	wantErr(t, "a second Lead", m.Lead(bg(), nil), store.ErrInvalid)
	stop()
	<-first.ctx.Done()

	m, _ = storetest.Start(t, opts)
	c, before = fruits(m), revision(t, m)
	second := <-lead(t, m)
	if now := revision(t, m); now != before+1 || second.term.Number <= first.term.Number {
		t.Errorf("after a restart: %d writes, term %d after %d", now-before, second.term.Number, first.term.Number)
	}
	_, err = c.Update(bg(), "a", store.AnyRevision, fruit{"a", 2}, store.WithTerm(first.term))
	wantErr(t, "Update in an old term", err, store.ErrDeposed)
	_, _, err = c.Put(bg(), "a", fruit{"a", 2}, store.WithTerm(first.term))
	wantErr(t, "Put in an old term", err, store.ErrDeposed)
	wantErr(t, "Delete in an old term", c.Delete(bg(), "a", store.AnyRevision, store.WithTerm(first.term)), store.ErrDeposed)
	_, err = m.Commit(bg(), first.term.Fence())
	wantErr(t, "an old fence alone", err, store.ErrDeposed)
	_, err = m.Commit(bg(), second.term.Fence(), c.OpUpdate("a", store.AnyRevision, fruit{"a", 2}, store.WithTerm(first.term)))
	wantErr(t, "two terms at once", err, store.ErrInvalid)
	_, err = c.Create(bg(), "c", fruit{}, store.WithTerm(store.Term{}))
	wantErr(t, "no term", err, store.ErrInvalid)
	if r := must[store.Record[fruit]](t)(c.Get(bg(), "a")); r.Value.Count != 1 {
		t.Errorf("an old term has written %+v", r)
	}
}

func TestLeadEnds(t *testing.T) {
	m := storetest.New(t)
	enough := errors.New("enough")
	wantErr(t, "Lead whose work fails", m.Lead(bg(), func(context.Context, store.Term) error { return enough }), enough)
	ctx, cancel := context.WithCancel(bg())
	if err := m.Lead(ctx, func(ctx context.Context, _ store.Term) error { cancel(); <-ctx.Done(); return ctx.Err() }); err != nil {
		t.Errorf("Lead whose context ends: %v", err)
	}
	wantErr(t, "FollowLeader whose function fails", m.FollowLeader(bg(), func(store.Leader) error { return enough }), enough)
}

// TestDeposed: a leader that is cut off loses its office by itself, another takes
// over in a higher term, and what the first one still writes in the old one is refused.
func TestDeposed(t *testing.T) {
	g := storetest.Cluster(t, 3)
	all := make([]<-chan reign, 3)
	for i := range all {
		all[i] = lead(t, g.Member(i))
	}
	old := g.Leader()
	first := <-all[old]
	must[int64](t)(fruits(g.Member(old)).Create(bg(), "a", fruit{"a", 1}, store.WithTerm(first.term)))

	g.Cut(old)
	<-first.ctx.Done()
	wantErr(t, "the end of a term", context.Cause(first.ctx), store.ErrDeposed)
	next := g.Leader()
	second := <-all[next]
	if second.term.Number <= first.term.Number {
		t.Errorf("term %d after %d", second.term.Number, first.term.Number)
	}
	must[int64](t)(fruits(g.Member(next)).Update(bg(), "a", store.AnyRevision, fruit{"a", 2}))

	g.Heal(old)
	eventually(t, "the old leader knows the new one", func() bool {
		return g.Member(old).Leader() == store.Leader{Name: g.Name(next), Term: second.term.Number}
	})
	_, err := fruits(g.Member(old)).Update(bg(), "a", store.AnyRevision, fruit{"a", 1}, store.WithTerm(first.term))
	wantErr(t, "a late write", err, store.ErrDeposed)
	if r := must[store.Record[fruit]](t)(fruits(g.Member(old)).Get(bg(), "a")); r.Value.Count != 2 {
		t.Errorf("%+v", r)
	}
	terms := map[uint64]int{first.term.Number: old, second.term.Number: next}
	for i, reigns := range all {
		for len(reigns) > 0 {
			r := <-reigns
			if _, taken := terms[r.term.Number]; taken {
				t.Errorf("term %d has a second leader, %s", r.term.Number, g.Name(i))
			}
			terms[r.term.Number] = i
		}
	}
}
