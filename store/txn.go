package store

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
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
	acts   bool  // false: a mere check
	fence  int64 // mod revision of the leader's record; 0: anybody may do it
	err    error
}

// WriteOption changes how a record is written.
type WriteOption func(*writeOptions)

type writeOptions struct {
	lease    LeaseID
	setLease bool
	term     *Term
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
// ErrConflict, and the error names the record. ErrDeposed: an operation carries a
// term (WithTerm, Term.Fence) that is over. At most MaxTxnOps operations, of
// MaxTxnBytes together, and only one for each record.
//
// Commit is safe to be tried again inside: a try whose answer was lost is
// recognised by the seal of its values, which is never the same twice. And a try
// that was held up on its way while the leader changed does nothing when it
// arrives at last, be it hours later.
func (m *Member) Commit(ctx context.Context, ops ...Op) (int64, error) {
	ops, fence, err := splitFence(ops)
	if err == nil {
		err = checkOps(ops, fence)
	}
	if err != nil {
		return 0, err
	}
	t := newTxn(m, ops, fence)
	resp, err := call(ctx, m, t.try)
	switch rev := t.done.Load(); {
	case rev > 0:
		m.noteHistory(rev)
		return rev, nil
	case errors.Is(err, rpctypes.ErrLeaseNotFound):
		return 0, fmt.Errorf("%s: its lease: %w", describe(ops), ErrNotFound)
	case errors.Is(err, rpctypes.ErrNoSpace):
		return 0, fmt.Errorf("%s: %w", describe(ops), ErrFull)
	case err != nil:
		return 0, fmt.Errorf("%s: %w", describe(ops), err)
	}
	return 0, t.refusal(resp)
}

// splitFence takes the terms out of the operations.
func splitFence(all []Op) (ops []Op, fence int64, err error) {
	for _, op := range all {
		switch {
		case op.err != nil:
			return nil, 0, fmt.Errorf("%s %s: %w", op.verb, op.key, op.err)
		case op.fence != 0 && fence != 0 && op.fence != fence:
			return nil, 0, fmt.Errorf("%s %s: of another term than the rest: %w", op.verb, op.key, ErrInvalid)
		case op.fence != 0:
			fence = op.fence
		}
		if op.key != leaderKey {
			ops = append(ops, op)
		}
	}
	return ops, fence, nil
}

// checkOps refuses what need not be sent.
func checkOps(ops []Op, fence int64) error {
	if len(ops) == 0 && fence == 0 || len(ops) > MaxTxnOps {
		return fmt.Errorf("commit: %d operations, want 1 to %d: %w", len(ops), MaxTxnOps, ErrInvalid)
	}
	size := 0
	seen := make(map[string]bool, len(ops))
	for _, op := range ops {
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

// holds tells why the operation's condition does not hold for what is there.
func (op Op) holds(kv *mvccpb.KeyValue) error {
	switch {
	case op.rev == 0 && kv != nil:
		return ErrExists
	case op.rev == 0:
		return nil
	case kv == nil:
		return ErrNotFound
	case op.rev != AnyRevision && kv.ModRevision != op.rev:
		return fmt.Errorf("it is at revision %d, not %d: %w", kv.ModRevision, op.rev, ErrConflict)
	}
	return nil
}

// with adds what the options say of the term.
func (op Op) with(o writeOptions) Op {
	if o.term == nil {
		return op
	}
	fence := o.term.Fence()
	op.fence = fence.fence
	if op.err == nil {
		op.err = fence.err
	}
	return op
}

func describe(ops []Op) string {
	switch len(ops) {
	case 0:
		return "check the term"
	case 1:
		return ops[0].verb + " " + ops[0].key
	}
	return fmt.Sprintf("%s %s and %d more", ops[0].verb, ops[0].key, len(ops)-1)
}
