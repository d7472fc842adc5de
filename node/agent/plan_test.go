package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/store/cache"
	"piccolo.io/piccolo/topology"
)

// kept is the plan on the board's disk.
func (b *board) kept() workload.Plan {
	b.t.Helper()
	p, err := cache.Load[workload.Plan](b.disk, planName)
	if err != nil {
		b.t.Fatal(err)
	}
	return p.Value
}

// give makes the masters' newest plan p and tells the node.
func (b *board) give(p *workload.Plan) {
	b.master.edit(func(m *fakeMaster) { m.plan = p })
	b.master.tell(workload.Notice{PlanRevision: p.Revision})
}

// waitConfirm waits for the newest confirmation.
func (b *board) waitConfirm(applied int64, errText string) {
	b.t.Helper()
	eventually(b.t, "confirmation", func() string {
		b.master.mu.Lock()
		defer b.master.mu.Unlock()
		last := confirm{}
		if n := len(b.master.confirms); n > 0 {
			last = b.master.confirms[n-1]
		}
		if last.applied != applied || (errText == "") != (last.err == "") || !strings.Contains(last.err, errText) {
			return fmt.Sprintf("%+v", last)
		}
		return ""
	})
}

// TestPlanIsOnDiskBeforeItIsObeyed, so that a power cut in between leaves a
// node that knows what it does.
func TestPlanIsOnDiskBeforeItIsObeyed(t *testing.T) {
	t.Parallel()
	b := newBoard(t, nil)
	b.atApply = func(p workload.Plan) {
		onDisk, err := cache.Load[workload.Plan](b.disk, planName)
		if err != nil || onDisk.Value.Revision != p.Revision {
			t.Errorf("plan %d is obeyed, and on disk is %d: %v", p.Revision, onDisk.Value.Revision, err)
		}
	}
	b.online()
	b.give(plan(4, "debug"))
	b.waitConfirm(4, "")
	b.edit(func() {
		if len(b.obeyed) != 2 || b.obeyed[0].Revision != 3 || b.obeyed[1].LogLevel != "debug" {
			t.Errorf("obeyed: %+v", b.obeyed)
		}
	})
}

// TestNewestPlanWins: plans that came in between need not be obeyed.
func TestNewestPlanWins(t *testing.T) {
	t.Parallel()
	b := newBoard(t, nil)
	b.online()
	for revision := int64(4); revision < 40; revision++ {
		b.give(plan(revision, "info"))
	}
	b.waitConfirm(39, "")
	b.edit(func() {
		for i := 1; i < len(b.obeyed); i++ {
			if b.obeyed[i].Revision <= b.obeyed[i-1].Revision {
				t.Errorf("plan %d after plan %d", b.obeyed[i].Revision, b.obeyed[i-1].Revision)
			}
		}
	})
}

// TestHeartbeatTellsOfAPlan, where the notice was lost.
func TestHeartbeatTellsOfAPlan(t *testing.T) {
	t.Parallel()
	b := newBoard(t, nil)
	b.online()
	b.master.edit(func(m *fakeMaster) { m.plan = plan(4, "warn") })
	b.Doubt() // a heartbeat now
	b.waitConfirm(4, "")
}

// TestRefusedPlan keeps the one before, in force and on disk, and tells why.
func TestRefusedPlan(t *testing.T) {
	t.Parallel()
	foreign, short := plan(4, "info"), plan(4, "info")
	foreign.Node, short.HeartbeatInterval = "n-2", topology.Duration(time.Millisecond)
	for why, try := range map[string]struct {
		plan   *workload.Plan
		refuse error
	}{
		"not for this one":   {foreign, nil},
		"heartbeat_interval": {short, nil},
		"log_level":          {plan(4, "loud"), nil},
		"cannot do that":     {plan(4, "info"), errors.New("cannot do that")},
	} {
		t.Run(why, func(t *testing.T) {
			t.Parallel()
			b := newBoard(t, nil)
			b.online()
			b.edit(func() { b.refuse = try.refuse })
			b.give(try.plan)
			b.waitConfirm(3, why)
			if s := b.Standing(); s.PlanRevision != 3 || !strings.Contains(s.ApplyError, why) || s.Mode != ModeOnline {
				t.Errorf("%+v", s)
			}
			if p := b.kept(); p.Revision != 3 {
				t.Errorf("on disk is plan %d", p.Revision)
			}
			b.edit(func() { b.refuse = nil })
			b.give(plan(5, "error"))
			b.waitConfirm(5, "")
			if s := b.Standing(); s.ApplyError != "" || b.kept().Revision != 5 {
				t.Errorf("afterwards: %+v", s)
			}
		})
	}
}

// TestRefusedFirstPlan leaves nothing on disk.
func TestRefusedFirstPlan(t *testing.T) {
	t.Parallel()
	b := newBoard(t, nil)
	b.refuse = errors.New("cannot do that")
	b.start()
	b.waitConfirm(0, "cannot do that")
	eventually(t, "nothing on disk", func() string { // the heartbeat's answer is a second attempt
		if p, err := cache.Load[workload.Plan](b.disk, planName); !errors.Is(err, cache.ErrNotFound) {
			return fmt.Sprintf("%+v, %v", p, err)
		}
		return ""
	})
}

// TestColdStart: a board that starts in a tunnel obeys what it kept.
func TestColdStart(t *testing.T) {
	t.Parallel()
	b := newBoard(t, nil)
	b.plans(t, plan(3, "debug"))
	b.master.down = errRefusedDial
	b.start()
	b.waitObeyed(3)
	if s := b.Standing(); s.Mode != ModeOffline || s.PlanRevision != 3 {
		t.Errorf("%+v", s)
	}
}

