package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	followFirstPause = 50 * time.Millisecond
	followMaxPause   = 2 * time.Second
)

// Batch is what has changed in a collection at once. A record is in it once, as
// it is at Revision.
type Batch[T any] struct {
	// Reset: Puts (and Unreadable) are all there is; forget what was before.
	Reset bool
	// Puts are new or changed records; of a Reset, in the order of their keys.
	Puts []Record[T]
	// Deletes are the keys of removed records.
	Deletes []string
	// Unreadable are records that are there and cannot be read. One damaged
	// record does not hide the others.
	Unreadable []Unreadable
	// Revision of the store that this brings the follower to. It only grows.
	Revision int64
}

// Unreadable is a record that cannot be read, and why (wraps ErrUnreadable).
type Unreadable struct {
	Key string
	Err error
}

// Follow calls fn with everything in the collection (Reset), then with every
// change, in order, none missed. Where history has been compacted meanwhile, and
// only there, it begins again with a Reset. fn runs in the caller's goroutine and
// should be quick: changes wait in memory meanwhile. A member that cannot reach the
// others shows what it knew last, and catches up when it can. Follow returns fn's
// error, nil when ctx ends, and ErrClosed when the member stops; over everything
// else it tries again with pauses up to two seconds.
func (c *Collection[T]) Follow(ctx context.Context, fn func(Batch[T]) error) error {
	f := follower[T]{c: c, fn: fn, watch: c.watch}
	return f.run(ctx)
}

// watch delivers the changes of the collection from revision rev on.
func (c *Collection[T]) watch(ctx context.Context, rev int64) clientv3.WatchChan {
	return c.m.client.Watch(ctx, c.prefix, clientv3.WithPrefix(), clientv3.WithRev(rev))
}

type follower[T any] struct {
	c     *Collection[T]
	fn    func(Batch[T]) error
	watch func(context.Context, int64) clientv3.WatchChan
	next  int64 // the first revision that fn has not seen; 0: list first
	moved bool  // fn was called since the last pause
}

// fnError marks an error of the caller's function.
type fnError struct{ error }

func (f *follower[T]) run(parent context.Context) error {
	ctx, cancel := context.WithCancel(parent)
	defer cancel()
	defer context.AfterFunc(f.c.m.life, cancel)()

	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.MaxInterval = followFirstPause, followMaxPause
	for {
		err := f.session(ctx)
		var own fnError
		switch {
		case errors.As(err, &own):
			return own.error
		case parent.Err() != nil:
			return nil
		case f.c.m.life.Err() != nil:
			return fmt.Errorf("follow %s: %w", f.c.prefix, ErrClosed)
		}
		if f.moved {
			pauses.Reset()
		}
		f.moved = false
		f.c.m.opts.Logger.Warn("following the store was interrupted; trying again", "prefix", f.c.prefix, "err", err)
		pause := time.NewTimer(pauses.NextBackOff())
		select {
		case <-ctx.Done():
			pause.Stop()
		case <-pause.C:
		}
	}
}

// session lists if it must, and watches until the watch breaks.
func (f *follower[T]) session(ctx context.Context) error {
	for {
		if f.next == 0 {
			if err := f.list(ctx); err != nil {
				return err
			}
		}
		err := f.changes(ctx)
		if !errors.Is(err, rpctypes.ErrCompacted) {
			return err
		}
		f.next = 0
	}
}

func (f *follower[T]) list(ctx context.Context) error {
	records, unreadable, rev, err := f.c.list(ctx, false)
	if errors.Is(err, ErrNoQuorum) {
		// What was true when this member last heard the others is better than
		// nothing, and the watch goes on from there. But a new member that has heard
		// of nothing yet must not say that there is nothing.
		if r, u, known, staleErr := f.c.list(ctx, true); staleErr == nil && known > 1 {
			records, unreadable, rev, err = r, u, known, nil
		}
	}
	if err != nil {
		return err
	}
	return f.deliver(Batch[T]{Reset: true, Puts: records, Unreadable: unreadable, Revision: rev})
}

func (f *follower[T]) changes(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for resp := range f.watch(ctx, f.next) {
		if err := resp.Err(); err != nil {
			return err
		}
		if len(resp.Events) == 0 {
			continue
		}
		if err := f.deliver(f.batch(resp.Events)); err != nil {
			return err
		}
	}
	return errors.New("the watch has ended")
}

func (f *follower[T]) deliver(b Batch[T]) error {
	if err := f.fn(b); err != nil {
		return fnError{err}
	}
	f.next, f.moved = b.Revision+1, true
	return nil
}

// batch folds events, which come in the order of their revisions and never with
// half a transaction, into the newest of each key.
func (f *follower[T]) batch(events []*clientv3.Event) Batch[T] {
	newest := make(map[string]int, len(events))
	for i, e := range events {
		newest[string(e.Kv.Key)] = i
	}
	b := Batch[T]{Revision: events[len(events)-1].Kv.ModRevision}
	for i, e := range events {
		full := string(e.Kv.Key)
		if newest[full] != i {
			continue
		}
		key := strings.TrimPrefix(full, f.c.prefix)
		if e.Type == clientv3.EventTypeDelete {
			b.Deletes = append(b.Deletes, key)
			continue
		}
		value, _, err := decodeRecord[T](f.c.m.opts.Sealer, full, f.c.kind, e.Kv.Value)
		if err != nil {
			b.Unreadable = append(b.Unreadable, Unreadable{Key: key, Err: err})
			continue
		}
		b.Puts = append(b.Puts, Record[T]{Key: key, Value: value, Revision: e.Kv.ModRevision, Lease: LeaseID(e.Kv.Lease)})
	}
	return b
}
