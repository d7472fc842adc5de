package agent

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"

	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/store/cache"
	"piccolo.io/piccolo/topology"
)

// Names of what the node keeps.
const (
	planName = "plan"
	viewName = "view"
)

// newRefusals is how long a plan that was refused waits for another attempt.
func newRefusals() *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{InitialInterval: 10 * time.Second, Multiplier: 2, MaxInterval: 10 * time.Minute}
}

// recall loads what the node kept. A damaged copy never keeps a node from
// starting: it says so and goes on with the older copy, or with none.
func (a *Agent) recall() error {
	plan, err := cache.Load[workload.Plan](a.o.Cache, planName)
	switch {
	case errors.Is(err, cache.ErrNotFound):
	case err != nil:
		a.o.Logger.Error("the kept plan cannot be read; the node waits for a master", "error", err)
	default:
		if plan.Fallback {
			a.o.Logger.Warn("the newest kept plan is damaged; the one before is obeyed", "revision", plan.Value.Revision, "reason", plan.Reason)
		}
		if err := plan.Value.Validate(a.o.Identity.ID); err != nil {
			a.o.Logger.Error("the kept plan is not valid and is not obeyed", "error", err)
			break
		}
		a.plan = plan.Value
	}
	view, err := cache.Load[workload.View](a.o.Cache, viewName)
	if err != nil {
		if !errors.Is(err, cache.ErrNotFound) {
			a.o.Logger.Warn("the kept view of the cluster cannot be read", "error", err)
		}
		return nil
	}
	a.view = view.Value
	return nil
}

// newer notes that the masters hold a plan of this revision.
func (a *Agent) newer(revision int64) {
	a.mu.Lock()
	// One that was refused, for a full disk perhaps, is tried again, but not
	// with every heartbeat: each attempt writes to the card.
	again := a.standing.ApplyError != "" && !time.Now().Before(a.retryPlan)
	fetch := revision > a.plan.Revision && (revision > a.newestPlan || again)
	a.newestPlan = max(a.newestPlan, revision)
	a.mu.Unlock()
	if fetch {
		trigger(a.wake.plan)
	}
}

// take keeps a plan on disk, then obeys it, and reports whether it did. A
// plan that cannot be obeyed leaves the one before in force, and on the disk.
func (a *Agent) take(p workload.Plan) bool {
	err := p.Validate(a.o.Identity.ID)
	if err == nil {
		err = a.keepAndObey(p)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		a.standing.ApplyError = err.Error()
		a.retryPlan = time.Now().Add(a.refusals.NextBackOff())
		a.o.Logger.Error("plan not obeyed", "revision", p.Revision, "error", err)
		return false
	}
	// The masters' word counts, also where they know less than before.
	a.plan, a.newestPlan, a.standing.ApplyError = p, p.Revision, ""
	a.refusals.Reset()
	a.o.Logger.Info("plan obeyed", "revision", p.Revision)
	trigger(a.wake.interval) // a changed interval counts from now on
	return true
}

func (a *Agent) keepAndObey(p workload.Plan) error {
	if _, err := cache.Save(a.o.Cache, planName, p); err != nil {
		return fmt.Errorf("keep plan %d: %w", p.Revision, err)
	}
	err := a.obey(p)
	if err == nil {
		return nil
	}
	a.mu.Lock()
	before := a.plan
	a.mu.Unlock()
	if before.Revision == 0 {
		return errors.Join(err, a.o.Cache.Remove(planName))
	}
	_, saveErr := cache.Save(a.o.Cache, planName, before)
	return errors.Join(err, saveErr)
}

func (a *Agent) obey(p workload.Plan) error {
	if err := a.o.Apply(p); err != nil {
		return fmt.Errorf("obey plan %d: %w", p.Revision, err)
	}
	return nil
}

func (a *Agent) applied() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.plan.Revision
}

// interval between two heartbeats.
func (a *Agent) interval() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.plan.HeartbeatInterval > 0 {
		return time.Duration(a.plan.HeartbeatInterval)
	}
	return topology.DefaultHeartbeatInterval
}

// see takes the masters' newest view. It goes to disk when somebody came, went
// or moved; states change all the time, and those that are kept are as old as
// the file says.
func (a *Agent) see(v workload.View) {
	v.AsOf = a.o.Now()
	a.mu.Lock()
	moved := membership(v) != membership(a.view)
	a.view = v
	a.mu.Unlock()
	if moved {
		a.keepView()
	}
	a.o.OnView(v)
}

// keepView puts the view on disk, with the time of the masters' last word.
func (a *Agent) keepView() {
	a.mu.Lock()
	v := a.view
	a.mu.Unlock()
	if v.Revision == 0 {
		return
	}
	if _, err := cache.Save(a.o.Cache, viewName, v); err != nil {
		a.o.Logger.Warn("the view of the cluster is not kept", "error", err)
	}
}

// membership names who is in the cluster and where.
func membership(v workload.View) string {
	var b strings.Builder
	for _, n := range v.Nodes {
		fmt.Fprintln(&b, n.ID, n.Name, n.Role, n.IP, n.GossipPort, n.APIPort)
	}
	return b.String()
}
