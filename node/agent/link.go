package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"

	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/topology"
)

const (
	// callTimeout bounds one call to a master.
	callTimeout = 5 * time.Second
	// doubtTimeout bounds the call that finds out whether a master still lives.
	doubtTimeout = 700 * time.Millisecond
	// retryMin and retryMax bound the pause between two attempts to reach a
	// master. Pauses have jitter, so that boards that come back together do
	// not knock together.
	retryMin = 100 * time.Millisecond
	retryMax = 2 * time.Second
	// maxAnswers that wait to be sent up; one more is dropped, and whoever
	// asked gives up by its own deadline.
	maxAnswers = 16
)

// errDoubt ends a session whose master did not answer in time.
var errDoubt = errors.New("the master does not answer")

// stayConnected keeps one session with one master, whichever can be reached.
func (a *Agent) stayConnected(ctx context.Context) error {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval, pause.RandomizationFactor = retryMin, retryMax, 0.3
	for turn := 0; ; turn++ {
		masters := a.masters()
		err := errors.New("no master is known")
		if len(masters) > 0 {
			began := time.Now()
			err = a.session(ctx, masters[turn%len(masters)])
			if time.Since(began) > retryMax {
				pause.Reset()
			}
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, topology.ErrRemoved):
			a.stand(ModeRemoved, "", err)
			a.o.OnRemoved(a.Standing().Reason)
			return nil
		}
		a.stand(ModeOffline, "", err)
		if len(masters) > 0 && (turn+1)%len(masters) != 0 {
			continue // the next one may be well
		}
		select {
		case <-time.After(pause.NextBackOff()):
		case <-a.wake.connect:
		case <-ctx.Done():
			return nil
		}
	}
}

// masters to try, those of the view first.
func (a *Agent) masters() []string {
	if a.o.Identity.Role == topology.RoleMaster {
		return a.o.Masters // itself
	}
	out := a.View().Masters()
	for _, m := range a.o.Masters {
		if !slices.Contains(out, m) {
			out = append(out, m)
		}
	}
	return out
}

