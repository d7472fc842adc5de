package podmantest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"piccolo.io/piccolo/podman"
)

// Contract runs everything that the podman room promises against h, which must have no containers yet
// and is left without any.
func Contract(t *testing.T, h Harness) {
	c := &contract{h: h, e: newEngine(t, h.Socket())}
	for _, part := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"service", c.service},
		{"run", c.run},
		{"exit code", c.exitCode},
		{"not found", c.notFound},
		{"stats", c.stats},
		{"stop, start, remove", c.stopStart},
		{"pause and rename", c.pauseRename},
		{"health", c.health},
		{"crash and restart policy", c.crash},
		{"silent when nothing changes", c.silence},
		{"service killed and started", c.killed},
		{"service frozen", c.frozen},
	} {
		if !t.Run(part.name, part.run) {
			return // the next part would start from a broken state
		}
	}
}

type contract struct {
	h Harness
	e *podman.Engine
}

func newEngine(t testing.TB, socket string) *podman.Engine {
	t.Helper()
	e, err := podman.New(podman.Options{Socket: socket})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

func (c *contract) context(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// start runs a container that is removed at the end of the part.
func (c *contract) start(t *testing.T, s Spec) string {
	t.Helper()
	id := c.h.Run(t, s)
	t.Cleanup(func() {
		if _, err := c.e.Inspect(context.Background(), id); !errors.Is(err, podman.ErrNotFound) {
			c.h.Act(t, Remove, id, "")
		}
	})
	return id
}

func (c *contract) service(t *testing.T) {
	ctx := c.context(t)
	version, err := c.e.Version(ctx)
	if err != nil {
		t.Fatal(err)
	}
	info, err := c.e.Info(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if version == "" || info.Version != version || info.GraphRoot == "" || info.Runtime == "" || info.Arch == "" ||
		info.CgroupVersion == "" || len(info.CgroupControllers) == 0 || info.NetworkBackend == "" || info.EventLogger == "" {
		t.Errorf("version %q, info incomplete: %+v", version, info)
	}
	if all, err := c.e.List(ctx); err != nil || len(all) != 0 {
		t.Errorf("a new Podman lists %v, error %v", all, err)
	}
}

func (c *contract) run(t *testing.T) {
	ports := []podman.Port{
		{HostIP: "0.0.0.0", HostPort: 8080, ContainerPort: 80, Protocol: "tcp"},
		{HostIP: "127.0.0.1", HostPort: 5001, ContainerPort: 5000, Protocol: "udp"},
	}
	before := time.Now().Add(-time.Second) // clocks of the service and of the test are one clock
	id := c.start(t, Spec{Name: "web", Labels: map[string]string{"piccolo.test": "a b=c"}, Ports: ports})
	got, err := c.e.Inspect(c.context(t), "web")
	if err != nil {
		t.Fatal(err)
	}
	if got.ID != id || got.Name != "web" || got.Image != Image || len(got.ImageID) != 64 || got.PID <= 0 {
		t.Errorf("identity of the container %s: %+v", id, got)
	}
	if got.State != podman.StateRunning || got.Health != podman.HealthNone || got.ExitCode != 0 || got.Restarts != 0 {
		t.Errorf("condition of a new container: %+v", got)
	}
	if diff := cmp.Diff(ports, got.Ports); diff != "" {
		t.Errorf("ports (-want +got):\n%s", diff)
	}
	if got.Labels["piccolo.test"] != "a b=c" {
		t.Errorf("labels are %v", got.Labels)
	}
	if got.CreatedAt.Before(before) || got.StartedAt.Before(got.CreatedAt) || !got.FinishedAt.IsZero() {
		t.Errorf("created %s, started %s, finished %s", got.CreatedAt, got.StartedAt, got.FinishedAt)
	}
	all, err := c.e.List(c.context(t))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]podman.Container{got}, all); diff != "" {
		t.Errorf("List and Inspect differ (-inspect +list):\n%s", diff)
	}
}

func (c *contract) exitCode(t *testing.T) {
	w := Watch(t, c.e)
	id := c.start(t, Spec{Name: "once", Exit: 7})
	s, _ := w.Until(t, "the container to end", In(id, podman.StateExited))
	got, _ := Find(s, id)
	if got.ExitCode != 7 || got.PID != 0 || got.FinishedAt.IsZero() {
		t.Errorf("a container that ended with 7: %+v", got)
	}
}

func (c *contract) notFound(t *testing.T) {
	for _, id := range []string{"nobody", "a/b", "../json", "ä %2f", "x?y#z"} {
		if _, err := c.e.Inspect(c.context(t), id); err == nil || errors.Is(err, podman.ErrDown) {
			t.Errorf("inspecting %q: error %v", id, err)
		}
	}
	if _, err := c.e.Inspect(c.context(t), "nobody"); !errors.Is(err, podman.ErrNotFound) {
		t.Errorf("inspecting nobody: error %v, want ErrNotFound", err)
	}
}

func (c *contract) stats(t *testing.T) {
	one := c.start(t, Spec{Name: "one"})
	two := c.start(t, Spec{Name: "two"})
	c.start(t, Spec{Name: "ended", Exit: 3})
	all, err := c.e.Stats(c.context(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 2 || all[0].ID != one || all[1].ID != two {
		t.Fatalf("two containers run, measured are %+v", all)
	}
	for _, u := range all {
		if u.MemoryBytes == 0 || u.MemoryLimit < u.MemoryBytes || u.PIDs == 0 || u.CPUPercent < 0 || u.CPUPercent > 100*1024 {
			t.Errorf("implausible: %+v", u)
		}
	}
	some, err := c.e.Stats(c.context(t), two, "ended", "nobody")
	if err != nil || len(some) != 1 || some[0].ID != two {
		t.Errorf("asked for two, ended, nobody: %+v, error %v", some, err)
	}
}

func (c *contract) stopStart(t *testing.T) {
	w := Watch(t, c.e)
	id := c.start(t, Spec{Name: "web"})
	s, _ := w.Until(t, "the container to run", In(id, podman.StateRunning))
	first, _ := Find(s, id)
	c.h.Act(t, Stop, id, "")
	w.Until(t, "the container to be stopped", Sees(id, func(c podman.Container) bool {
		return c.State == podman.StateExited && c.PID == 0 && !c.FinishedAt.IsZero()
	}))
	c.h.Act(t, Start, id, "")
	w.Until(t, "the container to run again", Sees(id, func(c podman.Container) bool {
		return c.State == podman.StateRunning && c.StartedAt.After(first.StartedAt) && c.PID != first.PID && c.ExitCode == 0
	}))
	c.h.Act(t, Remove, id, "")
	w.Until(t, "the container to be gone", func(s podman.Snapshot) bool {
		_, found := Find(s, id)
		return s.Up && !found
	})
}
