package master

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/topology"
)

// judgeAgain is the pause before the judge looks again at a node whose new
// state the store did not take.
const judgeAgain = time.Second

// judge is the one who writes the states of nodes, beside administrators and
// the nodes' own goodbyes. It keeps each state equal to what topology.Judge
// makes of the facts, and is woken whenever one of them changes: the order in
// which they arrive does not matter.
type judge struct {
	o    *office
	wake chan struct{}

	mu sync.Mutex
	// dirty are the nodes to look at.
	dirty map[string]bool
	// verdicts are what the monitor has found out.
	verdicts map[string]verdict
}

// verdict is what the monitor has confirmed of a node and no sign of life has
// disproved.
type verdict struct{ unreachable, missed, late bool }

func newJudge(o *office) *judge {
	return &judge{o: o, wake: make(chan struct{}, 1), dirty: map[string]bool{}, verdicts: map[string]verdict{}}
}

// look has a node judged soon.
func (j *judge) look(id string) {
	j.mu.Lock()
	j.dirty[id] = true
	j.mu.Unlock()
	trigger(j.wake)
}

// find keeps a verdict and has the node judged by it.
func (j *judge) find(id string, change func(*verdict)) {
	j.mu.Lock()
	v := j.verdicts[id]
	change(&v)
	j.verdicts[id] = v
	j.mu.Unlock()
	j.look(id)
}

// alive takes a sign of life: what it disproves is forgotten. A node that is
// lost and back all the time stays lost until its pace allows another change.
func (j *judge) alive(id string) {
	j.mu.Lock()
	v := j.verdicts[id]
	j.mu.Unlock()
	if (v.unreachable || v.missed) && j.o.m.live.paces.of(id).returns.take(time.Now(), 1) == 0 {
		j.find(id, func(v *verdict) { v.unreachable, v.missed = false, false })
		return
	}
	j.look(id)
}

func (j *judge) forget(id string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.verdicts, id)
	delete(j.dirty, id)
}

// run works until ctx ends. A new leader stands by what the one before it has
// written, until a sign of life disproves it.
func (j *judge) run(ctx context.Context) error {
	for _, r := range j.o.m.nodes.all() {
		reasons := r.Value.Reasons
		j.find(r.Key, func(v *verdict) {
			v.unreachable = v.unreachable || reasons.Has(topology.ReasonUnreachable)
			v.missed = v.missed || reasons.Has(topology.ReasonHeartbeatMissed)
		})
	}
	for {
		var again <-chan time.Time
		for _, id := range j.take() {
			if err := j.judge(ctx, id); err != nil && ctx.Err() == nil {
				if errors.Is(err, store.ErrDeposed) {
					return err
				}
				j.o.m.o.Logger.Warn("state of a node not written, trying again", "node", j.o.m.nameOf(id), "error", err)
				j.look(id)
				again = time.After(judgeAgain)
			}
		}
		if again != nil {
			select {
			case <-again:
			case <-ctx.Done():
				return nil
			}
		}
		select {
		case <-j.wake:
		case <-ctx.Done():
			return nil
		}
	}
}

func (j *judge) take() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	out := make([]string, 0, len(j.dirty))
	for id := range j.dirty {
		out = append(out, id)
	}
	clear(j.dirty)
	return out
}

// judge brings one node's state in line with the facts. It writes nothing when
// it is.
func (j *judge) judge(ctx context.Context, id string) error {
	m := j.o.m
	r, ok := m.nodes.get(id)
	if !ok {
		return nil
	}
	facts := j.facts(r.Value)
	if _, changed, err := topology.Judge(r.Value, facts, m.o.Now()); err != nil || !changed {
		return err
	}
	_, err := m.changeNode(ctx, id, func(n *topology.Node) error {
		next, _, err := topology.Judge(*n, facts, m.o.Now())
		if err != nil {
			return err
		}
		if next.Status != n.Status {
			m.stampHeartbeat(&next)
		}
		*n = next
		return nil
	}, store.WithTerm(j.o.term))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("judge node %s: %w", r.Value.Name, err)
	}
	return nil
}

func (j *judge) facts(n topology.Node) topology.Facts {
	m := j.o.m
	j.mu.Lock()
	v := j.verdicts[n.ID]
	j.mu.Unlock()
	f := topology.Facts{Unreachable: v.unreachable, HeartbeatMissed: v.missed, Late: v.late}
	if report, ok := m.reports.get(n.ID); ok {
		f.Reported, f.Conditions = true, report.Value.Conditions
	}
	plan, planned := m.plans.get(n.ID)
	l, _ := m.live.get(n.ID)
	f.Configured = planned && !l.at.IsZero() && l.applied >= plan.Revision
	return f
}