// session is one connection from dial to end.
func (a *Agent) session(ctx context.Context, master string) error {
	dialCtx, cancel := context.WithTimeout(ctx, callTimeout)
	link, own, err := a.o.Connect(dialCtx, master)
	cancel()
	if err != nil {
		return err
	}
	defer func() {
		if err := link.Close(); err != nil {
			a.o.Logger.Debug("close connection", "master", master, "error", err)
		}
	}()
	if a.o.Identity.Advertise != "" {
		own = a.o.Identity.Advertise
	}
	g, ctx := errgroup.WithContext(ctx)
	s := &session{a: a, link: link, master: master, attached: make(chan struct{}), removed: make(chan struct{}, 1), answers: make(chan workload.Answer, maxAnswers)}
	g.Go(func() error {
		err := link.Attach(ctx, a.hello(own), func(n workload.Notice) { s.notice(ctx, n) }, s.answers)
		if err == nil && ctx.Err() == nil {
			err = errors.New("the master ended the session")
		}
		return err
	})
	g.Go(func() error { // the end of the session tells the master that this node has let go
		select {
		case <-s.removed:
			return topology.ErrRemoved
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	g.Go(func() error { return s.heartbeats(ctx) })
	g.Go(func() error { return s.doubts(ctx) })
	g.Go(func() error { return s.reports(ctx) })
	g.Go(func() error { return s.plans(ctx) })
	err = g.Wait()
	s.asked.Wait()
	return fmt.Errorf("session with master %s: %w", master, err)
}

func (a *Agent) hello(own string) workload.Hello {
	i := a.o.Identity
	return workload.Hello{
		Node: i.ID, Instance: i.Instance, MachineID: i.MachineID, IP: own, GossipPort: i.GossipPort, APIPort: i.APIPort,
		Version: i.Version, AppliedRevision: a.applied(), Time: a.o.Now(),
	}
}

// session is the agent's side of one connection.
type session struct {
	a        *Agent
	link     Uplink
	master   string
	attached chan struct{} // closed with the first notice
	removed  chan struct{} // capacity 1
	answers  chan workload.Answer
	last     atomic.Uint64 // sequence of the last heartbeat
	asked    sync.WaitGroup
}

// notice obeys one message of the master. The first is always the view.
func (s *session) notice(ctx context.Context, n workload.Notice) {
	s.a.heard()
	select {
	case <-s.attached:
	default:
		close(s.attached)
		s.a.stand(ModeOnline, s.master, nil)
	}
	switch {
	case n.View != nil:
		s.a.see(*n.View)
	case n.Keyring != nil:
		s.a.o.OnKeyring(*n.Keyring)
	case n.Removed != "":
		s.a.stand(ModeRemoved, "", errors.New(n.Removed))
		trigger(s.removed)
	case n.Ping != 0:
		s.answer(workload.Answer{Pong: n.Ping})
	case n.StatsQuery != 0:
		s.asked.Go(func() { // bounded by callTimeout and by the master's own bound of questions
			ctx, cancel := context.WithTimeout(ctx, callTimeout)
			defer cancel()
			s.answer(workload.Answer{Stats: s.a.stats(ctx, n.StatsQuery)})
		})
	case n.PlanRevision != 0:
		s.a.newer(n.PlanRevision)
	}
}

func (s *session) answer(a workload.Answer) {
	select {
	case s.answers <- a:
	default:
		s.a.o.Logger.Warn("answer dropped: too many wait", "master", s.master)
	}
}

// ready waits for the session to be accepted.
func (s *session) ready(ctx context.Context) error {
	select {
	case <-s.attached:
		return nil
	case <-time.After(callTimeout):
		return fmt.Errorf("attach: %w", errDoubt)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// heartbeats sends a sign of life at once and then at the plan's interval.
func (s *session) heartbeats(ctx context.Context) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	for {
		if err := s.heartbeat(ctx, callTimeout); err != nil {
			return err
		}
		timer := time.NewTimer(s.a.interval())
		select {
		case <-timer.C:
		case <-s.a.wake.interval:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// doubts sends a sign of life of its own whenever the master is doubted: the
// regular one may be on its way already, with all the time in the world.
func (s *session) doubts(ctx context.Context) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	for {
		select {
		case <-s.a.wake.doubt:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := s.heartbeat(ctx, doubtTimeout); err != nil {
			return err
		}
	}
}

func (s *session) heartbeat(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	standing := s.a.Standing()
	reply, err := s.link.Heartbeat(ctx, workload.Heartbeat{
		Node: s.a.o.Identity.ID, Sequence: s.last.Add(1), Usage: s.a.figures.usage(ctx),
		AppliedRevision: standing.PlanRevision, ApplyError: standing.ApplyError,
	})
	if err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("heartbeat: %w: %w", errDoubt, err)
		}
		return fmt.Errorf("heartbeat: %w", err)
	}
	s.a.heard()
	s.a.o.ObserveTime(reply.MasterTime)
	s.a.newer(reply.PlanRevision)
	return nil
}

// reports sends the newest report whenever it changed. One that the master
// does not take for what is in it would not be taken a second time either: it
// is said once, and the session goes on.
func (s *session) reports(ctx context.Context) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	if err := s.a.looked(ctx); err != nil {
		return err
	}
	for {
		err := s.call(ctx, func(ctx context.Context) error { return s.link.Report(ctx, s.a.report()) })
		switch {
		case errors.Is(err, topology.ErrInvalid):
			s.a.o.Logger.Error("the master does not take this node's report", "error", err)
		case err != nil:
			return fmt.Errorf("report: %w", err)
		}
		select {
		case <-s.a.wake.report:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// plans fetches, obeys and confirms.
func (s *session) plans(ctx context.Context) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	for {
		if err := s.fetchPlan(ctx); err != nil {
			return fmt.Errorf("fetch plan: %w", err)
		}
		select {
		case <-s.a.wake.plan:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// fetchPlan ends when there is nothing newer, and has confirmed that.
func (s *session) fetchPlan(ctx context.Context) error {
	for {
		standing := s.a.Standing()
		var plan *workload.Plan
		err := s.call(ctx, func(ctx context.Context) (err error) {
			plan, err = s.link.Plan(ctx, s.a.o.Identity.ID, standing.PlanRevision, standing.ApplyError)
			return err
		})
		if err != nil || plan == nil {
			return err
		}
		if !s.a.take(*plan) {
			// Refused: the reason goes with this confirmation, and the next
			// plan is another attempt.
			standing = s.a.Standing()
			return s.call(ctx, func(ctx context.Context) error {
				_, err := s.link.Plan(ctx, s.a.o.Identity.ID, standing.PlanRevision, standing.ApplyError)
				return err
			})
		}
	}
}

func (s *session) call(ctx context.Context, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err := call(ctx)
	if err == nil {
		s.a.heard()
	}
	return err
}
