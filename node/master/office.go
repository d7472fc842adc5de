package master

import (
	"context"

	"golang.org/x/sync/errgroup"

	"piccolo.io/piccolo/store"
)

// office is one term of this master as the leader. The loops that only a
// leader may run live in it, and everything that they write carries its term:
// the store refuses the late write of one that was deposed without noticing.
type office struct {
	m       *Master
	term    store.Term
	judge   *judge
	monitor *monitor
}

// lead works until ctx ends, which is the end of the term or of the master.
func (m *Master) lead(ctx context.Context, term store.Term) error {
	o := &office{m: m, term: term}
	o.judge, o.monitor = newJudge(o), newMonitor(o)
	g, ctx := errgroup.WithContext(ctx)
	m.office.Store(o)
	defer m.office.Store(nil)
	m.o.Logger.Info("this master leads", "term", term.Number)
	for _, run := range []func(context.Context) error{o.judge.run, o.monitor.run, o.plan, o.rotateKeys, o.members} {
		g.Go(func() error { return run(ctx) })
	}
	err := g.Wait()
	m.o.Logger.Info("this master leads no longer", "term", term.Number)
	return err
}

// leading calls f with the office, if this master leads now.
func (m *Master) leading(f func(*office)) {
	if o := m.office.Load(); o != nil {
		f(o)
	}
}
