package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"time"
)

// waitLimit bounds every wait for something that ought to happen within
// seconds; what takes longer counts as missed.
const waitLimit = time.Minute

// session is one run of the program.
type session struct {
	o      options
	report *report
	talk   io.Writer
}

// group is one kind of measurement.
type group struct {
	name string
	// every: in clusters of each size, else only in the first.
	every bool
	do    func(context.Context, *session, *cluster) error
}

// groups in the order in which they run: the idle cluster before it has been
// shaken.
func groups() []group {
	return []group{
		{"idle", true, measureIdle},
		{"rest", true, measureREST},
		{"plan", true, measurePlan},
		{"container", false, measureContainers},
		{"join", false, measureJoin},
		{"detect", false, measureDetect},
		{"loss", false, measureLoss},
		{"restart", false, measureRestart},
		{"size", false, measureSize},
	}
}

func groupNames() []string {
	var names []string
	for _, g := range groups() {
		names = append(names, g.name)
	}
	return names
}

func (s *session) say(format string, args ...any) {
	fmt.Fprintf(s.talk, "%s bench: "+format+"\n", append([]any{time.Now().Format(time.TimeOnly)}, args...)...)
}

// all measures every group in clusters of every size and returns how many
// failed. A group that fails does not keep the others from running.
func (s *session) all(ctx context.Context) (failed int) {
	fail := func(name string, err error) {
		failed++
		s.say("%s: %v", name, err)
		s.report.Failures = append(s.report.Failures, name+": "+err.Error())
	}
	for i, n := range s.o.nodes {
		var todo []group
		for _, g := range groups() {
			if slices.Contains(s.o.only, g.name) && (g.every || i == 0) {
				todo = append(todo, g)
			}
		}
		if len(todo) == 0 || ctx.Err() != nil {
			continue
		}
		if err := s.inCluster(ctx, n, todo, fail); err != nil {
			fail(fmt.Sprintf("cluster of %d", n), err)
		}
	}
	return failed
}

func (s *session) inCluster(ctx context.Context, n int, todo []group, fail func(string, error)) (err error) {
	s.say("a cluster of %d boards", n)
	c, err := newCluster(ctx, s, n)
	if err != nil {
		return err
	}
	defer func() {
		// Also after Ctrl-C: the lab must go.
		downCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
		defer cancel()
		if downErr := c.down(downCtx); err == nil {
			err = downErr
		}
	}()
	if err := c.start(ctx); err != nil {
		return err
	}
	for _, g := range todo {
		if ctx.Err() != nil {
			return nil
		}
		name := fmt.Sprintf("%s with %d nodes", g.name, n)
		s.say("%s (load %.1f)", name, loadAverage()[0])
		if err := g.do(ctx, s, c); err != nil && ctx.Err() == nil {
			fail(name, err)
			if err := c.healthy(ctx); err != nil && ctx.Err() == nil {
				return fmt.Errorf("the cluster does not recover after %s: %w", name, err)
			}
		}
	}
	return nil
}

// pause lets the cluster settle between two events, for a time that differs,
// so that the events fall on all phases of its clocks.
func pause(ctx context.Context) error {
	return sleep(ctx, time.Second+time.Duration(rand.Int64N(int64(time.Second))))
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// poll asks until ok says yes, every few milliseconds: for what has no event
// outside the cluster.
func poll(ctx context.Context, what string, every time.Duration, ok func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, waitLimit)
	defer cancel()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		yes, err := ok()
		if yes {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if err != nil {
				return fmt.Errorf("wait until %s: %w: last: %w", what, ctx.Err(), err)
			}
			return fmt.Errorf("wait until %s: %w", what, ctx.Err())
		}
	}
}
