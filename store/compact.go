package store

import (
	"context"
	"errors"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// keepRevisions stay readable behind the newest one, for followers that were
	// away for a moment; who was away longer lists again.
	keepRevisions = 500
	// crowdedRevisions is the same when the database is more than half full.
	crowdedRevisions = 25
)

// etcd's own compaction runs every few minutes and writes each time that anything
// has changed. Here a compaction is due when history is twice as long as what is
// kept, so its cost is spread over hundreds of writes, and no clock is involved.

// noteHistory is called after each write, with its revision. It asks etcd
// nothing: after a failure etcd's locks may never be released.
func (m *Member) noteHistory(rev int64) {
	if rev-m.compacted.Load() < 2*crowdedRevisions {
		return
	}
	select {
	case m.compact <- struct{}{}:
	default: // it is due already
	}
}

// compactTo is the revision up to which history should go now; 0: none.
func (m *Member) compactTo() int64 {
	kv := m.etcd.Server.KV()
	keep := int64(keepRevisions)
	if m.etcd.Server.Backend().SizeInUse() > m.opts.MaxBytes/2 {
		keep = crowdedRevisions
	}
	rev, first := kv.Rev(), kv.FirstRev()
	m.compacted.Store(first)
	if rev-first >= 2*keep {
		return rev - keep
	}
	return 0
}

func (m *Member) compactLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.compact:
		}
		_, err := call(ctx, m, func(ctx context.Context, c *clientv3.Client) (struct{}, error) {
			rev := m.compactTo()
			if rev == 0 {
				return struct{}{}, nil
			}
			_, err := c.Compact(ctx, rev)
			return struct{}{}, err
		})
		if err != nil && ctx.Err() == nil && !errors.Is(err, rpctypes.ErrCompacted) {
			m.opts.Logger.Warn("cannot compact the store's history; a later write tries again", "err", err)
		}
	}
}
