package gossip

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

const (
	// lateness is how late this machine's own timers may be before it doubts itself.
	lateness = 50 * time.Millisecond
	// maxLate bounds how many steps of one question may be spoilt by that.
	maxLate = 20
	// maxRelays bounds the questions that are put for others at one time, and maxRelay each one's time.
	maxRelays = 16
	maxRelay  = 5 * time.Second
)

// What a message is about.
const (
	kindHere   = "here"   // are you there?
	kindReach  = "reach"  // do you reach About at At? The answer comes by the end of Within.
	kindSilent = "silent" // From has not heard About
	kindYes    = "yes"
	kindNo     = "no"
)

// message is a question to one node, or the answer to it with the same Seq. Unknown fields are passed over.
type message struct {
	Seq    uint64         `json:"q"`
	Kind   string         `json:"k"`
	To     string         `json:"t,omitempty"`
	From   string         `json:"f,omitempty"`
	About  string         `json:"a,omitempty"`
	At     netip.AddrPort `json:"p,omitzero"`
	Within time.Duration  `json:"w,omitempty"` // nanoseconds
}

func (q message) encode() []byte {
	b, _ := json.Marshal(q) // strings and numbers only: cannot fail
	return b
}

// decodeMessage reads what another node sent and checks its names.
func decodeMessage(b []byte) (message, bool) {
	var q message
	if len(b) > maxNote || json.Unmarshal(b, &q) != nil {
		return message{}, false
	}
	switch q.Kind {
	case kindYes, kindNo:
		return q, true
	case kindHere:
		return q, checkID(q.To) == nil
	case kindSilent:
		return q, checkID(q.To) == nil && checkID(q.From) == nil && checkID(q.About) == nil
	case kindReach:
		return q, checkID(q.To) == nil && checkID(q.About) == nil && checkAddr(q.At, false) == nil
	}
	return message{}, false
}

// errStalled says that this machine itself was too late to judge anybody.
var errStalled = errors.New("this machine itself was stalled")

// asking is how a question is put: again and again until it is answered, or until span is over. Time in which this
// machine was late itself doesn't count towards span: after a stall the others get to answer first.
type asking struct{ every, span time.Duration }

// questions are those of this node that wait for an answer.
type questions struct {
	mu      sync.Mutex
	next    uint64
	waiting map[uint64]chan bool // capacity 1
}

func newQuestions() *questions {
	return &questions{next: rand.Uint64(), waiting: map[uint64]chan bool{}}
}

func (a *questions) open() (uint64, <-chan bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.next++
	c := make(chan bool, 1)
	a.waiting[a.next] = c
	return a.next, c
}

func (a *questions) close(seq uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.waiting, seq)
}

func (a *questions) answered(seq uint64, yes bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case a.waiting[seq] <- yes:
	default: // nobody waits, or the answer came twice
	}
}

// ask puts a question to the node at an address and gives its answer. Otherwise the error is [ErrUnreachable],
// [ErrNoPath], errStalled or ctx's.
func (m *Mesh) ask(ctx context.Context, r *running, to netip.AddrPort, q message, how asking) (bool, error) {
	var answer <-chan bool
	q.Seq, answer = m.questions.open()
	defer m.questions.close(q.Seq)
	content := q.encode()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var failed error
	for left, late := how.span, 0; left > 0; {
		step, began := min(how.every, left), time.Now()
		failed = r.wire.send(to, content)
		timer.Reset(step)
		select {
		case yes := <-answer:
			return yes, nil
		case <-timer.C:
		case <-ctx.Done():
			return false, ctx.Err()
		case <-r.wire.ctx.Done():
			return false, ErrNotRunning
		}
		switch {
		case time.Since(began)-step <= max(lateness, how.every):
			left -= step
		case late == maxLate:
			return false, errStalled
		default:
			late++
		}
	}
	select {
	case yes := <-answer: // just now
		return yes, nil
	default:
		return false, unanswered(failed)
	}
}

// unanswered tells why there was no answer: err is the last one of sending.
func unanswered(err error) error {
	for _, own := range []error{syscall.ENETUNREACH, syscall.ENETDOWN, syscall.EADDRNOTAVAIL, syscall.EPERM} {
		if errors.Is(err, own) {
			return fmt.Errorf("%w: %w", ErrNoPath, err)
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return ErrUnreachable
}

// here asks the node id whether it is there.
func (m *Mesh) here(ctx context.Context, r *running, id string, at netip.AddrPort, how asking) error {
	_, err := m.ask(ctx, r, at, message{Kind: kindHere, To: id}, how)
	return err
}

// hear takes a message in. It answers at the address that the question came from, whoever asks: no one is known before
// joining, and a node may have moved.
func (m *Mesh) hear(r *running, q message, from netip.AddrPort) {
	switch {
	case q.Kind == kindYes || q.Kind == kindNo:
		m.questions.answered(q.Seq, q.Kind == kindYes)
	case q.To != m.opts.ID:
	case q.Kind == kindHere:
		r.answer(from, q, kindYes)
	case q.Kind == kindSilent:
		r.answer(from, q, kindYes)
		m.observer.report(q.About, q.From, q.Seq)
	case q.Kind == kindReach:
		m.relay(r, q, from)
	}
}

// answer sends an answer. One that is lost is asked for again.
func (r *running) answer(to netip.AddrPort, q message, kind string) {
	_ = r.wire.send(to, message{Seq: q.Seq, Kind: kind}.encode())
}

// relay asks another node for the one that asks. While it does, repetitions of the question are passed over; one that
// comes later is a new question.
func (m *Mesh) relay(r *running, q message, from netip.AddrPort) {
	span := min(max(q.Within, 0), maxRelay)
	end, ok := r.relays.begin(q.Seq)
	if !ok {
		return
	}
	r.wg.Go(func() {
		defer end()
		switch err := m.here(r.wire.ctx, r, q.About, plain(q.At), asking{span / reachTries, span}); {
		case err == nil:
			r.answer(from, q, kindYes)
		case errors.Is(err, ErrUnreachable): // and not because of this machine
			r.answer(from, q, kindNo)
		}
	})
}

// relays are the questions that are under way for others.
type relays struct {
	mu  sync.Mutex
	now map[uint64]struct{}
}

func (a *relays) begin(seq uint64) (end func(), ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, busy := a.now[seq]; busy || len(a.now) >= maxRelays {
		return nil, false
	}
	a.now[seq] = struct{}{}
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.now, seq)
	}, true
}
