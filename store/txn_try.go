package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
)

// errLeaderMoved: the try was made under a leader that has been replaced.
var errLeaderMoved = errors.New("the leader has changed")

// txn is one Commit under way. Several of its tries can run at once: see call.
type txn struct {
	m      *Member
	ops    []Op
	fence  int64 // of a term; 0: none
	puts   bool
	guards []clientv3.Cmp
	acts   []clientv3.Op
	looks  []clientv3.Op // what is there, if a guard does not hold; the leader's record last

	leader atomic.Int64 // mod revision of the leader's record that tries are bound to; -1: not yet known
	first  atomic.Int64 // of the store, when the first try was made
	open   atomic.Int32 // tries without an answer: each may have been done, or be done yet
	done   atomic.Int64 // the revision that one of the tries has written; 0: none, as far as known
}

func newTxn(m *Member, ops []Op, fence int64) *txn {
	t := &txn{m: m, ops: ops, fence: fence}
	for _, op := range ops {
		t.puts = t.puts || op.sealed != nil
		t.guards = append(t.guards, op.guard())
		t.looks = append(t.looks, clientv3.OpGet(op.key))
		if op.acts {
			t.acts = append(t.acts, op.act)
		}
	}
	t.looks = append(t.looks, clientv3.OpGet(leaderKey))
	t.leader.Store(-1)
	if fence != 0 {
		t.leader.Store(fence)
	}
	return t
}

// try is bound to the leader's record: a proposal that lies in the buffers of a
// leader while that is frozen would else be done when it wakes up, long after the
// caller has tried again, or given up, and others have written.
func (t *txn) try(ctx context.Context, c *clientv3.Client) (*clientv3.TxnResponse, error) {
	if err := t.m.room.toWrite(t.m.opts.Dir, t.m.etcd.Server.Backend().Size()); err != nil {
		return nil, err
	}
	if used := t.m.etcd.Server.Backend().SizeInUse(); t.puts && used > t.m.opts.MaxBytes {
		return nil, fmt.Errorf("%d bytes are used of %d; delete something: %w", used, t.m.opts.MaxBytes, ErrFull)
	}
	if err := t.bind(ctx); err != nil {
		return nil, err
	}
	leader := t.leader.Load()
	guards := append(slices.Clip(t.guards), clientv3.Compare(clientv3.ModRevision(leaderKey), "=", leader))
	t.open.Add(1)
	resp, err := c.Txn(ctx).If(guards...).Then(t.acts...).Else(t.looks...).Commit()
	if err != nil {
		return nil, err
	}
	if resp.Succeeded {
		t.done.Store(resp.Header.Revision) // first: this try may have been given up
	}
	t.open.Add(-1)
	if t.done.Load() > 0 {
		return resp, nil
	}
	if t.open.Load() > 0 {
		rev, done, err := t.doneBefore(ctx, resp)
		if err != nil {
			return nil, err
		}
		if done {
			t.done.Store(rev)
			return resp, nil
		}
	}
	if now := revisionOf(found(resp, len(t.ops))); t.fence == 0 && now != leader {
		t.leader.Store(now)
		return nil, errLeaderMoved
	}
	return resp, nil
}

// bind looks up, once, what this member knows already of leader and revision.
func (t *txn) bind(ctx context.Context) error {
	if t.first.Load() > 0 {
		return nil
	}
	r, err := t.m.etcd.Server.KV().Range(ctx, []byte(leaderKey), nil, mvcc.RangeOptions{})
	if err != nil {
		return err
	}
	var leader int64
	if len(r.KVs) > 0 {
		leader = r.KVs[0].ModRevision
	}
	t.leader.CompareAndSwap(-1, leader)
	t.first.CompareAndSwap(0, r.Rev)
	return nil
}

// doneBefore reports whether an earlier try, whose answer was lost, has done all
// of it. Others may have written over it since, many times if this member was cut
// off, so the record's history is looked through, as far as it is kept. One put is
// enough: it was done with all the others, or not at all.
func (t *txn) doneBefore(ctx context.Context, resp *clientv3.TxnResponse) (rev int64, done bool, err error) {
	i := slices.IndexFunc(t.ops, func(op Op) bool { return op.sealed != nil })
	if i < 0 {
		return resp.Header.Revision, t.allDeleted(resp), nil
	}
	for kv := found(resp, i); kv != nil && kv.ModRevision > t.first.Load(); {
		if bytes.Equal(kv.Value, t.ops[i].sealed) {
			return kv.ModRevision, true, nil
		}
		r, err := t.m.etcd.Server.KV().Range(ctx, []byte(t.ops[i].key), nil, mvcc.RangeOptions{Rev: kv.ModRevision - 1})
		if err != nil {
			return 0, false, fmt.Errorf("an answer was lost, and the history is too short to tell what has become of it: %w: %w", ErrNoQuorum, err)
		}
		if len(r.KVs) == 0 { // it was not there
			return 0, false, nil
		}
		kv = r.KVs[0]
	}
	return 0, false, nil
}

// allDeleted reports whether there are deletes, and nothing is left to delete.
func (t *txn) allDeleted(resp *clientv3.TxnResponse) bool {
	for i, op := range t.ops {
		if op.acts && found(resp, i) != nil {
			return false
		}
	}
	return len(t.acts) > 0
}

// refusal says that the term is over, or names the first operation whose
// condition did not hold.
func (t *txn) refusal(resp *clientv3.TxnResponse) error {
	if now := revisionOf(found(resp, len(t.ops))); t.fence != 0 && now != t.fence {
		return fmt.Errorf("%s: %w", describe(t.ops), ErrDeposed)
	}
	for i, op := range t.ops {
		if err := op.holds(found(resp, i)); err != nil {
			return fmt.Errorf("%s %s: %w", op.verb, op.key, err)
		}
	}
	return fmt.Errorf("%s: %w", describe(t.ops), ErrConflict)
}

// found is the record that look i has found, or nil.
func found(resp *clientv3.TxnResponse, i int) *mvccpb.KeyValue {
	kvs := resp.Responses[i].GetResponseRange().GetKvs()
	if len(kvs) == 0 {
		return nil
	}
	return kvs[0]
}

func revisionOf(kv *mvccpb.KeyValue) int64 {
	if kv == nil {
		return 0
	}
	return kv.ModRevision
}
