package gossip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/hashicorp/memberlist"
)

var (
	// ErrRefused says that the machine answers and nobody listens on the gossip port there: the process is gone.
	ErrRefused = errors.New("gossip port refuses the connection: the process is gone")
	// ErrUnreachable says that no acknowledgement came.
	ErrUnreachable = errors.New("no acknowledgement")
	// ErrNoPath says that this machine could not even send (no route, link down): it says nothing of the other.
	ErrNoPath = errors.New("this machine cannot send there")
)

// Reach asks the node id at addr whether it lives; nil means that it has answered just now. It works for nodes that
// are held for dead, and for ones never heard of.
//
// It pings over UDP (4 times 75 ms in the lan profile, 2 times 200 ms in wifi, 2 times 600 ms in wan) and dials the
// TCP port at the same time. Only the ping's acknowledgement counts as life, because the kernel accepts TCP for a
// frozen process; a refused connection is a death certificate and returns [ErrRefused] at once, about one round
// trip. A process that is just dying may still accept: the connection is held, and the port is dialled again, up to
// 4 times in all, when the other side lets go of it. (A firewall that answers TCP with a reset and lets UDP pass looks the same; behind it no node could have
// joined.) Otherwise [ErrUnreachable], whose text says what TCP did, or [ErrNoPath]. A node under another id at addr
// does not acknowledge. ctx may shorten the time; then the error wraps its error.
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
	if err := m.reach(ctx, r, id, plain(addr)); err != nil {
		return fmt.Errorf("reach node %s at %s: %w", id, addr, err)
	}
	return nil
}

func (m *Mesh) reach(ctx context.Context, r *running, id string, addr netip.AddrPort) error {
	asking, cancel := context.WithCancel(ctx)
	defer cancel()
	pinged, knocked := make(chan error, 1), make(chan error, maxKnocks)
	r.wg.Go(func() { pinged <- m.ping(asking, r, id, addr) })
	r.wg.Go(func() { r.knock(asking, addr, knocked) })
	tcp := "TCP has not answered either"
	for {
		select {
		case err := <-pinged:
			if err != nil && ctx.Err() == nil {
				return fmt.Errorf("%w; %s", err, tcp)
			}
			return err
		case err := <-knocked:
			switch {
			case errors.Is(err, syscall.ECONNREFUSED):
				return acked(pinged)
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

// acked gives an acknowledgement that is there already its due before the refusal.
func acked(pinged <-chan error) error {
	select {
	case err := <-pinged:
		if err == nil {
			return nil
		}
	default:
	}
	return ErrRefused
}

// ping tries until an acknowledgement comes, each try lasting one probe timeout. After ctx it ends with the try
// that is under way.
func (m *Mesh) ping(ctx context.Context, r *running, id string, addr netip.AddrPort) error {
	to := net.UDPAddrFromAddrPort(addr)
	var last error
	for range m.tune.reachTries() {
		began := time.Now()
		_, last = r.list.Ping(id, to)
		if last == nil {
			return nil
		}
		// An error of sending comes at once: keep the pace, the next one may go out.
		rest := time.NewTimer(m.tune.timeout - time.Since(began))
		select {
		case <-rest.C:
		case <-ctx.Done():
			rest.Stop()
			return ctx.Err()
		}
	}
	if _, silent := errors.AsType[memberlist.NoPingResponseError](last); silent {
		return ErrUnreachable
	}
	for _, own := range []error{syscall.ENETUNREACH, syscall.ENETDOWN, syscall.EADDRNOTAVAIL, syscall.EPERM} {
		if errors.Is(last, own) {
			return fmt.Errorf("%w: %w", ErrNoPath, last)
		}
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, last)
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
	// A ping takes waiting news along, and the first news is that we are here: whoever hears it lists us. Having
	// left, the news is that a node is gone which nobody knows, and that is passed over.
	if err := r.list.Leave(leaveLimit); err != nil {
		return fmt.Errorf("probe gossip: %w", err)
	}
	m.run.Store(r)
	if err := m.Reach(ctx, id, addr); err != nil {
		return fmt.Errorf("probe gossip: %w", err)
	}
	return nil
}