// plans puts plans on the board's disk, one after the other.
func (b *board) plans(t *testing.T, plans ...*workload.Plan) {
	t.Helper()
	for _, p := range plans {
		if _, err := cache.Save(b.disk, planName, *p); err != nil {
			t.Fatal(err)
		}
	}
}

func (b *board) waitObeyed(revision int64) {
	b.t.Helper()
	eventually(b.t, "obeyed plan", func() string {
		b.mu.Lock()
		defer b.mu.Unlock()
		if n := len(b.obeyed); n == 0 || b.obeyed[n-1].Revision != revision {
			return fmt.Sprintf("%+v", b.obeyed)
		}
		return ""
	})
}

// TestDamagedPlan never keeps a node from starting.
func TestDamagedPlan(t *testing.T) {
	t.Parallel()
	damage := func(t *testing.T, b *board, names ...string) {
		for _, name := range names {
			if err := os.WriteFile(filepath.Join(b.dir, "cache", name), []byte("half a pl"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Run("the newest", func(t *testing.T) {
		t.Parallel()
		b := newBoard(t, nil)
		b.plans(t, plan(2, "info"), plan(3, "info"))
		damage(t, b, planName)
		b.master.down = errRefusedDial
		b.start()
		b.waitObeyed(2)
	})
	t.Run("both, and the view", func(t *testing.T) {
		t.Parallel()
		b := newBoard(t, nil)
		b.plans(t, plan(2, "info"), plan(3, "info"))
		damage(t, b, planName, planName+".prev", viewName)
		b.online()
		b.waitObeyed(3) // from the master
	})
	t.Run("of another node", func(t *testing.T) {
		t.Parallel()
		b := newBoard(t, nil)
		other := plan(9, "info")
		other.Node = "n-2"
		b.plans(t, other)
		b.online()
		b.waitObeyed(3)
		b.edit(func() {
			if len(b.obeyed) != 1 {
				t.Errorf("obeyed: %+v", b.obeyed)
			}
		})
	})
	t.Run("it cannot be obeyed any more", func(t *testing.T) {
		t.Parallel()
		b := newBoard(t, nil)
		b.plans(t, plan(3, "info"))
		b.edit(func() { b.refuse = errors.New("not on this kernel") })
		b.start()
		b.waitConfirm(0, "not on this kernel") // it does not claim to obey it
		b.edit(func() { b.refuse = nil })
		b.give(plan(4, "info"))
		b.waitConfirm(4, "")
	})
}

// TestViewIsKept: without a master the board still knows its cluster, and
// since when it has heard nothing.
func TestViewIsKept(t *testing.T) {
	t.Parallel()
	b := newBoard(t, nil)
	before := time.Now()
	stop := b.online()
	stop()
	b.master.down = errRefusedDial
	b.start()
	v := b.View()
	if v.ClusterName != "home" || len(v.Nodes) != 2 || v.Nodes[1].IP != "10.0.0.1" {
		t.Errorf("%+v", v)
	}
	if v.AsOf.Before(before.Add(-time.Second)) || v.AsOf.After(time.Now()) {
		t.Errorf("as of %s", v.AsOf)
	}
}

// TestStatesAreNoWrites: only who is in the cluster and where goes to disk.
func TestStatesAreNoWrites(t *testing.T) {
	t.Parallel()
	b := newBoard(t, nil)
	b.online()
	file := filepath.Join(b.dir, "cache", viewName)
	written := func() os.FileInfo {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	seen := func() (n int) {
		b.edit(func() { n = b.views })
		return n
	}
	first, views := written(), seen()
	for i := range 5 {
		v := view("10.0.0.1")
		v.Revision = int64(10 + i)
		v.Nodes[1].Status, v.Nodes[1].Reasons = topology.StatusNotReady, topology.Reasons{topology.ReasonUnreachable}
		b.master.tell(workload.Notice{View: &v})
	}
	eventually(t, "all views", func() string {
		if seen() < views+5 {
			return "not seen"
		}
		return ""
	})
	if got := b.View(); got.Nodes[1].Status != topology.StatusNotReady || got.Revision != 14 {
		t.Errorf("the newest view is not known: %+v", got)
	}
	if !os.SameFile(first, written()) {
		t.Error("a change of state was written to the disk")
	}
	v := view("10.0.0.1", "10.0.0.9")
	b.master.tell(workload.Notice{View: &v})
	eventually(t, "a node that came is kept", func() string {
		if os.SameFile(first, written()) {
			return "not written"
		}
		return ""
	})
}

// TestInterval: the plan's word counts from the moment it is obeyed.
func TestInterval(t *testing.T) {
	t.Parallel()
	b := newBoard(t, nil)
	b.master.plan = nil
	b.online()
	if got := b.interval(); got != topology.DefaultHeartbeatInterval {
		t.Errorf("without a plan %s", got)
	}
	beats := 0
	b.master.edit(func(m *fakeMaster) { beats = len(m.beats) })
	p := plan(3, "info")
	p.HeartbeatInterval = topology.Duration(7 * time.Second)
	b.give(p)
	b.waitConfirm(3, "")
	if got := b.interval(); got != 7*time.Second {
		t.Errorf("%s", got)
	}
	eventually(t, "a heartbeat at once", func() string {
		problem := "none"
		b.master.edit(func(m *fakeMaster) {
			if len(m.beats) > beats && m.beats[len(m.beats)-1].AppliedRevision == 3 {
				problem = ""
			}
		})
		return problem
	})
}
