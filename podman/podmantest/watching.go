package podmantest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"piccolo.io/piccolo/podman"
)

// patience is how long a test waits for what must come. It says nothing about speed.
const patience = 20 * time.Second

// Watching collects what Engine.Watch delivers, for tests that wait for a picture.
type Watching struct {
	mu    sync.Mutex
	all   []podman.Snapshot
	at    []time.Time
	fresh chan struct{} // capacity 1
}

// Watch starts e.Watch; it ends with the test.
func Watch(t testing.TB, e *podman.Engine) *Watching {
	t.Helper()
	w := &Watching{fresh: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		e.Watch(ctx, w.add)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return w
}

func (w *Watching) add(s podman.Snapshot) {
	w.mu.Lock()
	w.all, w.at = append(w.all, s), append(w.at, time.Now())
	w.mu.Unlock()
	select {
	case w.fresh <- struct{}{}:
	default:
	}
}

// Count is the number of snapshots so far.
func (w *Watching) Count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.all)
}

// Until waits for a snapshot, the newest or one to come, that ok accepts, and returns it with the moment of
// its delivery. what completes the sentence "waited for …".
func (w *Watching) Until(t testing.TB, what string, ok func(podman.Snapshot) bool) (podman.Snapshot, time.Time) {
	t.Helper()
	return w.since(t, max(0, w.Count()-1), what, ok)
}

// After is Until for snapshots later than the first n; Count gives n.
func (w *Watching) After(t testing.TB, n int, what string, ok func(podman.Snapshot) bool) (podman.Snapshot, time.Time) {
	t.Helper()
	return w.since(t, n, what, ok)
}

func (w *Watching) since(t testing.TB, n int, what string, ok func(podman.Snapshot) bool) (podman.Snapshot, time.Time) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		w.mu.Lock()
		for ; n < len(w.all); n++ {
			if ok(w.all[n]) {
				defer w.mu.Unlock()
				return w.all[n], w.at[n]
			}
		}
		w.mu.Unlock()
		select {
		case <-w.fresh:
		case <-deadline.C:
			t.Fatalf("waited %s for %s; %s", patience, what, w.describe())
		}
	}
}

func (w *Watching) describe() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.all) == 0 {
		return "no snapshot came"
	}
	s := w.all[len(w.all)-1]
	return fmt.Sprintf("%d snapshots came, the last: up %v, error %v, containers %+v", len(w.all), s.Up, s.Err, s.Containers)
}

// Find gives the container with the given id in s.
func Find(s podman.Snapshot, id string) (podman.Container, bool) {
	for _, c := range s.Containers {
		if c.ID == id {
			return c, true
		}
	}
	return podman.Container{}, false
}

// Sees accepts a snapshot that is up and in which the container with the given id satisfies ok.
func Sees(id string, ok func(podman.Container) bool) func(podman.Snapshot) bool {
	return func(s podman.Snapshot) bool {
		c, found := Find(s, id)
		return s.Up && found && ok(c)
	}
}

// In accepts a snapshot in which the container with the given id is in the given state.
func In(id string, state podman.State) func(podman.Snapshot) bool {
	return Sees(id, func(c podman.Container) bool { return c.State == state })
}

// Eventually waits until ok is true; what completes the sentence "waited for …".
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline, tick := time.After(patience), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited %s for %s", patience, what)
		}
	}
}
