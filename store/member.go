package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/raft/v3"
)

// maxCalls bounds the calls under way in etcd, those included whose deadline has
// passed while etcd still works on them. Further calls wait for a place until
// their own deadline.
const maxCalls = 128

// deadStop is how long etcd is given to stop after a failure of its own: mostly
// it cannot any more, and whoever starts the process again should not wait.
const deadStop = time.Second

// Member is one etcd member in this process. Make it with New, start it with Run.
type Member struct {
	opts    Options
	ran     atomic.Bool
	started chan struct{} // closed when etcd and client are set
	ready   chan struct{} // closed when the member serves
	died    chan error    // etcd's last word, capacity 1
	calls   chan struct{} // a place for each call under way
	compact chan struct{} // history may be long, capacity 1

	room room // on the disk

	compacted atomic.Int64 // the first revision of history, as last seen
	alone     atomic.Bool  // nobody else votes, as last seen

	leads    *leadership
	leading  atomic.Bool   // Lead is running
	changing chan struct{} // a place for one change of the membership

	life context.Context // ends with the member
	end  context.CancelCauseFunc

	// Set before started is closed, never changed afterwards.
	etcd   *embed.Etcd
	client *clientv3.Client
	node   raft.Node

	watched chan struct{} // closed when watchLeader has ended; nil if it was not started
}

// New checks the options. It touches neither disk nor network.
func New(opts Options) (*Member, error) {
	opts = opts.withDefaults()
	if err := opts.validate(); err != nil {
		return nil, fmt.Errorf("make store: %w: %w", err, ErrInvalid)
	}
	m := &Member{
		opts:    opts,
		started: make(chan struct{}),
		ready:   make(chan struct{}),
		died:    make(chan error, 1),
		calls:   make(chan struct{}, maxCalls),
		compact: make(chan struct{}, 1),

		leads:    newLeadership(),
		changing: make(chan struct{}, 1),
	}
	m.life, m.end = context.WithCancelCause(context.Background())
	return m, nil
}

// Ready is closed when the member serves for the first time: there is a leader
// and this member takes part. Calls made earlier wait for it within their deadline.
func (m *Member) Ready() <-chan struct{} { return m.ready }

// Run opens the data directory, runs etcd, and returns nil soon after ctx has
// ended, with everything stopped. It returns an error if the directory cannot be
// used (ErrDamaged, ErrInUse, ErrDiskFull, ErrAccess: nothing was changed), if
// the other members have removed this one (ErrRemoved), if etcd fails, or if it
// does not stop within Options.StopTimeout. etcd does not clean up after a failure
// of its own: when Run has returned an error after Ready, end the process. Run can
// be called once.
func (m *Member) Run(ctx context.Context) error {
	if m.ran.Swap(true) {
		return fmt.Errorf("run store in %s: it was run before: %w", m.opts.Dir, ErrInvalid)
	}
	defer m.end(ErrClosed)
	if err := examine(m.opts.Dir, m.opts.Sealer); err != nil {
		return fmt.Errorf("open store in %s: %w", m.opts.Dir, err)
	}
	tuneEtcd()
	etcd, err := m.start(ctx)
	if err != nil {
		return fmt.Errorf("open store in %s: %w", m.opts.Dir, err)
	}
	if etcd == nil {
		return nil // ctx has ended
	}
	m.etcd = etcd
	if err = m.begin(); err == nil {
		err = m.serve(ctx)
	}
	m.end(ErrClosed)
	limit := m.opts.StopTimeout
	if err != nil {
		limit = min(limit, deadStop)
	}
	if stopErr := m.stop(limit); err == nil {
		err = stopErr
	}
	if err != nil {
		return fmt.Errorf("run store in %s: %w", m.opts.Dir, err)
	}
	return nil
}

// begin lets calls reach etcd.
func (m *Member) begin() (err error) {
	if m.node, err = raftOf(m.etcd.Server); err != nil {
		return err
	}
	m.client = v3client.New(m.etcd.Server)
	m.countVoters()
	close(m.started)
	m.leads.hear() // raft spoke before anybody listened
	return nil
}

