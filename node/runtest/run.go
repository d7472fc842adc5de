package runtest

import (
	"context"
	"sync"
	"testing"
	"time"
)

// Patience is how long anything may take on a busy machine before a test
// fails. It is no measure of speed.
const Patience = 30 * time.Second

// Eventually tries until problem is empty, and fails the test with what it was
// last when Patience is over. What names the thing that is waited for.
func Eventually(t testing.TB, what string, problem func() string) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(Patience)
	for last := problem(); last != ""; last = problem() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not within %s: %s", what, Patience, last)
		}
	}
}

// Run runs a part, called name, until the test ends or stop is called. The
// test fails when the part returns an error, or has not stopped Patience after
// it was told to.
func Run(t testing.TB, name string, part func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- part(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("%s ended: %v", name, err)
			}
		case <-time.After(Patience):
			t.Errorf("%s has not stopped after %s", name, Patience)
		}
	})
	t.Cleanup(stop)
	return stop
}
