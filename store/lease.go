package store

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/lease"
)

// LeaseID names a lease.
type LeaseID int64

// NoLease is the lease of a record that stays until it is deleted.
const NoLease LeaseID = 0

// Bounds of a lease's time to live. etcd counts whole seconds, on its own
// monotonic clock, and looks for expired leases twice a second; a new leader
// gives every lease its full time again.
const (
	MinTTL = time.Second
	MaxTTL = 365 * 24 * time.Hour
)

// Lease is a span of time that must be renewed. When it has passed, every record
// attached to it (WithLease) is deleted, which Follow shows like any delete.
type Lease struct {
	ID  LeaseID
	TTL time.Duration // as granted
}

// Grant makes a lease; ttl is rounded up to whole seconds. This is a write.
func (m *Member) Grant(ctx context.Context, ttl time.Duration) (Lease, error) {
	if ttl < MinTTL || ttl > MaxTTL {
		return Lease{}, fmt.Errorf("grant a lease of %v: want %v to %v: %w", ttl, MinTTL, MaxTTL, ErrInvalid)
	}
	seconds := int64(math.Ceil(ttl.Seconds()))
	id := LeaseID(randomID()) // chosen here: a second try must not make a second lease
	granted, err := call(ctx, m, func(ctx context.Context, _ *clientv3.Client) (int64, error) {
		if err := m.room.toWrite(m.opts.Dir, m.etcd.Server.Backend().Size()); err != nil {
			return 0, err
		}
		resp, err := m.etcd.Server.LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: int64(id), TTL: seconds})
		if errors.Is(err, lease.ErrLeaseExists) { // an earlier try has made it
			return seconds, nil
		}
		return resp.GetTTL(), err
	})
	if err != nil {
		return Lease{}, fmt.Errorf("grant a lease of %v: %w", ttl, err)
	}
	return Lease{ID: id, TTL: time.Duration(granted) * time.Second}, nil
}

// randomID is a positive number that was never used before.
func randomID() int64 {
	var b [8]byte
	rand.Read(b[:]) //nolint:errcheck // never fails: crypto/rand ends the process instead
	return int64(binary.BigEndian.Uint64(b[:])>>1 | 1)
}

// KeepAlive renews a lease and returns its time to live. It writes nothing, on no
// member. ErrNotFound: it has expired or was revoked.
func (m *Member) KeepAlive(ctx context.Context, id LeaseID) (time.Duration, error) {
	seconds, err := call(ctx, m, func(ctx context.Context, _ *clientv3.Client) (int64, error) {
		return m.etcd.Server.LeaseRenew(ctx, lease.LeaseID(id))
	})
	if err == nil && seconds <= 0 {
		err = ErrNotFound
	}
	if err != nil {
		return 0, fmt.Errorf("keep lease %x alive: %w", int64(id), leaseError(err))
	}
	return time.Duration(seconds) * time.Second, nil
}

// TimeLeft returns what remains of a lease, in whole seconds, as the leader
// remembers it. ErrNotFound.
func (m *Member) TimeLeft(ctx context.Context, id LeaseID) (time.Duration, error) {
	resp, err := call(ctx, m, func(ctx context.Context, c *clientv3.Client) (*clientv3.LeaseTimeToLiveResponse, error) {
		return c.TimeToLive(ctx, clientv3.LeaseID(id))
	})
	if err == nil && resp.TTL < 0 {
		err = ErrNotFound
	}
	if err != nil {
		return 0, fmt.Errorf("look at lease %x: %w", int64(id), leaseError(err))
	}
	return time.Duration(resp.TTL) * time.Second, nil
}

// Revoke ends a lease and deletes its records. ErrNotFound.
func (m *Member) Revoke(ctx context.Context, id LeaseID) error {
	resp, err := call(ctx, m, func(ctx context.Context, c *clientv3.Client) (*clientv3.LeaseRevokeResponse, error) {
		return c.Revoke(ctx, clientv3.LeaseID(id))
	})
	if err != nil {
		return fmt.Errorf("revoke lease %x: %w", int64(id), leaseError(err))
	}
	m.noteHistory(resp.Header.Revision)
	return nil
}

func leaseError(err error) error {
	if errors.Is(err, rpctypes.ErrLeaseNotFound) || errors.Is(err, lease.ErrLeaseNotFound) {
		return ErrNotFound
	}
	return err
}
