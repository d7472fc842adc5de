package gossip

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
)

var (
	// ErrRefused says that the machine answers and nobody listens on the gossip port there: the process is gone.
	ErrRefused = errors.New("gossip port refuses the connection: the process is gone")
	// ErrUnreachable says that no acknowledgement came, to this node nor to those that it asked for help.
	ErrUnreachable = errors.New("no acknowledgement")
	// ErrDegraded says that the node lives and answers others, but not this one: see [DegradedError].
	ErrDegraded = errors.New("only others reach it")
	// ErrNoPath says that this machine could not even send (no route, no carrier) or was itself stalled: it says nothing
	// of the other.
	ErrNoPath = errors.New("this machine cannot send there")
)

// DegradedError is an [ErrDegraded].
type DegradedError struct {
	By []string // who reaches the node, sorted
}

func (e *DegradedError) Error() string { return "only others reach it: " + strings.Join(e.By, ", ") }

// Is makes it an ErrDegraded.
func (e *DegradedError) Is(target error) bool { return target == ErrDegraded }

const (
	// reachTries is how often one Reach asks the node itself.
	reachTries = 10
	// maxHelpers is how many others are asked to ask it.
	maxHelpers = 3
)

// link is the tuning by which the link to a node is judged: that of the worse end.
func (m *Mesh) link(id string) tuning {
	o, ok := m.view.member(id)
	if theirs := o.Meta.Profile.tuning(); ok && theirs.silence > m.tune.silence {
		return theirs
	}
	return m.tune
}

// Reach asks the node id at addr whether it lives; nil means that it has answered just now. It works for nodes that
// are held for dead, and for ones never heard of.
//
// It asks over UDP, dials the TCP port, and asks up to 3 other living members to ask the node too, all at the same
// time, for 300 ms where both ends have the lan profile, 600 ms in wifi, 2 s in wan (the worse end's counts), during
// which this machine must not be stalled itself. Only an answer counts as life, because the kernel accepts TCP for a
// frozen process. A refused connection is a death certificate and returns [ErrRefused] at once, about one round trip.
// A process that is just dying may still accept: the connection is held, and the port is dialled again, up to 4 times
// in all, when the other side lets go of it. (A firewall that answers TCP with a reset and lets UDP pass looks the same;
// behind it no node could have joined.)
//
// Otherwise, when the time is over: [ErrDegraded] if others reach it, and then the link is among [Mesh.Links];
// [ErrUnreachable] if nobody does, whose text says who was asked and what TCP did; [ErrNoPath] if this machine is no
// witness. A node under another id at addr does not answer. ctx may shorten the time; then the error wraps its error.
func (m *Mesh) Reach(ctx context.Context, id string, addr netip.AddrPort) error {
	if err := checkID(id); err != nil {
		return fmt.Errorf("reach node %q: %w", id, err)
	}
	if err := checkAddr(addr, false); err != nil {
		return fmt.Errorf("reach node %s at %s: %w", id, addr, err)
	}
	r := m.run.Load()
	if !r.begin() {
		return fmt.Errorf("reach node %s: %w", id, ErrNotRunning)
	}
	defer r.end()
	err := m.reach(ctx, r, id, plain(addr))
	switch {
	case err == nil:
		m.reached(id)
		return nil
	case errors.Is(err, ErrDegraded):
		m.linked(id, false)
	}
	return fmt.Errorf("reach node %s at %s: %w", id, addr, err)
}

