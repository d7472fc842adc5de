package store_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/store/storetest"
)

func TestLeaseExpires(t *testing.T) {
	m := storetest.New(t)
	c := fruits(m)
	lease := must[store.Lease](t)(m.Grant(bg(), time.Second))
	if lease.TTL != time.Second || lease.ID == store.NoLease {
		t.Errorf("%+v", lease)
	}
	must[int64](t)(c.Create(bg(), "a", fruit{"a", 1}, store.WithLease(lease.ID)))
	must[int64](t)(c.Create(bg(), "b", fruit{"b", 1}, store.WithLease(lease.ID)))
	must[int64](t)(c.Create(bg(), "c", fruit{"c", 1}))
	// A change keeps the lease, unless it says otherwise.
	must[int64](t)(c.Update(bg(), "a", store.AnyRevision, fruit{"a", 2}))
	if r := must[store.Record[fruit]](t)(c.Get(bg(), "a")); r.Lease != lease.ID {
		t.Errorf("lease %x after Update, want %x", r.Lease, lease.ID)
	}
	if _, written, err := c.Put(bg(), "b", fruit{"b", 1}, store.WithLease(store.NoLease)); err != nil || !written {
		t.Fatal(written, err)
	}
	gone := make(chan []string, 1)
	stop := follow(t, c, func(b store.Batch[fruit]) {
		if len(b.Deletes) > 0 {
			gone <- b.Deletes
		}
	})
	defer stop()
	if keys := <-gone; len(keys) != 1 || keys[0] != "a" {
		t.Errorf("deleted: %v", keys)
	}
	_, err := m.KeepAlive(bg(), lease.ID)
	wantErr(t, "KeepAlive of an expired lease", err, store.ErrNotFound)
	wantErr(t, "Revoke of an expired lease", m.Revoke(bg(), lease.ID), store.ErrNotFound)
	_, err = c.Create(bg(), "d", fruit{}, store.WithLease(lease.ID))
	wantErr(t, "Create with an expired lease", err, store.ErrNotFound)
	_, err = m.TimeLeft(bg(), lease.ID)
	wantErr(t, "TimeLeft of an expired lease", err, store.ErrNotFound)
}

func TestLeaseKeptAlive(t *testing.T) {
	m := storetest.New(t)
	c := fruits(m)
	lease := must[store.Lease](t)(m.Grant(bg(), time.Minute))
	must[int64](t)(c.Create(bg(), "a", fruit{"a", 1}, store.WithLease(lease.ID)))
	before := must[store.Stats](t)(m.Stats())
	for range 100 {
		if ttl := must[time.Duration](t)(m.KeepAlive(bg(), lease.ID)); ttl != time.Minute {
			t.Fatal(ttl)
		}
	}
	if left := must[time.Duration](t)(m.TimeLeft(bg(), lease.ID)); left < 50*time.Second {
		t.Errorf("%v left", left)
	}
	// No raft entry, no fsync.
	after := must[store.Stats](t)(m.Stats())
	if after.Revision != before.Revision || after.WALFsync.Count != before.WALFsync.Count {
		t.Errorf("keepalives have written: %+v, then %+v", before, after)
	}
	if err := m.Revoke(bg(), lease.ID); err != nil {
		t.Fatal(err)
	}
	_, err := c.Get(bg(), "a")
	wantErr(t, "Get after Revoke", err, store.ErrNotFound)
	_, err = m.Grant(bg(), time.Millisecond)
	wantErr(t, "short lease", err, store.ErrInvalid)
}

// follow runs c.Follow until stop is called or the test ends.
func follow(t testing.TB, c *store.Collection[fruit], fn func(store.Batch[fruit])) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(bg())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := c.Follow(ctx, func(b store.Batch[fruit]) error { fn(b); return nil }); err != nil {
			t.Errorf("Follow: %v", err)
		}
	})
	return func() { cancel(); wg.Wait() }
}
