package store_test

import (
	"context"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"piccolo.io/piccolo/store"
)

// TestMain runs the tests, or, in a process that a test has started, what
// PICCOLO_TEST_CHILD names: deaths of etcd leave goroutines and locks behind.
func TestMain(m *testing.M) {
	if name := os.Getenv(childEnv); name != "" {
		os.Exit(runChild(name))
	}
	goleak.VerifyTestMain(patient{m})
}

// patient lets connections between two members end before leaks are looked for:
// etcd's read deadline of 5 s can win over the server's wish to close one.
type patient struct{ m *testing.M }

func (p patient) Run() int {
	code := p.m.Run()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if goleak.Find() == nil { // waits a little itself
			break
		}
	}
	return code
}

// fruit is the value of most tests.
type fruit struct {
	Name  string `json:"name"`
	Count int    `json:"count"`
}

func fruits(m *store.Member) *store.Collection[fruit] {
	return store.NewCollection[fruit](m, "fruits", "fruit")
}

// eventually waits until ok, and fails with what did not become true.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func bg() context.Context { return context.Background() }
