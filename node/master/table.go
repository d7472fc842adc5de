package master

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"sync"

	"piccolo.io/piccolo/store"
)

// table mirrors one collection in memory, so that reads cost nothing and
// every change is seen once. Its rows are never modified in place.
type table[T any] struct {
	collection *store.Collection[T]
	// changed is called after each change, outside the lock, in the order of
	// the store: old or new is nil for a row that came or went.
	changed func(key string, old, new *T)
	// damaged is told of a record that is there and cannot be read. Its row
	// stays as it was: a damaged record is not a removed one.
	damaged func(key string, err error)

	mu       sync.RWMutex
	rows     map[string]store.Record[T]
	revision int64
	advanced chan struct{} // closed and replaced when revision rises
	listed   chan struct{} // closed after the first full list
}

// newTable mirrors the prefix; kind marks its values on disk.
func newTable[T any](m *Master, prefix, kind string, changed func(key string, old, new *T)) *table[T] {
	return &table[T]{
		collection: store.NewCollection[T](m.o.Store, prefix, kind), changed: changed, rows: map[string]store.Record[T]{},
		damaged: func(key string, err error) {
			m.o.Logger.Error("a record cannot be read; what was known of it stays", "record", prefix+"/"+key, "error", err)
		},
		advanced: make(chan struct{}), listed: make(chan struct{}),
	}
}

// filled is closed after the first full list.
func (t *table[T]) filled() <-chan struct{} { return t.listed }

// run follows the collection until ctx ends.
func (t *table[T]) run(ctx context.Context) error { return t.collection.Follow(ctx, t.apply) }

func (t *table[T]) apply(b store.Batch[T]) error {
	type change struct {
		key      string
		old, new *T
	}
	var changes []change
	t.mu.Lock()
	before := t.rows
	t.rows = maps.Clone(t.rows)
	if b.Reset {
		t.rows = map[string]store.Record[T]{}
	}
	for _, u := range b.Unreadable {
		if o, ok := before[u.Key]; ok {
			t.rows[u.Key] = o
		}
	}
	for _, r := range b.Puts {
		t.rows[r.Key] = r
		c := change{key: r.Key, new: &r.Value}
		if o, ok := before[r.Key]; ok {
			if o.Revision == r.Revision {
				continue
			}
			c.old = &o.Value
		}
		changes = append(changes, c)
	}
	for _, key := range b.Deletes {
		delete(t.rows, key)
	}
	for key, o := range before {
		if _, ok := t.rows[key]; !ok {
			changes = append(changes, change{key: key, old: &o.Value})
		}
	}
	t.revision = max(t.revision, b.Revision)
	close(t.advanced)
	t.advanced = make(chan struct{})
	if b.Reset {
		select {
		case <-t.listed:
		default:
			close(t.listed)
		}
	}
	t.mu.Unlock()
	for _, u := range b.Unreadable {
		t.damaged(u.Key, u.Err)
	}
	for _, c := range changes {
		t.changed(c.key, c.old, c.new)
	}
	return nil
}

func (t *table[T]) get(key string) (store.Record[T], bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	r, ok := t.rows[key]
	return r, ok
}

// all returns the rows in the order of their keys.
func (t *table[T]) all() []store.Record[T] {
	t.mu.RLock()
	defer t.mu.RUnlock()
	out := make([]store.Record[T], 0, len(t.rows))
	for _, key := range slices.Sorted(maps.Keys(t.rows)) {
		out = append(out, t.rows[key])
	}
	return out
}

// wait returns when the mirror has seen the revision, so that whoever wrote
// something can read it back.
func (t *table[T]) wait(ctx context.Context, revision int64) error {
	for {
		t.mu.RLock()
		seen, advanced := t.revision >= revision, t.advanced
		t.mu.RUnlock()
		if seen {
			return nil
		}
		select {
		case <-advanced:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// putTries bounds the attempts to write a row that somebody else writes too.
const putTries = 3

// putOfNode writes what the table keeps of a node, unless it is there already,
// and only while the node's record exists: a removal that comes first leaves
// nothing behind. A row that cannot be read is replaced. It returns the row's
// revision, which the mirror has seen then, and whether it was written.
func putOfNode[T any](ctx context.Context, m *Master, t *table[T], id string, value T, fence ...store.Op) (int64, bool, error) {
	want, err := json.Marshal(value)
	if err != nil {
		return 0, false, err
	}
	have, ok := t.get(id)
	for try := 1; ; try++ {
		if same, err := json.Marshal(have.Value); ok && err == nil && bytes.Equal(same, want) {
			return have.Revision, false, t.wait(ctx, have.Revision)
		}
		write := t.collection.OpCreate(id, value)
		if ok {
			write = t.collection.OpUpdate(id, have.Revision, value)
		}
		revision, err := m.o.Store.Commit(ctx, append(slices.Clone(fence), m.nodes.collection.OpCheck(id, store.AnyRevision), write)...)
		if err == nil {
			return revision, true, t.wait(ctx, revision)
		}
		if try == putTries || !errors.Is(err, store.ErrExists) && !errors.Is(err, store.ErrConflict) {
			return 0, false, err
		}
		have, err = t.collection.Get(ctx, id)
		ok = err == nil || errors.Is(err, store.ErrUnreadable)
	}
}
