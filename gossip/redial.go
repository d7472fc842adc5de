package gossip

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

const (
	// maxDials bounds dials at one time; a dead address holds its place for a second.
	maxDials = 16
	// firstDial spreads the first dials after a change, lest all nodes call the same one at once.
	firstDial = 200 * time.Millisecond
	// redialEvery is the time between the beginnings of two dials, give or take a tenth: views agree again soon after a
	// cut, however long it has lasted.
	redialEvery = time.Second
	// answeredEvery is the same for an address that answers and yet isn't seen: this machine's own other address, or
	// a node that advertises another one.
	answeredEvery = 30 * time.Second
	// answeredOften is how many such answers there may be before that holds.
	answeredOften = 5
)

// target is an address at which nobody is seen alive.
type target struct {
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
				t.answered, t.due = 0, time.Now()
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
				t.due = t.again()
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
		first := time.Now()
		if m.view.population() > 1 {
			first = first.Add(rand.N(firstDial))
		}
		targets[to] = &target{due: first}
	}
}

// finish takes in the end of a dial. If the target was reached it will not be wanted any more.
func (m *Mesh) finish(t *target, d dialled) {
	t.busy = false
	if d.err != nil {
		m.opts.Logger.Debug("gossip: peer does not answer", "peer", d.to, "error", d.err)
		return
	}
	if t.answered++; t.answered >= answeredOften {
		t.due = time.Now().Add(answeredEvery)
	}
}

// again is when a dial that begins now is followed by the next.
func (t *target) again() time.Time {
	return time.Now().Add(redialEvery*9/10 + rand.N(redialEvery/5))
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
