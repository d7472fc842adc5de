package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"piccolo.io/piccolo/topology"
)

// fault is a way to lose a node. Both functions return the moment from which
// the time counts.
type fault struct {
	name    string
	promise promise
	lose    func(context.Context, *cluster, *board) (time.Time, error)
	// restore undoes it; the moment is asked for once the node is back.
	restore func(context.Context, *cluster, *board) (func() (time.Time, error), error)
}

func faults() []fault {
	signal := func(s syscall.Signal) func(context.Context, *cluster, *board) (time.Time, error) {
		return func(_ context.Context, _ *cluster, b *board) (time.Time, error) {
			pid, err := b.mustDaemon()
			if err != nil {
				return time.Time{}, err
			}
			at := time.Now()
			return at, syscall.Kill(pid, s)
		}
	}
	cable := func(state string) func(context.Context, *cluster, *board) (time.Time, error) {
		return func(_ context.Context, c *cluster, b *board) (time.Time, error) {
			at := time.Now()
			return at, c.cables.set(b.name, state)
		}
	}
	at := func(do func(context.Context, *cluster, *board) (time.Time, error)) func(context.Context, *cluster, *board) (func() (time.Time, error), error) {
		return func(ctx context.Context, c *cluster, b *board) (func() (time.Time, error), error) {
			t, err := do(ctx, c, b)
			return func() (time.Time, error) { return t, nil }, err
		}
	}
	return []fault{
		{"kill -9", atMost(0.1, "p99 ≤ 100 ms"), signal(syscall.SIGKILL), runAgain},
		{"SIGSTOP", atMost(1, "p99 ≤ 1 s"), signal(syscall.SIGSTOP), at(signal(syscall.SIGCONT))},
		{"unplug", atMost(1, "p99 ≤ 1 s"), cable("down"), at(cable("up"))},
	}
}

// runAgain starts the daemon as its service manager would.
func runAgain(ctx context.Context, c *cluster, b *board) (func() (time.Time, error), error) {
	return b.started, c.spawn(ctx, b, "run")
}

// measureDetect loses nodes in every way and waits until the watchers of the
// master know, and until they know that the node is back.
func measureDetect(ctx context.Context, s *session, c *cluster) error {
	for _, f := range faults() {
		s.say("  %s", f.name)
		if err := detect(ctx, s, c, f); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return nil
}

func detect(ctx context.Context, s *session, c *cluster, f fault) error {
	w, err := watch(ctx, c.master().api)
	if err != nil {
		return err
	}
	defer w.close()
	lost, back, others := newFigure(s, c, f.name+" → NotReady", "s", f.promise), newFigure(s, c, f.name+": return → Ready", "s", none), 0
	for i := range s.o.runs {
		b := c.sub(i)
		if err := pause(ctx); err != nil {
			return err
		}
		before := w.falseAlarms(b.name)
		if err := loseOnce(ctx, c, w, f, b, lost, back); err != nil {
			return err
		}
		others += w.falseAlarms(b.name) - before
	}
	if others > 0 {
		lost.note("%d times another node was NotReady too", others)
	}
	lost.add(s)
	back.add(s)
	return nil
}

func loseOnce(ctx context.Context, c *cluster, w *watcher, f fault, b *board, lost, back *figure) error {
	gone := w.expect(becomes(b.name, topology.StatusNotReady))
	from, err := f.lose(ctx, c, b)
	if err != nil {
		return err
	}
	seen, err := w.await(ctx, gone, b.name+" is lost")
	switch {
	case errors.Is(err, errMissed):
		lost.Missed++
	case err != nil:
		return err
	default:
		lost.sample(seen.Sub(from))
	}
	// The board stays away for a while, as it would.
	if err := pause(ctx); err != nil {
		return err
	}
	ready := w.expect(becomes(b.name, topology.StatusReady))
	since, err := f.restore(ctx, c, b)
	if err != nil {
		return err
	}
	seen, err = w.await(ctx, ready, b.name+" returns")
	if errors.Is(err, errMissed) {
		back.Missed++
		return c.healthy(ctx)
	}
	if err != nil {
		return err
	}
	from, err = since()
	back.sample(seen.Sub(from))
	return err
}

// measureLoss loses a tenth of all packets of every board, each way, and
// counts the nodes that are called lost.
func measureLoss(ctx context.Context, s *session, c *cluster) (err error) {
	w, err := watch(ctx, c.master().api)
	if err != nil {
		return err
	}
	defer w.close()
	defer func() {
		healCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), waitLimit)
		defer cancel()
		_, healErr := c.lab.Run(healCtx, nil, "heal")
		err = errors.Join(err, healErr)
	}()
	for _, b := range c.boards {
		if _, err := c.lab.Run(ctx, nil, "loss", b.name, "10"); err != nil {
			return err
		}
	}
	if err := sleep(ctx, s.o.loss); err != nil {
		return err
	}
	f := newFigure(s, c, "false alarms, a tenth of all packets lost", "", atMost(0, "none"))
	f.value(float64(w.falseAlarms("")))
	f.note("in %s; each board loses 10 %% of its packets, each way", s.o.loss)
	f.add(s)
	return nil
}

