package podmantest

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"piccolo.io/piccolo/podman"
)

func (c *contract) pauseRename(t *testing.T) {
	w := Watch(t, c.e)
	id := c.start(t, Spec{Name: "web"})
	w.Until(t, "the container to run", In(id, podman.StateRunning))
	c.h.Act(t, Pause, id, "")
	w.Until(t, "the container to be paused", In(id, podman.StatePaused))
	c.h.Act(t, Unpause, id, "")
	w.Until(t, "the container to run again", In(id, podman.StateRunning))
	c.h.Act(t, Rename, id, "site")
	w.Until(t, "the container to have its new name", Sees(id, func(c podman.Container) bool { return c.Name == "site" }))
}

func (c *contract) health(t *testing.T) {
	w := Watch(t, c.e)
	id := c.start(t, Spec{Name: "web", Health: true})
	is := func(h podman.Health) func(podman.Snapshot) bool {
		return Sees(id, func(c podman.Container) bool { return c.Health == h && c.State == podman.StateRunning })
	}
	w.Until(t, "health starting", is(podman.HealthStarting))
	c.h.Act(t, Check, id, "")
	w.Until(t, "health healthy", is(podman.HealthHealthy))
	c.h.Act(t, Sicken, id, "")
	c.h.Act(t, Check, id, "")
	w.Until(t, "health unhealthy", is(podman.HealthUnhealthy))
	c.h.Act(t, Heal, id, "")
	c.h.Act(t, Check, id, "")
	w.Until(t, "health healthy again", is(podman.HealthHealthy))
}

func (c *contract) crash(t *testing.T) {
	w := Watch(t, c.e)
	kept := c.start(t, Spec{Name: "kept", Restart: true})
	lost := c.start(t, Spec{Name: "lost"})
	s, _ := w.Until(t, "both containers to run", func(s podman.Snapshot) bool {
		return In(kept, podman.StateRunning)(s) && In(lost, podman.StateRunning)(s)
	})
	first, _ := Find(s, kept)
	c.h.Act(t, Crash, lost, "")
	w.Until(t, "the container without a policy to have ended with 137", Sees(lost, func(c podman.Container) bool {
		return c.State == podman.StateExited && c.ExitCode == 137 && c.Restarts == 0
	}))
	c.h.Act(t, Crash, kept, "")
	w.Until(t, "the other container to run again, restarted once", Sees(kept, func(c podman.Container) bool {
		return c.State == podman.StateRunning && c.Restarts == 1 && c.PID != first.PID && !c.FinishedAt.IsZero()
	}))
}

// silence also shows that what is already true is delivered at once to a second watch.
func (c *contract) silence(t *testing.T) {
	id := c.start(t, Spec{Name: "web", Health: true})
	c.h.Act(t, Check, id, "")
	quick, err := podman.New(podman.Options{Socket: c.h.Socket(), Timeouts: podman.Timeouts{
		Settle: 20 * time.Millisecond, Resync: 20 * time.Millisecond,
	}})
	if err != nil {
		t.Fatal(err)
	}
	w, fence := Watch(t, quick), Watch(t, c.e)
	w.Until(t, "the first picture", In(id, podman.StateRunning))
	fence.Until(t, "the first picture", In(id, podman.StateRunning))
	before := w.Count()
	// Nothing of these changes the container; the rename that follows proves that they were seen.
	c.h.Act(t, Check, id, "")
	c.h.Act(t, Check, id, "")
	c.h.Act(t, Rename, id, "fence")
	w.Until(t, "the rename", Sees(id, func(c podman.Container) bool { return c.Name == "fence" }))
	if n := w.Count() - before; n != 1 {
		t.Errorf("one change, %d snapshots", n)
	}
}

func (c *contract) killed(t *testing.T) {
	w := Watch(t, c.e)
	id := c.start(t, Spec{Name: "web"})
	s, _ := w.Until(t, "the container to run", In(id, podman.StateRunning))
	web, _ := Find(s, id)
	n, began := w.Count(), time.Now()
	c.h.Service(t, ServiceKill)
	s, at := w.After(t, n, "Podman to be down", func(s podman.Snapshot) bool { return !s.Up })
	t.Logf("service killed → down: %s", at.Sub(began).Round(time.Millisecond))
	if !errors.Is(s.Err, podman.ErrDown) {
		t.Errorf("the reason is %v, want one that matches ErrDown", s.Err)
	}
	// A question that the dying service had already accepted ends with a reset; the next one is plain.
	s, _ = w.Until(t, "nobody to listen", func(s podman.Snapshot) bool { return errors.Is(s.Err, podman.ErrRefused) })
	if got, _ := Find(s, id); !cmp.Equal(got, web) {
		t.Errorf("the last known container is lost: %s", cmp.Diff(web, got))
	}
	if _, err := c.e.Version(c.context(t)); !errors.Is(err, podman.ErrRefused) || podman.Hint(err) == "" {
		t.Errorf("Version of a dead Podman: %v", err)
	}
	n, began = w.Count(), time.Now()
	c.h.Service(t, ServiceStart)
	s, at = w.After(t, n, "the container to be seen again, the same process", Sees(id, func(c podman.Container) bool {
		return c.State == podman.StateRunning && c.PID == web.PID
	}))
	t.Logf("command to start the service → full snapshot: %s", at.Sub(began).Round(time.Millisecond))
	if len(s.Containers) != 1 || s.Err != nil || s.Version == "" {
		t.Errorf("after the restart: %+v", s)
	}
	c.h.Act(t, Stop, id, "")
	w.Until(t, "changes to be seen again", In(id, podman.StateExited))
}

func (c *contract) frozen(t *testing.T) {
	w := Watch(t, c.e)
	id := c.start(t, Spec{Name: "web"})
	w.Until(t, "the container to run", In(id, podman.StateRunning))
	n, began := w.Count(), time.Now()
	c.h.Service(t, ServiceFreeze)
	thawed := false
	defer func() {
		if !thawed { // else the cleanup would hang
			c.h.Service(t, ServiceThaw)
		}
	}()
	s, at := w.After(t, n, "Podman to be down", func(s podman.Snapshot) bool { return !s.Up })
	t.Logf("service frozen → down: %s", at.Sub(began).Round(time.Millisecond))
	if !errors.Is(s.Err, podman.ErrTimeout) || !errors.Is(s.Err, podman.ErrDown) {
		t.Errorf("the reason is %v, want ErrTimeout", s.Err)
	}
	short, err := podman.New(podman.Options{Socket: c.h.Socket(), Timeouts: podman.Timeouts{Call: 50 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	defer short.Close()
	if _, err := short.List(c.context(t)); !errors.Is(err, podman.ErrTimeout) {
		t.Errorf("List of a frozen Podman: %v", err)
	}
	n, began = w.Count(), time.Now()
	c.h.Service(t, ServiceThaw)
	thawed = true
	_, at = w.After(t, n, "the container to be seen again", In(id, podman.StateRunning))
	t.Logf("service thawed → full snapshot: %s", at.Sub(began).Round(time.Millisecond))
}
