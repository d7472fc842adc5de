package feed

import (
	"context"
	"errors"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
)

func newHub(t testing.TB, o Options) *Hub {
	t.Helper()
	h, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func subscribe(t testing.TB, h *Hub, lastID string, kinds ...string) *Subscription {
	t.Helper()
	s, err := h.Subscribe(t.Context(), kinds, lastID)
	must(t, err)
	t.Cleanup(s.Close)
	return s
}

// told renders changes in short: "put node a 1".
func told(list []Change) []string {
	var out []string
	for _, c := range list {
		out = append(out, strings.TrimSpace(strings.Join([]string{c.Type, c.Kind, c.Key, string(c.Object)}, " ")))
	}
	return out
}

func equal(t *testing.T, got, want []string) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("-want +got\n%s", d)
	}
}

func TestSnapshotIsOrderedAndComplete(t *testing.T) {
	h := newHub(t, Options{})
	must(t, h.Publish(KindContainer, "n/c", 3))
	must(t, h.Publish(KindNode, "b", 2))
	must(t, h.Publish(KindNode, "a", 1))
	must(t, h.Publish(KindNode, "gone", 1))
	must(t, h.Publish(KindNode, "gone", nil))
	must(t, h.Publish(KindTopology, "t", map[string]string{"name": "x"}))
	s := subscribe(t, h, "")
	backlog := s.Backlog()
	equal(t, told(backlog), []string{"reset", `put topology t {"name":"x"}`, "put node a 1", "put node b 2", "put container n/c 3", "synced"})
	for _, c := range backlog[:len(backlog)-1] {
		if c.ID != "" {
			t.Errorf("%s %s of a snapshot has the id %q: a reader cut here would resume in the middle", c.Type, c.Key, c.ID)
		}
	}
	if backlog[len(backlog)-1].ID != h.now().String() {
		t.Errorf("synced has the id %q, want %q", backlog[len(backlog)-1].ID, h.now())
	}
}

func TestChangesArriveWithoutDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, Options{})
		s := subscribe(t, h, "", KindNode)
		// Whatever Publish returns from is in the queue already: no timer and
		// no goroutine stands between.
		must(t, h.Publish(KindNode, "a", 1))
		must(t, h.Publish(KindContainer, "not/asked", 1))
		must(t, h.Publish(KindNode, "a", nil))
		if len(s.Changes()) != 2 {
			t.Fatalf("%d changes wait, want 2", len(s.Changes()))
		}
		equal(t, told([]Change{<-s.Changes(), <-s.Changes()}), []string{"put node a 1", "delete node a"})
	})
}

func TestEqualJSONIsNoChange(t *testing.T) {
	h := newHub(t, Options{})
	type v struct {
		A map[string]int
	}
	must(t, h.Publish(KindNode, "a", v{map[string]int{"x": 1, "y": 2}}))
	before := h.now()
	must(t, h.Publish(KindNode, "a", &v{map[string]int{"y": 2, "x": 1}}))
	must(t, h.Publish(KindNode, "never", nil))
	must(t, h.Publish(KindNode, "never", (*v)(nil)))
	if h.now() != before {
		t.Fatalf("the sequence moved from %s to %s", before, h.now())
	}
}

func TestReplace(t *testing.T) {
	h := newHub(t, Options{})
	must(t, h.Replace(KindContainer, "n1/", map[string]any{"n1/a": 1, "n1/b": 2}))
	must(t, h.Publish(KindContainer, "n2/a", 9))
	s := subscribe(t, h, h.now().String())
	must(t, h.Replace(KindContainer, "n1/", map[string]any{"n1/b": 2, "n1/c": 3}))
	equal(t, told([]Change{<-s.Changes(), <-s.Changes()}), []string{"delete container n1/a", "put container n1/c 3"})
	must(t, h.Replace(KindContainer, "n1/", nil))
	equal(t, told([]Change{<-s.Changes(), <-s.Changes()}), []string{"delete container n1/b", "delete container n1/c"})
	before := h.now()
	if err := h.Replace(KindContainer, "n1/", map[string]any{"n1/z": 1, "n2/a": 1}); err == nil {
		t.Error("a key outside the prefix was accepted")
	}
	if err := h.Replace(KindContainer, "n1/", map[string]any{"n1/a": 1, "n1/z": math.NaN()}); err == nil {
		t.Error("a value without JSON was accepted")
	}
	if h.now() != before {
		t.Error("a refused Replace changed something")
	}
}

