package gossip

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"
)

const (
	// maxDials bounds dials at one time; a dead address holds its place until the stream limit.
	maxDials = 8
	// firstDial spreads the first dials after a change, lest all nodes call the same one at once.
	firstDial = 200 * time.Millisecond
	// redialMin is the pause after the first failed dial.
	redialMin = time.Second
	// answeredMax is the longest pause for an address that answers and yet isn't seen: this machine's own other
	// address, or a node that advertises another one.
	answeredMax = 30 * time.Second
	// answeredOften is how many such answers there may be before that holds.
	answeredOften = 5
)

// target is an address at which nobody is seen alive.
type target struct {
	pause    *backoff.ExponentialBackOff
	due      time.Time
	busy     bool
	answered int
}

// dialled is the end of one dial.
type dialled struct {
	to  netip.AddrPort
	err error
}

// redial keeps dialling until the views agree: memberlist itself never comes back to whom it has declared dead and
// forgotten. One goroutine owns the list of targets; when it is empty nothing is scheduled.
func (m *Mesh) redial(ctx context.Context, r *running) {
	targets := map[netip.AddrPort]*target{}
	done := make(chan dialled, maxDials)
	busy := 0
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.view.changed:
		case <-timer.C:
		case <-m.redialNow:
			for _, t := range targets {
				t.pause.Reset()
				t.due = time.Now()
			}
		case d := <-done:
			busy--
			m.finish(targets[d.to], d)
		}
		m.retarget(targets, m.wanted(r.wire.advertise))
		for to, t := range targets {
			if busy < maxDials && !t.busy && !time.Now().Before(t.due) && r.begin() {
				t.busy = true
				busy++
				go func() {
					defer r.end()
					done <- dialled{to, m.dial(r, to)}
				}()
			}
		}
		schedule(timer, targets, busy)
	}
}

func (m *Mesh) dial(r *running, to netip.AddrPort) error {
	m.dials.Add(1)
	n, err := r.list.Join([]string{to.String()})
	if err != nil {
		return err
	}
	m.rejoins.Add(uint64(n))
	return nil
}

// wanted gives the addresses to dial now.
func (m *Mesh) wanted(self netip.AddrPort) []netip.AddrPort {
	m.mu.Lock()
	known := slices.Clone(m.peers)
	for to, until := range m.claims {
		if time.Now().After(until) {
			delete(m.claims, to)
			continue
		}
		known = append(known, to)
	}
	m.mu.Unlock()
	return m.view.unseen(known, self)
}

// retarget brings the targets in line with the wanted addresses.
func (m *Mesh) retarget(targets map[netip.AddrPort]*target, want []netip.AddrPort) {
	for to, t := range targets {
		if !t.busy && !slices.Contains(want, to) {
			delete(targets, to)
		}
	}
	for _, to := range want {
		if targets[to] != nil {
			continue
		}
		b := backoff.NewExponentialBackOff()
		b.InitialInterval, b.MaxInterval = redialMin, m.tune.redialMax
		b.Multiplier, b.RandomizationFactor = 1.2, 0.2
		b.Reset()
		first := time.Now()
		if m.view.population() > 1 {
			first = first.Add(rand.N(firstDial))
		}
		targets[to] = &target{pause: b, due: first}
	}
}

// finish settles when a target is due again. If it was reached it will not be wanted any more.
func (m *Mesh) finish(t *target, d dialled) {
	t.busy = false
	if d.err == nil {
		t.answered++
	} else {
		m.opts.Logger.Debug("gossip: peer does not answer", "peer", d.to, "error", d.err)
	}
	if t.answered == answeredOften {
		t.pause.MaxInterval = answeredMax
	}
	t.due = time.Now().Add(t.pause.NextBackOff())
}

// schedule sets the timer to the earliest target that is due and could be dialled.
func schedule(timer *time.Timer, targets map[netip.AddrPort]*target, busy int) {
	timer.Stop()
	var next time.Time
	for _, t := range targets {
		if !t.busy && (next.IsZero() || t.due.Before(next)) {
			next = t.due
		}
	}
	if !next.IsZero() && busy < maxDials {
		timer.Reset(time.Until(next))
	}
}
