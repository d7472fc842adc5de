package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// modifyTries bounds the read-modify-write rounds of Modify and Put. One record
// has one writer, so more than two are a sign of two.
const modifyTries = 8

// Record is a stored value.
type Record[T any] struct {
	Key      string // without the collection's prefix
	Value    T
	Revision int64   // of its last change; never 0
	Lease    LeaseID // NoLease if it is attached to none
}

// Collection is a typed view of the records under one prefix. It is a small
// value that holds no state of its own; methods are safe for concurrent use.
type Collection[T any] struct {
	m      *Member
	prefix string // full, with a trailing slash
	kind   string
}

// NewCollection is the view of prefix ("nodes") with values of type T, marked on
// disk as kind ("node"). Every part that uses a prefix must name the same kind. A
// prefix or kind that ValidateKey refuses is a programming error: it panics.
func NewCollection[T any](m *Member, prefix, kind string) *Collection[T] {
	for _, s := range []string{prefix, kind} {
		if err := ValidateKey(s); err != nil {
			panic(fmt.Sprintf("store.NewCollection(%q, %q): %v", prefix, kind, err))
		}
	}
	return &Collection[T]{m: m, prefix: root + prefix + "/", kind: kind}
}

// Get reads one record as the majority knows it. ErrNotFound, ErrUnreadable.
func (c *Collection[T]) Get(ctx context.Context, key string) (Record[T], error) {
	r, _, err := c.get(ctx, key)
	return r, err
}

// get returns the value's JSON too.
func (c *Collection[T]) get(ctx context.Context, key string) (Record[T], []byte, error) {
	if err := ValidateKey(key); err != nil {
		return Record[T]{}, nil, fmt.Errorf("get from %s: %w", c.prefix, err)
	}
	full := c.prefix + key
	resp, err := call(ctx, c.m, func(ctx context.Context, cl *clientv3.Client) (*clientv3.GetResponse, error) {
		return cl.Get(ctx, full)
	})
	if err == nil && len(resp.Kvs) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return Record[T]{}, nil, fmt.Errorf("get %s: %w", full, err)
	}
	kv := resp.Kvs[0]
	value, data, err := decodeRecord[T](c.m.opts.Sealer, full, c.kind, kv.Value)
	return Record[T]{Key: key, Value: value, Revision: kv.ModRevision, Lease: LeaseID(kv.Lease)}, data, err
}

// List reads all records, in the order of their keys, and the revision of the
// whole. If some of them cannot be read it returns the others together with an
// error that wraps ErrUnreadable and names each.
func (c *Collection[T]) List(ctx context.Context) ([]Record[T], int64, error) {
	records, unreadable, rev, err := c.list(ctx, false)
	if err != nil {
		return nil, 0, err
	}
	errs := make([]error, 0, len(unreadable))
	for _, u := range unreadable {
		errs = append(errs, u.Err)
	}
	return records, rev, errors.Join(errs...)
}

// list, if stale, is of this member alone: what it knew when it last heard the others.
func (c *Collection[T]) list(ctx context.Context, stale bool) ([]Record[T], []Unreadable, int64, error) {
	opts := []clientv3.OpOption{clientv3.WithPrefix()}
	if stale {
		opts = append(opts, clientv3.WithSerializable())
	}
	resp, err := call(ctx, c.m, func(ctx context.Context, cl *clientv3.Client) (*clientv3.GetResponse, error) {
		return cl.Get(ctx, c.prefix, opts...)
	})
	if err != nil {
		return nil, nil, 0, fmt.Errorf("list %s: %w", c.prefix, err)
	}
	records := make([]Record[T], 0, len(resp.Kvs))
	var unreadable []Unreadable
	for _, kv := range resp.Kvs {
		key := strings.TrimPrefix(string(kv.Key), c.prefix)
		value, _, err := decodeRecord[T](c.m.opts.Sealer, string(kv.Key), c.kind, kv.Value)
		if err != nil {
			unreadable = append(unreadable, Unreadable{Key: key, Err: err})
			continue
		}
		records = append(records, Record[T]{Key: key, Value: value, Revision: kv.ModRevision, Lease: LeaseID(kv.Lease)})
	}
	return records, unreadable, resp.Header.Revision, nil
}

// Create writes a new record and returns its revision. ErrExists.
func (c *Collection[T]) Create(ctx context.Context, key string, value T, opts ...WriteOption) (int64, error) {
	return c.m.Commit(ctx, c.OpCreate(key, value, opts...))
}

// Update replaces the record that the caller has read at revision rev, and
// returns the new revision. ErrConflict if it has changed since, ErrNotFound.
func (c *Collection[T]) Update(ctx context.Context, key string, rev int64, value T, opts ...WriteOption) (int64, error) {
	return c.m.Commit(ctx, c.OpUpdate(key, rev, value, opts...))
}

// Delete removes the record if it is still at revision rev, or AnyRevision.
// ErrNotFound, ErrConflict.
func (c *Collection[T]) Delete(ctx context.Context, key string, rev int64, opts ...WriteOption) error {
	_, err := c.m.Commit(ctx, c.OpDelete(key, rev, opts...))
	return err
}

