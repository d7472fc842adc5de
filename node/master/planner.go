package master

import (
	"context"
	"errors"
	"fmt"
	"time"

	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/topology"
)

// errNoCluster: without its configuration nothing is planned and nobody let
// in; a default in its place would be a change that nobody asked for.
var errNoCluster = errors.New("the cluster's configuration cannot be read")

// replanPause before the planner tries again when the store did not take a
// plan.
const replanPause = time.Second

// plan keeps every node's plan equal to what the cluster's configuration and
// the node's record ask for.
func (o *office) plan(ctx context.Context) error {
	m := o.m
	for {
		var again <-chan time.Time
		if err := m.planAll(ctx, o.term.Fence()); err != nil && ctx.Err() == nil {
			m.o.Logger.Warn("plans not written, trying again", "error", err)
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

func (m *Master) planAll(ctx context.Context, fence ...store.Op) (err error) {
	for _, r := range m.nodes.all() {
		if s := r.Value.Status; s == topology.StatusPending || s == topology.StatusTerminating {
			continue
		}
		if _, failed := m.ensurePlan(ctx, r.Value, fence...); failed != nil {
			err = errors.Join(err, fmt.Errorf("plan node %s: %w", r.Value.Name, failed))
		}
	}
	return err
}

// ensurePlan writes the node's plan if it is not the stored one, and returns
// it with its revision. It writes none for a node that is gone.
func (m *Master) ensurePlan(ctx context.Context, n topology.Node, fence ...store.Op) (workload.Plan, error) {
	c, ok := m.cluster.get(clusterKey)
	if !ok {
		return workload.Plan{}, errNoCluster
	}
	want := workload.PlanFor(c.Value.Config, n)
	revision, _, err := putOfNode(ctx, m, m.plans, n.ID, want, fence...)
	want.Revision = revision
	return want, err
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
	m.leading(func(o *office) { o.judge.look(id) })
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
			for _, s := range m.sessions.all() {
				s.tellView()
			}
		case <-ctx.Done():
			return nil
		}
	}
}
