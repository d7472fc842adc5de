package store

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"
	"pgregory.net/rapid"
)

// runMember is storetest.New, which tests inside the package cannot import.
func runMember(t testing.TB) *Member {
	t.Helper()
	sealer, _ := testSealer(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	m, err := New(Options{Name: "n-1", Dir: filepath.Join(t.TempDir(), "etcd"), PeerListen: addr, Sealer: sealer,
		Logger: slog.New(slog.DiscardHandler), Heartbeat: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-m.Ready():
	case <-time.After(30 * time.Second):
		t.Fatal("not ready after 30 s")
	}
	return m
}

// gate breaks a follower's watch and keeps it broken while it is shut.
type gate struct {
	mu     sync.Mutex
	cancel context.CancelFunc // of the watch that is open
	opened chan struct{}      // closed while the gate is open
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.opened = make(chan struct{})
	if g.cancel != nil {
		g.cancel()
	}
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.opened)
}

func (g *gate) watch(c *Collection[int]) func(context.Context, int64) clientv3.WatchChan {
	return func(ctx context.Context, rev int64) clientv3.WatchChan {
		for {
			g.mu.Lock()
			opened := g.opened
			select {
			case <-opened:
				ctx, g.cancel = context.WithCancel(ctx)
				ch := c.watch(ctx, rev)
				g.mu.Unlock()
				return ch
			default:
			}
			g.mu.Unlock()
			select {
			case <-opened:
			case <-ctx.Done():
				return c.watch(ctx, rev)
			}
		}
	}
}

// view is what a consumer makes of batches.
type view struct {
	mu      sync.Mutex
	records map[string]Record[int]
	rev     int64
	resets  int
	changed chan struct{}
}

func (v *view) apply(b Batch[int]) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if b.Revision < v.rev || len(b.Unreadable) > 0 {
		return errors.New("a batch goes backwards, or has unreadable records")
	}
	v.rev = b.Revision
	if b.Reset {
		v.records = map[string]Record[int]{}
		v.resets++
	}
	for _, r := range b.Puts {
		v.records[r.Key] = r
	}
	for _, k := range b.Deletes {
		delete(v.records, k)
	}
	select {
	case v.changed <- struct{}{}:
	default:
	}
	return nil
}

// waitFor waits until the view equals want.
func (v *view) waitFor(want map[string]Record[int]) string {
	deadline := time.After(30 * time.Second)
	for {
		v.mu.Lock()
		diff := cmp.Diff(want, v.records)
		v.mu.Unlock()
		if diff == "" {
			return ""
		}
		select {
		case <-v.changed:
		case <-deadline:
			return diff
		}
	}
}

// TestFollowModel: after any mixture of writes, broken watches and compactions, a
// follower's view becomes what is in the store, revisions and leases included.
func TestFollowModel(t *testing.T) {
	m := runMember(t)
	ctx := context.Background()
	resets, cases := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		cases++
		c := NewCollection[int](m, rapid.StringMatching(`[a-z]{12}`).Draw(rt, "prefix"), "number")
		g := &gate{opened: make(chan struct{})}
		close(g.opened)
		v := &view{changed: make(chan struct{}, 1)}
		f := follower[int]{c: c, fn: v.apply, watch: g.watch(c)}
		fctx, cancel := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() { ended <- f.run(fctx) }()

		shut := false
		key := rapid.SampledFrom([]string{"a", "b", "c/d"})
		steps := rapid.IntRange(1, 30).Draw(rt, "steps")
		for range steps {
			switch rapid.SampledFrom([]string{"put", "put", "put", "delete", "txn", "gate", "compact"}).Draw(rt, "step") {
			case "put":
				if _, _, err := c.Put(ctx, key.Draw(rt, "key"), rapid.IntRange(0, 3).Draw(rt, "value")); err != nil {
					rt.Fatal(err)
				}
			case "delete":
				if err := c.Delete(ctx, key.Draw(rt, "key"), AnyRevision); err != nil && !errors.Is(err, ErrNotFound) {
					rt.Fatal(err)
				}
			case "txn":
				_, err := m.Commit(ctx, c.OpDelete("a", AnyRevision), c.OpUpdate("b", AnyRevision, 7), c.OpCheck("c/d", 0))
				if err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrExists) {
					rt.Fatal(err)
				}
			case "gate":
				if shut = !shut; shut {
					g.shut()
				} else {
					g.open()
				}
			case "compact":
				if rev := m.etcd.Server.KV().Rev(); rev > m.etcd.Server.KV().FirstRev() {
					if _, err := m.client.Compact(ctx, rev); err != nil {
						rt.Fatal(err)
					}
				}
			}
		}
		if shut {
			g.open()
		}
		list, _, err := c.List(ctx)
		if err != nil {
			rt.Fatal(err)
		}
		want := map[string]Record[int]{}
		for _, r := range list {
			want[r.Key] = r
		}
		diff := v.waitFor(want)
		cancel()
		if err := <-ended; err != nil {
			rt.Fatal(err)
		}
		if diff != "" {
			rt.Fatalf("the view differs (-store +view):\n%s", diff)
		}
		resets += v.resets
	})
	if resets <= cases {
		t.Errorf("%d resets in %d cases: no compaction met a broken watch", resets, cases)
	}
}
