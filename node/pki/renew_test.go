package pki

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// renewal is a node in a bubble of its own time, whose wall clock the test can
// shift against it.
type renewal struct {
	t       *testing.T
	ca      *CA
	source  *Source
	renewer *Renewer
	life    time.Duration
	stop    func()

	mu    sync.Mutex
	shift time.Duration // of the node's wall clock
	fail  error         // what the master answers
	asked []time.Time
}

func (r *renewal) setShift(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.shift = d
}

func (r *renewal) setFail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = err
}

func (r *renewal) attempts() []time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.asked)
}

func startRenewal(t *testing.T, life time.Duration) *renewal {
	t.Helper()
	master := newClock(t, nil)
	ca := newCA(t, "home", master)
	r := &renewal{t: t, ca: ca, life: life}
	p := subProfile
	p.Lifetime = life
	id := newNode(t, ca, p)
	// The bubble's time begins in 2000; the node's wall follows the floor.
	clock := newClock(t, func() time.Time {
		r.mu.Lock()
		defer r.mu.Unlock()
		return master.Now().Add(r.shift)
	})
	r.source = newSource(t, id, clock)
	var err error
	r.renewer, err = NewRenewer(RenewerOptions{Source: r.source, Clock: clock, Renew: r.sign})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.renewer.Run(ctx) }()
	r.stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run ended with %v", err)
		}
	}
	return r
}

func (r *renewal) sign(_ context.Context, csr []byte) ([]byte, error) {
	r.mu.Lock()
	r.asked = append(r.asked, time.Now())
	fail := r.fail
	r.mu.Unlock()
	if fail != nil {
		return nil, fail
	}
	id, err := ParseCSR(csr)
	if err != nil {
		return nil, err
	}
	issued, err := r.ca.SignNode(csr, NodeProfile{ID: id, Role: subProfile.Role, Lifetime: r.life})
	return issued.ChainPEM, err
}

// pass lets time go by and returns how many renewals were asked for in it.
func (r *renewal) pass(d time.Duration) int {
	before := len(r.attempts())
	time.Sleep(d)
	synctest.Wait()
	return len(r.attempts()) - before
}

func TestRenewsAtTwoThirds(t *testing.T) {
	for _, life := range []time.Duration{time.Minute, time.Hour, DefaultLifetime} {
		t.Run(life.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := startRenewal(t, life)
				defer r.stop()
				first := serialHex(r.source.Current())
				if n := r.pass(life / 2); n != 0 {
					t.Errorf("%d renewals in the first half", n)
				}
				if n := r.pass(life / 5); n != 1 || serialHex(r.source.Current()) == first {
					t.Errorf("%d renewals by 70 %% of the life", n)
				}
				if n := r.pass(6 * life); n < 8 || n > 11 {
					t.Errorf("%d renewals in six lives, want about 9", n)
				}
				back, err := LoadIdentity(r.source.identity.dir)
				if err != nil || !back.Certificate().Equal(r.source.Current()) {
					t.Errorf("the certificate in use is not the one on disk: %v", err)
				}
			})
		})
	}
}

func TestFailuresAreRepeatedWithPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRenewal(t, DefaultLifetime)
		defer r.stop()
		r.setFail(errors.New("no master"))
		r.pass(61 * 24 * time.Hour)
		asked := r.attempts()
		if n := len(asked); n < 10 || n > 90 {
			t.Errorf("%d attempts in a bad day", n)
		}
		for i, at := range asked[1:] {
			if d := at.Sub(asked[i]); d < 20*time.Second || d > 2*time.Hour {
				t.Errorf("a pause of %v after attempt %d", d, i)
			}
		}
		r.setFail(nil)
		if n := r.pass(2 * time.Hour); n != 1 {
			t.Errorf("%d renewals after the master's return", n)
		}
	})
}

func TestClockStepsNeitherLoopNorForget(t *testing.T) {
	const day = 24 * time.Hour
	synctest.Test(t, func(t *testing.T) {
		r := startRenewal(t, DefaultLifetime)
		defer r.stop()
		r.pass(10 * day)
		r.setShift(70 * 365 * day) // 2099: due at once, then not again and again
		if n := r.pass(2 * time.Hour); n != 1 {
			t.Errorf("%d renewals after the clock went far ahead", n)
		}
		if n := r.pass(29 * day); n != 0 {
			t.Errorf("%d renewals in the month after it", n)
		}
		if n := r.pass(90 * day); n < 2 || n > 4 {
			t.Errorf("%d renewals in three months of a clock that is ahead", n)
		}
		r.setShift(-50 * 365 * day) // 1970: the floor goes on, and it renews in time
		for range 12 {
			r.pass(20 * day)
			if left := r.source.Current().NotAfter.Sub(r.ca.clock.Now()); left < 20*day {
				t.Fatalf("the certificate has only %v left", left)
			}
		}
		r.setShift(0)
		if n := r.pass(60 * day); n != 1 {
			t.Errorf("%d renewals in 60 days after the clock was set right", n)
		}
	})
}

func TestKick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRenewal(t, DefaultLifetime)
		defer r.stop()
		for range 5 {
			r.renewer.Kick()
		}
		r.pass(time.Second)
		if n := len(r.attempts()); n < 1 || n > 2 { // a kick during the first attempt makes a second one later
			t.Errorf("%d renewals after several kicks", n)
		}
		r.pass(5 * time.Minute)
		r.renewer.Kick()
		synctest.Wait()
		r.renewer.Kick()
		if n := r.pass(10 * time.Second); n != 0 {
			t.Errorf("%d renewals right after one", n)
		}
		if n := r.pass(2 * time.Minute); n != 1 {
			t.Errorf("%d renewals after a later kick", n)
		}
		r.setFail(errors.New("no master"))
		r.renewer.Kick()
		if n := r.pass(3 * time.Hour); n < 3 {
			t.Errorf("a kick that failed was tried %d times", n)
		}
		r.setFail(nil)
		if n := r.pass(2 * time.Hour); n != 1 {
			t.Errorf("%d renewals after the master's return", n)
		}
	})
}

func TestRenewerOptions(t *testing.T) {
	clock := newClock(t, nil)
	source := newSource(t, newNode(t, newCA(t, "home", clock), subProfile), clock)
	renew := func(context.Context, []byte) ([]byte, error) { return nil, nil }
	for name, o := range map[string]RenewerOptions{
		"source":  {Clock: clock, Renew: renew},
		"clock":   {Source: source, Renew: renew},
		"renew":   {Source: source, Clock: clock},
		"timeout": {Source: source, Clock: clock, Renew: renew, Timeout: -1},
	} {
		if _, err := NewRenewer(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
