package node

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"piccolo.io/piccolo/node/api"
)

// TestTenure: what a node does as a member ends with its tenure, in an orderly
// way and waited for, and the daemon goes on.
func TestTenure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, tenure := newStages(), newTenure()
		var log []string
		part := func(ctx context.Context) error {
			<-ctx.Done()
			log = append(log, "goodbye")
			return nil
		}
		s.start("gossip", tenure.during(part))
		synctest.Wait()
		if len(log) > 0 {
			t.Fatal("it ended at once")
		}
		tenure.depart(t.Context())
		if !slices.Equal(log, []string{"goodbye"}) {
			t.Errorf("after the tenure: %v", log)
		}
		tenure.end() // again
		synctest.Wait()
		select {
		case <-s.ended:
			t.Error("the daemon has ended with it")
		default:
		}
		if err := s.finish(); err != nil {
			t.Error(err)
		}
	})
}

// TestTenureEndsWithTheDaemon, and a part that fails ends it, in the tenure and
// at its end.
func TestTenureEndsWithTheDaemon(t *testing.T) {
	t.Parallel()
	fails := func(ctx context.Context) error {
		<-ctx.Done()
		return errors.New("no way out")
	}
	synctest.Test(t, func(t *testing.T) {
		s, tenure := newStages(), newTenure()
		s.start("a", tenure.during(fails))
		if err := s.finish(); err == nil || !strings.Contains(err.Error(), "a: no way out") {
			t.Errorf("%v", err)
		}
		s, tenure = newStages(), newTenure()
		s.start("b", tenure.during(fails))
		s.start("c", tenure.during(func(context.Context) error { return errors.New("cannot listen") }))
		<-s.ended
		tenure.depart(t.Context())
		if err := s.finish(); err == nil || !strings.Contains(err.Error(), "c: cannot listen") {
			t.Errorf("%v", err)
		}
	})
}

// TestWatchSilence: pings that come keep the doubt away, however long; their
// end raises it after silenceLimit, and again while nobody answers.
func TestWatchSilence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var last atomic.Pointer[time.Time]
		var doubts atomic.Int32
		ping := func() {
			now := time.Now()
			last.Store(&now)
		}
		ping()
		go watchSilence(ctx, func() time.Duration { return time.Since(*last.Load()) }, func() { doubts.Add(1) })
		expect := func(want int32, when string) {
			t.Helper()
			synctest.Wait()
			if got := doubts.Load(); got != want {
				t.Errorf("%d doubts %s, not %d", got, when, want)
			}
		}
		for range 100 {
			time.Sleep(api.SignOfLife)
			ping()
		}
		expect(0, "while the master pings")
		time.Sleep(silenceLimit - time.Millisecond)
		expect(0, "just before the limit")
		time.Sleep(2 * time.Millisecond)
		expect(1, "at the limit")
		time.Sleep(2 * silenceLimit)
		expect(3, "while nobody answers")
	})
}
