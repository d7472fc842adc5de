package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// AnyRevision, in place of a revision, means: whatever it is now, but it must exist.
const AnyRevision int64 = -1

// Op is one operation of a Commit. Collections make them: OpCreate, OpUpdate,
// OpDelete, OpCheck.
type Op struct {
	key    string // full
	verb   string // what is done, for errors
	rev    int64  // required mod revision; 0: must not exist; AnyRevision: must exist
	sealed []byte // what is put
	size   int    // of the JSON
	act    clientv3.Op
	acts   bool // false: a mere check
	err    error
}

// WriteOption changes how a record is written.
type WriteOption func(*writeOptions)

type writeOptions struct {
	lease    LeaseID
	setLease bool
}

// WithLease attaches the record to a lease: it disappears with it. NoLease
// detaches it. Without this option a record keeps the lease that it has.
func WithLease(id LeaseID) WriteOption {
	return func(o *writeOptions) { o.lease, o.setLease = id, true }
}

func collectOptions(opts []WriteOption) (o writeOptions) {
	for _, opt := range opts {
		opt(&o)
	}
	return o
}

// Commit does all operations at once, or none of them. It returns the revision
// of the write. A condition that does not hold is ErrExists, ErrNotFound or
// ErrConflict, and the error names the record. At most MaxTxnOps operations, of
// MaxTxnBytes together, and only one for each record.
//
// Commit is safe to be tried again inside: a try whose answer was lost is
// recognised by the seal of its values, which is never the same twice.
func (m *Member) Commit(ctx context.Context, ops ...Op) (int64, error) {
	if err := checkOps(ops); err != nil {
		return 0, err
	}
	puts := slices.ContainsFunc(ops, func(op Op) bool { return op.sealed != nil })
	var guards []clientv3.Cmp
	var acts, looks []clientv3.Op
	for _, op := range ops {
		guards = append(guards, op.guard())
		looks = append(looks, clientv3.OpGet(op.key))
		if op.acts {
			acts = append(acts, op.act)
		}
	}
	var tries atomic.Int32
	resp, err := call(ctx, m, func(ctx context.Context, c *clientv3.Client) (*clientv3.TxnResponse, error) {
		if used := m.etcd.Server.Backend().SizeInUse(); puts && used > m.opts.MaxBytes {
			return nil, fmt.Errorf("%d bytes are used of %d; delete something: %w", used, m.opts.MaxBytes, ErrFull)
		}
		tries.Add(1)
		return c.Txn(ctx).If(guards...).Then(acts...).Else(looks...).Commit()
	})
	switch {
	case errors.Is(err, rpctypes.ErrLeaseNotFound):
		return 0, fmt.Errorf("%s: its lease: %w", describe(ops), ErrNotFound)
	case errors.Is(err, rpctypes.ErrNoSpace):
		return 0, fmt.Errorf("%s: %w", describe(ops), ErrFull)
	case err != nil:
		return 0, fmt.Errorf("%s: %w", describe(ops), err)
	}
	if resp.Succeeded {
		m.noteHistory(resp.Header.Revision)
		return resp.Header.Revision, nil
	}
	if tries.Load() > 1 {
		if rev, ok := doneBefore(ops, resp); ok {
			return rev, nil
		}
	}
	return 0, refusal(ops, resp)
}

// checkOps refuses what need not be sent.
func checkOps(ops []Op) error {
	if len(ops) == 0 || len(ops) > MaxTxnOps {
		return fmt.Errorf("commit: %d operations, want 1 to %d: %w", len(ops), MaxTxnOps, ErrInvalid)
	}
	size := 0
	seen := make(map[string]bool, len(ops))
	for _, op := range ops {
		if op.err != nil {
			return fmt.Errorf("%s %s: %w", op.verb, op.key, op.err)
		}
		if seen[op.key] {
			return fmt.Errorf("%s %s: a second operation on the same record: %w", op.verb, op.key, ErrInvalid)
		}
		seen[op.key] = true
		size += op.size
	}
	if size > MaxTxnBytes {
		return fmt.Errorf("%s: %d bytes, at most %d: %w", describe(ops), size, MaxTxnBytes, ErrTooLarge)
	}
	return nil
}

func (op Op) guard() clientv3.Cmp {
	if op.rev == AnyRevision {
		return clientv3.Compare(clientv3.CreateRevision(op.key), ">", 0)
	}
	return clientv3.Compare(clientv3.ModRevision(op.key), "=", op.rev)
}

// doneBefore reports whether an earlier try has done all of it already.
func doneBefore(ops []Op, resp *clientv3.TxnResponse) (rev int64, done bool) {
	rev = resp.Header.Revision
	for i, op := range ops {
		kvs := resp.Responses[i].GetResponseRange().GetKvs()
		switch {
		case op.sealed != nil:
			if len(kvs) == 0 || !bytes.Equal(kvs[0].Value, op.sealed) {
				return 0, false
			}
			rev = kvs[0].ModRevision
		case op.acts: // a delete
			if len(kvs) != 0 {
				return 0, false
			}
		default:
			continue
		}
		done = true
	}
	return rev, done
}

// refusal names the first operation whose condition did not hold.
func refusal(ops []Op, resp *clientv3.TxnResponse) error {
	for i, op := range ops {
		if err := op.holds(resp.Responses[i].GetResponseRange()); err != nil {
			return fmt.Errorf("%s %s: %w", op.verb, op.key, err)
		}
	}
	return fmt.Errorf("%s: %w", describe(ops), ErrConflict)
}

func (op Op) holds(r *pb.RangeResponse) error {
	kvs := r.GetKvs()
	switch {
	case op.rev == 0 && len(kvs) > 0:
		return ErrExists
	case op.rev == 0:
		return nil
	case len(kvs) == 0:
		return ErrNotFound
	case op.rev != AnyRevision && kvs[0].ModRevision != op.rev:
		return fmt.Errorf("it is at revision %d, not %d: %w", kvs[0].ModRevision, op.rev, ErrConflict)
	}
	return nil
}

func describe(ops []Op) string {
	if len(ops) == 1 {
		return ops[0].verb + " " + ops[0].key
	}
	return fmt.Sprintf("%s %s and %d more", ops[0].verb, ops[0].key, len(ops)-1)
}
