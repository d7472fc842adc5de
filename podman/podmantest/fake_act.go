package podmantest

import (
	"fmt"
	"testing"
	"time"

	"piccolo.io/piccolo/podman"
)

// Run creates a container as Harness wants it.
func (f *Fake) Run(t testing.TB, s Spec) string {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.find(s.Name) != nil {
		t.Fatalf("the fake Podman has a container %q already", s.Name)
	}
	f.serial++
	c := &podman.Container{
		ID: fmt.Sprintf("%064x", f.serial), Name: s.Name, Image: Image, ImageID: fmt.Sprintf("%064x", 0xa), State: podman.StateCreated,
		Labels: s.Labels, Ports: s.Ports, CreatedAt: time.Now(),
	}
	if s.Health {
		c.Health = podman.HealthStarting
	}
	f.containers[c.ID], f.restart[c.ID] = c, s.Restart
	f.usage[c.ID] = podman.Usage{ID: c.ID, MemoryBytes: 1 << 20, MemoryLimit: 1 << 30, PIDs: 5, CPUPercent: 1}
	f.emit("create", c, "")
	f.start(c)
	if s.Exit > 0 {
		f.end(c, s.Exit)
	}
	return c.ID
}

func (f *Fake) start(c *podman.Container) {
	f.serial++
	c.State, c.PID, c.StartedAt, c.ExitCode = podman.StateRunning, 1000+f.serial, time.Now(), 0
	f.emit("init", c, "")
	f.emit("start", c, "")
}

func (f *Fake) end(c *podman.Container, code int) {
	c.State, c.PID, c.FinishedAt, c.ExitCode = podman.StateExited, 0, time.Now(), code
	f.emit("died", c, "")
	f.emit("cleanup", c, "")
}

// Act changes a container as Harness wants it.
func (f *Fake) Act(t testing.TB, a Act, id, name string) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.containers[id]
	if c == nil {
		t.Fatalf("the fake Podman has no container %s to %s", id, a)
		return
	}
	switch a {
	case Stop:
		f.end(c, 0)
		f.emit("stop", c, "")
	case Start:
		c.Restarts = 0
		f.start(c)
	case Pause:
		c.State = podman.StatePaused
		f.emit("pause", c, "")
	case Unpause:
		c.State = podman.StateRunning
		f.emit("unpause", c, "")
	case Rename:
		c.Name = name
		f.emit("rename", c, "")
	case Remove:
		delete(f.containers, id)
		f.emit("remove", c, "")
	case Crash:
		f.end(c, 137)
		if f.restart[id] {
			c.Restarts++
			f.start(c)
		}
	case Check:
		f.check(c)
	case Sicken, Heal:
		f.sick[id] = a == Sicken
		f.emit("exec", c, "")
		f.emit("exec_died", c, "")
	default:
		t.Fatalf("the fake Podman cannot %s", a)
	}
}

// checkStep is the time between the events of a health check of Podman 4 and before its result.
const checkStep = 20 * time.Millisecond

// check runs the health check of c. Podman 4.3.1 sends health_status when the check begins, with the
// result of the one before, and writes the result after the last event of it. Call with f.mu held.
func (f *Fake) check(c *podman.Container) {
	result := podman.HealthHealthy
	if f.sick[c.ID] {
		result = podman.HealthUnhealthy
	}
	if !f.old() {
		c.Health = result
		f.emit("health_status", c, result)
		return
	}
	f.emit("health_status", c, c.Health)
	f.unlocked(checkStep)
	f.emit("exec_died", c, "")
	f.unlocked(checkStep)
	c.Health = result
}

// unlocked lets others use the fake for a while. Call with f.mu held.
func (f *Fake) unlocked(d time.Duration) {
	f.mu.Unlock()
	defer f.mu.Lock()
	<-time.After(d)
}

// Service changes the service as Harness wants it.
func (f *Fake) Service(t testing.TB, a ServiceAct) {
	t.Helper()
	switch a {
	case ServiceKill:
		f.Stop()
	case ServiceStart:
		if err := f.Start(); err != nil {
			t.Fatal(err)
		}
	case ServiceFreeze:
		f.Freeze()
	case ServiceThaw:
		f.Thaw()
	default:
		t.Fatalf("the fake Podman's service cannot %s", a)
	}
}