// Modify reads a record, lets change alter the value, and writes it back if it is
// another one now. It begins again, at most a few times, if somebody else was
// faster: change can be called more than once and must not keep the pointer. An
// error of change ends it. Returns the record's revision, and whether it was written.
func (c *Collection[T]) Modify(ctx context.Context, key string, change func(*T) error, opts ...WriteOption) (int64, bool, error) {
	return c.readModifyWrite(ctx, key, false, change, opts)
}

// Put creates or replaces a record, and writes nothing if it has this value
// already. It is for records with one writer. Returns the record's revision, and
// whether it was written.
func (c *Collection[T]) Put(ctx context.Context, key string, value T, opts ...WriteOption) (int64, bool, error) {
	return c.readModifyWrite(ctx, key, true, func(v *T) error { *v = value; return nil }, opts)
}

func (c *Collection[T]) readModifyWrite(ctx context.Context, key string, create bool, change func(*T) error, opts []WriteOption) (int64, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, c.m.opts.RequestTimeout)
	defer cancel()
	var lost error
	for range modifyTries {
		r, before, err := c.get(ctx, key)
		missing := errors.Is(err, ErrNotFound)
		// Put replaces what cannot be read, too: its revision is known.
		if err != nil && !(create && (missing || errors.Is(err, ErrUnreadable))) {
			return 0, false, err
		}
		if err := change(&r.Value); err != nil {
			return 0, false, fmt.Errorf("modify %s%s: %w", c.prefix, key, err)
		}
		op := c.OpUpdate(key, r.Revision, r.Value, opts...)
		if missing {
			op = c.OpCreate(key, r.Value, opts...)
		} else if err == nil {
			after, err := encodeData(r.Value)
			if o := collectOptions(opts); err == nil && bytes.Equal(before, after) && (!o.setLease || o.lease == r.Lease) {
				return r.Revision, false, nil
			}
		}
		rev, err := c.m.Commit(ctx, op)
		if err == nil {
			return rev, true, nil
		}
		lost = err
		if !errors.Is(err, ErrConflict) && !errors.Is(err, ErrExists) && !(create && errors.Is(err, ErrNotFound)) {
			return 0, false, err
		}
	}
	return 0, false, fmt.Errorf("%w (%d times; does it have two writers?)", lost, modifyTries)
}

// OpCreate is Create as part of a Commit.
func (c *Collection[T]) OpCreate(key string, value T, opts ...WriteOption) Op {
	return c.put("create", key, 0, value, opts)
}

// OpUpdate is Update as part of a Commit. rev can be AnyRevision.
func (c *Collection[T]) OpUpdate(key string, rev int64, value T, opts ...WriteOption) Op {
	op := c.put("update", key, rev, value, opts)
	if rev == 0 && op.err == nil {
		op.err = fmt.Errorf("revision 0: a record that does not exist cannot be updated: %w", ErrInvalid)
	}
	return op
}

// OpDelete is Delete as part of a Commit.
func (c *Collection[T]) OpDelete(key string, rev int64, opts ...WriteOption) Op {
	op := c.op("delete", key, rev).with(collectOptions(opts))
	if rev == 0 && op.err == nil {
		op.err = fmt.Errorf("revision 0: a record that does not exist cannot be deleted: %w", ErrInvalid)
	}
	op.act, op.acts = clientv3.OpDelete(op.key), true
	return op
}

// OpCheck writes nothing; the Commit is refused unless the record is at revision
// rev, or exists (AnyRevision), or does not exist (0).
func (c *Collection[T]) OpCheck(key string, rev int64) Op { return c.op("check", key, rev) }

func (c *Collection[T]) op(verb, key string, rev int64) Op {
	op := Op{key: c.prefix + key, verb: verb, rev: rev, err: ValidateKey(key)}
	if op.err != nil {
		op.key = c.prefix // the key itself is quoted, and cut, in the error
	} else if rev < AnyRevision {
		op.err = fmt.Errorf("revision %d: %w", rev, ErrInvalid)
	}
	return op
}

func (c *Collection[T]) put(verb, key string, rev int64, value T, opts []WriteOption) Op {
	o := collectOptions(opts)
	op := c.op(verb, key, rev).with(o)
	if op.err != nil {
		return op
	}
	data, err := encodeData(value)
	if err == nil {
		op.sealed, err = sealData(c.m.opts.Sealer, op.key, c.kind, data)
	}
	op.size, op.err, op.acts = len(data), err, true
	var etcdOpts []clientv3.OpOption
	if o.setLease {
		etcdOpts = append(etcdOpts, clientv3.WithLease(clientv3.LeaseID(o.lease)))
	} else if rev != 0 {
		etcdOpts = append(etcdOpts, clientv3.WithIgnoreLease())
	}
	op.act = clientv3.OpPut(op.key, string(op.sealed), etcdOpts...)
	return op
}
