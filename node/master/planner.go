package master

import (
	"context"
	"errors"
	"reflect"
	"time"

	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/topology"
)

// replanPause before the planner tries again when the store did not take a
// plan.
const replanPause = time.Second

// plan keeps every node's plan equal to what the cluster's configuration and
// the node's record ask for.
func (m *Master) plan(ctx context.Context) error {
	for {
		var failed error
		for _, r := range m.nodes.all() {
			if s := r.Value.Status; s == topology.StatusPending || s == topology.StatusTerminating {
				continue
			}
			if _, err := m.ensurePlan(ctx, r.Value); err != nil && ctx.Err() == nil {
				m.o.Logger.Warn("plan not written, trying again", "node", r.Value.Name, "error", err)
				failed = err
			}
		}
		var again <-chan time.Time
		if failed != nil {
			again = time.After(replanPause)
		}
		select {
		case <-m.replan:
		case <-again:
		case <-ctx.Done():
			return nil
		}
	}
}

// planTries bounds the attempts to write a plan that somebody else writes too.
const planTries = 3

// ensurePlan writes the node's plan if it is not the stored one, and returns
// it with its revision. It writes none for a node that is gone.
func (m *Master) ensurePlan(ctx context.Context, n topology.Node) (workload.Plan, error) {
	c, _ := m.cluster.get(clusterKey)
	want := workload.PlanFor(c.Value.Config, n)
	have, ok := m.plans.get(n.ID)
	for try := 1; ; try++ {
		if ok && reflect.DeepEqual(have.Value, want) {
			want.Revision = have.Revision
			return want, nil
		}
		write := m.plans.collection.OpCreate(n.ID, want)
		if ok {
			write = m.plans.collection.OpUpdate(n.ID, have.Revision, want)
		}
		revision, err := m.o.Store.Commit(ctx, m.nodes.collection.OpCheck(n.ID, store.AnyRevision), write)
		if err == nil {
			want.Revision = revision
			return want, m.plans.wait(ctx, revision)
		}
		if try == planTries || !errors.Is(err, store.ErrExists) && !errors.Is(err, store.ErrConflict) {
			return want, err
		}
		have, err = m.plans.collection.Get(ctx, n.ID)
		ok = err == nil
	}
}

// Plan returns the newest plan of a node, nil when applied is the newest, and
// takes the node's confirmation.
func (m *Master) Plan(ctx context.Context, id string, applied int64, applyError string) (*workload.Plan, error) {
	n, err := m.member(ctx, id)
	if err != nil {
		return nil, err
	}
	m.live.edit(id, func(f *figures) { f.applied, f.applyError = applied, applyError })
	m.publishNode(id)
	if err := m.settle(ctx, id); err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	if r, ok := m.plans.get(id); ok {
		if r.Revision == applied {
			return nil, nil
		}
		p := r.Value
		p.Revision = r.Revision
		return &p, nil
	}
	p, err := m.ensurePlan(ctx, n)
	return &p, err
}

// announceViews tells every attached node what the cluster looks like, each
// time that changes.
func (m *Master) announceViews(ctx context.Context) error {
	for {
		select {
		case <-m.announce:
			view := m.view()
			for _, s := range m.sessions.all() {
				s.post(workload.Notice{View: &view})
			}
		case <-ctx.Done():
			return nil
		}
	}
}