// report keeps the first cause of death; what follows is only its consequence.
func (m *Member) report(err error) {
	select {
	case m.died <- err:
	default:
	}
}

// start returns nil, nil if ctx ended while etcd was starting.
func (m *Member) start(ctx context.Context) (*embed.Etcd, error) {
	joins, err := m.findCluster(ctx)
	switch {
	case ctx.Err() != nil:
		return nil, nil
	case err != nil:
		return nil, err
	}
	results := make(chan startResult, 1)
	go m.startEtcd(joins, results)

	timeout := time.NewTimer(m.opts.StartTimeout)
	defer timeout.Stop()
	cancelled := ctx.Done()
	for {
		select {
		case r := <-results:
			if r.err != nil {
				return nil, explain(r.err, nil)
			}
			if ctx.Err() != nil {
				m.etcd = r.etcd
				return nil, m.stop(m.opts.StopTimeout)
			}
			return r.etcd, nil
		case err := <-m.died:
			return nil, damage(err)
		case <-timeout.C:
			return nil, fmt.Errorf("etcd has not started within %v: is the disk failing, or another process using the directory?: %w", m.opts.StartTimeout, ErrAccess)
		case <-cancelled:
			cancelled = nil // etcd cannot be interrupted here: let it start, then stop it
		}
	}
}

type startResult struct {
	etcd *embed.Etcd
	err  error
}

// startEtcd sends its result, unless etcd has died: that is reported.
func (m *Member) startEtcd(joins map[string]string, results chan<- startResult) {
	defer func() {
		if p := recover(); p != nil {
			m.opts.Logger.Error("etcd panicked at start", "panic", p, "stack", string(debug.Stack()))
			m.report(fmt.Errorf("etcd panicked: %v: %w", p, ErrDamaged))
		}
	}()
	lg := newZap(m.opts.Logger, func() bool { return m.life.Err() != nil }, m.report)
	etcd, err := embed.StartEtcd(etcdConfig(m.opts, joins, withEar(lg, m.leads.hear)))
	results <- startResult{etcd, err}
}

// serve returns when ctx or etcd has ended.
func (m *Member) serve(ctx context.Context) error {
	compacted := make(chan struct{})
	loopCtx, stopLoop := context.WithCancel(m.life)
	go func() {
		defer close(compacted)
		m.compactLoop(loopCtx)
	}()
	defer func() {
		stopLoop()
		<-compacted
	}()
	m.watched = make(chan struct{})
	go func() {
		defer close(m.watched) // stop waits for it: if raft has died it does not end
		m.watchLeader()
	}()

	serving := m.etcd.Server.ReadyNotify()
	for {
		select {
		case <-serving:
			serving = nil
			close(m.ready)
			m.leads.hear()                      // names may be known that were not
			m.noteHistory(2 * crowdedRevisions) // of an earlier life
			debug.FreeOSMemory()                // replaying the log has left megabytes that are never needed again
		case <-ctx.Done():
			return nil
		case err := <-m.died:
			return explain(err, nil)
		case err := <-m.etcd.Err():
			return explain(err, nil)
		case <-m.etcd.Server.StopNotify():
			select {
			case err := <-m.died:
				return explain(err, nil)
			default:
				return m.whyStopped(ctx)
			}
		}
	}
}

// stop ends etcd, or gives up after limit.
func (m *Member) stop(limit time.Duration) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if m.client != nil {
			m.client.Close()
		}
		m.etcd.Close()
		if m.watched != nil {
			<-m.watched
		}
	}()
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	select {
	case <-done:
		return nil
	case <-timeout.C:
		return fmt.Errorf("etcd has not stopped within %v: end the process; what was acknowledged is on disk", limit)
	}
}

// explain adds the sentinel that fits err, or otherwise.
func explain(err, otherwise error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		otherwise = ErrDiskFull
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		otherwise = ErrAccess
	case errors.Is(err, syscall.EADDRINUSE), errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%w (PeerListen)", err)
	}
	if otherwise == nil || errors.Is(err, otherwise) {
		return err
	}
	return fmt.Errorf("%w: %w", otherwise, err)
}