func TestRefusals(t *testing.T) {
	h := newHub(t, Options{MaxSubscribers: 1})
	for name, err := range map[string]error{
		"publish unknown": h.Publish("nodes", "a", 1),
		"publish event":   h.Publish(KindEvent, "a", 1),
		"replace event":   h.Replace(KindEvent, "", nil),
		"watch unknown":   func() error { _, err := h.Subscribe(t.Context(), []string{"nodes"}, ""); return err }(),
	} {
		if !errors.Is(err, ErrKind) {
			t.Errorf("%s: %v, want ErrKind", name, err)
		}
	}
	if err := h.Publish(KindNode, "a", math.Inf(1)); err == nil {
		t.Error("infinity was published")
	}
	if err := h.Log(nil); err == nil {
		t.Error("a nil event was logged")
	}
	first := subscribe(t, h, "")
	if _, err := h.Subscribe(t.Context(), nil, ""); !errors.Is(err, ErrFull) {
		t.Errorf("second watcher: %v, want ErrFull", err)
	}
	first.Close()
	subscribe(t, h, "")
	if _, err := New(Options{Queue: -1}); err == nil || !strings.Contains(err.Error(), "Queue") {
		t.Errorf("negative queue: %v, want an error that names Queue", err)
	}
}

func TestSlowReaderIsCut(t *testing.T) {
	h := newHub(t, Options{Queue: 4})
	slow := subscribe(t, h, "")
	quick := subscribe(t, h, "")
	for i := range 5 {
		must(t, h.Publish(KindNode, "a", i))
		<-quick.Changes()
	}
	n := 0
	for range slow.Changes() {
		n++
	}
	if n != 4 {
		t.Errorf("the slow reader still got %d changes, want the 4 of its queue", n)
	}
	if !errors.Is(slow.Err(), ErrSlow) {
		t.Errorf("reason %v, want ErrSlow", slow.Err())
	}
	must(t, h.Publish(KindNode, "a", "x"))
	if c := <-quick.Changes(); string(c.Object) != `"x"` {
		t.Errorf("the quick reader got %v", c)
	}
}

func TestEndings(t *testing.T) {
	h := newHub(t, Options{})
	ctx, cancel := context.WithCancelCause(t.Context())
	s, err := h.Subscribe(ctx, nil, "")
	must(t, err)
	why := errors.New("the client is gone")
	cancel(why)
	if _, open := <-s.Changes(); open || !errors.Is(s.Err(), why) {
		t.Errorf("after the context ended: open %v, error %v", open, s.Err())
	}
	s.Close()
	s = subscribe(t, h, "")
	h.Close()
	if _, open := <-s.Changes(); open || !errors.Is(s.Err(), ErrClosed) {
		t.Errorf("after Close: open %v, error %v", open, s.Err())
	}
	if _, err := h.Subscribe(t.Context(), nil, ""); !errors.Is(err, ErrClosed) {
		t.Errorf("subscribe to a closed hub: %v", err)
	}
	must(t, h.Publish(KindNode, "a", 1))
	h.Close()
}

func TestManyAtOnce(t *testing.T) {
	h := newHub(t, Options{Queue: 10_000})
	s := subscribe(t, h, "")
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 200 {
				_ = h.Publish(KindNode, string(rune('a'+i)), j)
				_ = h.Log(j)
				if j%50 == 0 {
					x, err := h.Subscribe(t.Context(), nil, h.newest())
					if err != nil {
						t.Error(err)
						return
					}
					x.Close()
				}
			}
		})
	}
	wg.Wait()
	last := position{}
	for range 4 * 200 * 2 {
		p, err := parseID((<-s.Changes()).ID)
		must(t, err)
		if p.seq != last.seq+1 {
			t.Fatalf("change %d came after %d", p.seq, last.seq)
		}
		last = p
	}
}

// newest reads the newest id under the lock.
func (h *Hub) newest() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now().String()
}