// measureJoin lets boards leave and join again.
func measureJoin(ctx context.Context, s *session, c *cluster) error {
	w, err := watch(ctx, c.master().api)
	if err != nil {
		return err
	}
	defer w.close()
	f := newFigure(s, c, "piccolo join → Ready", "s", atMost(2, "≤ 2 s"))
	defer f.add(s)
	for i := range s.o.runs {
		b := c.sub(i)
		if err := c.leave(ctx, w, b); err != nil {
			return err
		}
		if err := pause(ctx); err != nil {
			return err
		}
		took, err := c.join(ctx, w, b)
		if err != nil {
			return err
		}
		f.sample(took)
	}
	return nil
}

// leave ends a board's membership and what it leaves behind.
func (c *cluster) leave(ctx context.Context, w *watcher, b *board) error {
	n, err := c.master().api.Node(ctx, b.name)
	if err != nil {
		return err
	}
	gone := w.expect(func(e event) bool { return e.node == nil && e.container == nil && e.key == n.Value.ID })
	if _, err := c.lab.Run(ctx, nil, "exec", b.name, "--", "piccolo", "leave", "--yes"); err != nil {
		return err
	}
	if _, err := w.await(ctx, gone, b.name+" leaves"); err != nil {
		return err
	}
	if err := poll(ctx, "the daemon of "+b.name+" ends", 20*time.Millisecond, b.gone); err != nil {
		return err
	}
	if _, err := os.Stat(b.path("/var/lib/piccolo/node.json")); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	_, err = c.lab.Run(ctx, nil, "exec", b.name, "--", "piccolo", "reset", "--yes")
	return err
}

// measureRestart stops the daemons in order and starts them again.
func measureRestart(ctx context.Context, s *session, c *cluster) error {
	web, err := c.tls(time.Second)
	if err != nil {
		return err
	}
	defer web.CloseIdleConnections()
	healthz := "https://" + masterAddress + ":7443/healthz"
	master, sub := newFigure(s, c, "master: start → API ready", "s", none), newFigure(s, c, "sub: start → attached", "s", none)
	defer sub.add(s)
	defer master.add(s)
	for i := range (s.o.runs + 1) / 2 {
		took, err := c.restart(ctx, c.master(), "/healthz answers", func() (bool, error) { return answers(ctx, web, healthz) })
		if err != nil {
			return err
		}
		master.sample(took)
		web.CloseIdleConnections()
		if err := c.healthy(ctx); err != nil {
			return err
		}
		b := c.sub(i)
		took, err = c.restart(ctx, b, b.name+" is attached", func() (bool, error) {
			err := attached(ctx, b)
			return err == nil, err
		})
		if err != nil {
			return err
		}
		sub.sample(took)
		if err := c.healthy(ctx); err != nil {
			return err
		}
	}
	return nil
}

// restart returns the time from the start of the new process until ready.
func (c *cluster) restart(ctx context.Context, b *board, what string, ready func() (bool, error)) (time.Duration, error) {
	if err := pause(ctx); err != nil {
		return 0, err
	}
	if err := b.signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	if err := poll(ctx, "the daemon of "+b.name+" ends", 20*time.Millisecond, b.gone); err != nil {
		return 0, err
	}
	if err := c.spawn(ctx, b, "run"); err != nil {
		return 0, err
	}
	if err := poll(ctx, what, 2*time.Millisecond, ready); err != nil {
		return 0, c.withConsole(ctx, b, err)
	}
	at := time.Now()
	began, err := b.started()
	return at.Sub(began), err
}

// measureSize tells how large the binary is.
func measureSize(_ context.Context, s *session, c *cluster) error {
	info, err := os.Stat(s.o.binary)
	if err != nil {
		return err
	}
	f := newFigure(s, c, "binary, "+strings.Join([]string{"linux", s.report.Machine.Arch}, "/"), "MB", none)
	f.value(float64(info.Size()) / 1e6)
	f.Nodes = 0
	f.add(s)
	return nil
}
