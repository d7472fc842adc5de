package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	etcderrors "go.etcd.io/etcd/server/v3/etcdserver/errors"
	"go.etcd.io/etcd/server/v3/lease"
)

const (
	// retryPause lies between two tries.
	retryPause = 20 * time.Millisecond
	// answerGrace: etcd may still have the answer when a try has been called off.
	answerGrace = 20 * time.Millisecond
)

// call runs fn against etcd until it succeeds, fails for good, or the deadline
// (the caller's or Options.RequestTimeout) has passed. It returns by then even if
// etcd itself hangs, on a disk for example. fn can be tried several times, and an
// abandoned try can still be running while the next one begins.
func call[R any](parent context.Context, m *Member, fn func(context.Context, *clientv3.Client) (R, error)) (R, error) {
	ctx, cancel := context.WithTimeout(parent, m.opts.RequestTimeout)
	defer cancel()
	defer context.AfterFunc(m.life, cancel)()

	r, err := backoff.Retry(ctx, func() (R, error) {
		r, err := try(ctx, m, fn)
		if err != nil && !transient(err) {
			err = backoff.Permanent(err)
		}
		return r, err
	}, backoff.WithBackOff(backoff.NewConstantBackOff(retryPause)), backoff.WithMaxElapsedTime(0))
	if err == nil {
		return r, nil
	}
	var zero R
	var permanent *backoff.PermanentError
	if errors.As(err, &permanent) {
		err = permanent.Unwrap()
	}
	switch {
	case m.life.Err() != nil:
		return zero, ErrClosed
	case errors.Is(parent.Err(), context.Canceled):
		return zero, parent.Err()
	case ctx.Err() != nil || transient(err):
		return zero, fmt.Errorf("%w: %w", ErrNoQuorum, err)
	}
	return zero, err
}

// try runs fn once, in a goroutine of its own that holds a place until fn returns.
// Nothing outside of such a goroutine may ask etcd anything that takes its locks:
// a slow disk holds them for long, a failed one for ever.
func try[R any](ctx context.Context, m *Member, fn func(context.Context, *clientv3.Client) (R, error)) (R, error) {
	var zero R
	select {
	case <-m.started:
	case <-ctx.Done():
		return zero, ctx.Err()
	}
	select {
	case m.calls <- struct{}{}:
	case <-ctx.Done():
		return zero, ctx.Err()
	}
	limit := m.opts.TryTimeout
	if m.alone.Load() {
		limit = m.opts.RequestTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	type result struct {
		r   R
		err error
	}
	results := make(chan result, 1)
	asked, changed := m.leads.get()
	go func() {
		defer func() { <-m.calls }()
		m.countVoters()
		r, err := fn(ctx, m.client)
		results <- result{r, err}
	}()
	for ctx.Err() == nil {
		select {
		case res := <-results:
			return res.r, res.err
		case <-changed:
			// What was on its way to a leader that has been replaced is lost.
			var now leaderView
			if now, changed = m.leads.get(); now.succeeds(asked) {
				cancel()
			}
		case <-ctx.Done():
		}
	}
	grace := time.NewTimer(answerGrace)
	defer grace.Stop()
	select {
	case res := <-results:
		return res.r, res.err
	case <-grace.C:
		return zero, ctx.Err()
	}
}

// countVoters notes whether this member is the only one that votes: it has nobody
// to lose a proposal to.
func (m *Member) countVoters() {
	self := m.etcd.Server.MemberID()
	m.alone.Store(!slices.ContainsFunc(m.etcd.Server.Cluster().Members(), func(p *membership.Member) bool {
		return p.IsLearner == (p.ID == self) // another voter, or this one has no vote
	}))
}

// transientErrors mean: nobody led, or the answer was lost. Another try may succeed.
var transientErrors = []error{
	context.DeadlineExceeded, context.Canceled, errLeaderMoved,
	rpctypes.ErrNoLeader, rpctypes.ErrNotLeader, rpctypes.ErrLeaderChanged, rpctypes.ErrTimeout,
	rpctypes.ErrTimeoutDueToLeaderFail, rpctypes.ErrTimeoutDueToConnectionLost,
	rpctypes.ErrTimeoutWaitAppliedIndex, rpctypes.ErrUnhealthy, rpctypes.ErrTooManyRequests,
	etcderrors.ErrNoLeader, etcderrors.ErrNotLeader, etcderrors.ErrLeaderChanged, etcderrors.ErrTimeout,
	etcderrors.ErrTimeoutDueToLeaderFail, etcderrors.ErrTimeoutDueToConnectionLost,
	etcderrors.ErrTimeoutWaitAppliedIndex, etcderrors.ErrUnhealthy, etcderrors.ErrTooManyRequests,
	lease.ErrNotPrimary,
	// etcd stops before the member knows: the next try finds the member closed.
	rpctypes.ErrStopped, etcderrors.ErrStopped,
}

func transient(err error) bool {
	return slices.ContainsFunc(transientErrors, func(t error) bool { return errors.Is(err, t) })
}