func (m *Mesh) reach(ctx context.Context, r *running, id string, addr netip.AddrPort) error {
	asking, cancel := context.WithCancel(ctx)
	defer cancel()
	asked, knocked := make(chan error, 1), make(chan error, maxKnocks)
	helped := m.askHelpers(asking, r, id, addr)
	r.wg.Go(func() { asked <- m.here(asking, r, id, addr, m.link(id).reaching()) })
	r.wg.Go(func() { r.knock(asking, addr, knocked) })
	tcp := "TCP has not answered either"
	for {
		select {
		case err := <-asked:
			return m.verdict(ctx, err, tcp, helped)
		case err := <-knocked:
			switch {
			case errors.Is(err, syscall.ECONNREFUSED):
				return acked(asked)
			case err == nil:
				tcp = "TCP connects: the process is frozen, has another id or key, or UDP is blocked"
			default:
				tcp = "TCP: " + err.Error()
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// help is what came of asking another member.
type help struct {
	by  string
	yes bool
	err error // it has not answered
}

// askHelpers asks other living members to ask the node. Each gives its outcome once, by the end of this node's own time.
func (m *Mesh) askHelpers(ctx context.Context, r *running, id string, addr netip.AddrPort) <-chan help {
	how := m.link(id).reaching()
	helpers := m.view.others(maxHelpers, id)
	out := make(chan help, len(helpers))
	for _, o := range helpers {
		r.wg.Go(func() {
			q := message{Kind: kindReach, To: o.ID, About: id, At: addr, Within: how.span * 2 / 3}
			yes, err := m.ask(ctx, r, o.Addr, q, how)
			out <- help{o.ID, yes, err}
		})
	}
	return out
}

// verdict is what follows when this node's own question is over.
func (m *Mesh) verdict(ctx context.Context, err error, tcp string, helped <-chan help) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	var reach, miss, mute []string
	for range cap(helped) {
		switch h := <-helped; {
		case h.yes:
			reach = append(reach, h.by)
		case h.err == nil:
			miss = append(miss, h.by)
		default:
			mute = append(mute, h.by)
		}
	}
	slices.Sort(reach)
	switch {
	case len(reach) > 0:
		return &DegradedError{reach}
	case errors.Is(err, errStalled):
		return fmt.Errorf("%w: %w", ErrNoPath, err)
	case m.unplugged():
		return fmt.Errorf("%w: no carrier: is the cable in?", ErrNoPath)
	case !errors.Is(err, ErrUnreachable):
		return err
	}
	return fmt.Errorf("%w; %s; asked and in vain: [%s], asked and silent: [%s]", err, tcp,
		strings.Join(miss, " "), strings.Join(mute, " "))
}

// unplugged reports whether this machine's own link is down.
func (m *Mesh) unplugged() bool {
	return m.opts.Network.Interface(m.opts.Advertise.Addr().Unmap()).Down
}

// acked gives an answer that is there already its due before the refusal.
func acked(asked <-chan error) error {
	select {
	case err := <-asked:
		if err == nil {
			return nil
		}
	default:
	}
	return ErrRefused
}

// maxKnocks bounds how often one Reach dials TCP.
const maxKnocks = 4

// knock dials the TCP port and tells each outcome. A connection that is accepted is held: a process that is just
// dying still accepts, then lets go of it, and refuses the next.
func (r *running) knock(ctx context.Context, addr netip.AddrPort, outcome chan<- error) {
	for range maxKnocks {
		c, err := r.wire.dial(ctx, addr)
		outcome <- err
		if err != nil {
			return
		}
		stop := context.AfterFunc(ctx, func() { _ = c.Close() })
		_, _ = c.Read(make([]byte, 1)) // nobody is expected to say anything: it returns when one side ends
		stop()
		_ = c.Close()
		if ctx.Err() != nil {
			return
		}
	}
}

// Probe checks that gossip with the node id at addr works both ways, before joining: it listens as o says for as
// long as one [Mesh.Reach], whose errors it returns, and joins nobody. It needs the key, so it belongs after
// enrolment; without the key a node can learn no more than that the TCP port is open.
func Probe(ctx context.Context, o Options, addr netip.AddrPort, id string) error {
	m, err := New(o)
	if err != nil {
		return fmt.Errorf("probe gossip: %w", err)
	}
	m.began.Store(true)
	r, err := m.start()
	if err != nil {
		return fmt.Errorf("probe gossip: %w", err)
	}
	defer m.stop(r)
	m.run.Store(r)
	if err := m.Reach(ctx, id, addr); err != nil {
		return fmt.Errorf("probe gossip: %w", err)
	}
	return nil
}
