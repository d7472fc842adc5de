package runtest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder is a test whose failure is looked at.
type recorder struct {
	testing.TB
	said     string
	cleanups []func()
}

func (r *recorder) Helper()                           {}
func (r *recorder) Cleanup(f func())                  { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Errorf(format string, args ...any) { r.said += fmt.Sprintf(format, args...) }
func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

// run is what a test with this body says and the time that it takes, its
// cleanups included.
func run(body func(testing.TB)) (said string, took time.Duration) {
	r, began, done := &recorder{}, time.Now(), make(chan struct{})
	go func() {
		defer close(done)
		body(r)
	}()
	<-done
	for _, f := range r.cleanups {
		f()
	}
	return r.said, time.Since(began)
}

func TestEventually(t *testing.T) {
	for name, tt := range map[string]struct {
		after time.Duration
		says  string
		took  time.Duration
	}{
		"at once":  {0, "", 0},
		"later":    {time.Second, "", time.Second},
		"too late": {time.Hour, "the lamp: not within 30s: it is dark", Patience},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				said, took := run(func(tb testing.TB) {
					Eventually(tb, "the lamp", func() string {
						if time.Since(began) >= tt.after {
							return ""
						}
						return "it is dark"
					})
				})
				if said != tt.says || took != tt.took {
					t.Errorf("%q after %s, want %q after %s", said, took, tt.says, tt.took)
				}
			})
		})
	}
}

func TestRun(t *testing.T) {
	for name, tt := range map[string]struct {
		part func(ctx context.Context, late <-chan struct{}) error
		says string
	}{
		"stops":         {func(ctx context.Context, _ <-chan struct{}) error { <-ctx.Done(); return nil }, ""},
		"fails":         {func(context.Context, <-chan struct{}) error { return errors.New("no oil") }, "the motor ended: no oil"},
		"does not stop": {func(_ context.Context, late <-chan struct{}) error { <-late; return nil }, "the motor has not stopped after 30s"},
	} {
		for _, early := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, early %v", name, early), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					late := make(chan struct{})
					defer close(late)
					said, _ := run(func(tb testing.TB) {
						stop := Run(tb, "the motor", func(ctx context.Context) error { return tt.part(ctx, late) })
						if early {
							stop() // and once more by the cleanup, which must say nothing new
						}
					})
					if said != tt.says {
						t.Errorf("%q, want %q", said, tt.says)
					}
				})
			})
		}
	}
}
