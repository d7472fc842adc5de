//go:build lab

package system

import (
	"strings"
	"testing"

	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/scripts/lab"
)

// TestContainers shows every change of every container, with the oldest and
// with a new Podman: board1 and board2 have this machine's, board3 Debian
// 13's under its systemd, which runs the health checks.
func TestContainers(t *testing.T) {
	t.Parallel()
	l := lab.Up(t, 2, lab.Options{})
	l.Add(lab.Options{Base: "trixie"})
	l.Eventually(ready, "systemd runs on board3", func() error {
		_, err := l.Board(3).TryExec(t.Context(), "sh", "-c", "systemctl is-system-running --wait | grep -E 'running|degraded'")
		return err
	})
	c := start(t, l, 3)
	for _, b := range c.Boards()[1:] {
		c.chapter("changes on "+b.Name, func(c *cluster) { c.changes(b) })
		c.chapter("Podman is away on "+b.Name, func(c *cluster) { c.podmanAway(b) })
	}
	c.chapter("health", func(c *cluster) {
		b := c.Board(3)
		w := c.watch("container")
		w.container(ready, b, "web", "healthy", func(k workload.Container) bool { return k.Health == "healthy" })
		b.Exec("curl", "-sS", "-X", "POST", "http://127.0.0.1:8080/healthz?state=bad")
		w.container(ready, b, "web", "unhealthy", func(k workload.Container) bool { return k.Health == "unhealthy" })
	})
	c.chapter("the master's own Podman is away", func(c *cluster) { c.podmanAway(c.Board(1)) })
	c.chapter("figures", func(c *cluster) {
		c.piccolo(c.Board(1), ok(`board2 +sensor .*\d%.* MB`, `board3 +sensor .*\d%.* MB`, `8080→8080/tcp`), "ps --stats")
		c.piccolo(c.Board(1), ok(`"memory_bytes": \d{5,}`, `"node_name": "board3"`), "ps board3 --stats -o json")
		c.piccolo(c.Board(2), ok(`sensor`, `as of`), "ps")
		c.piccolo(c.Board(1), fails(3, `node "board9" is not in this cluster`), "ps board9")
	})
}

// changes makes every kind of change behind piccolo's back.
func (c *cluster) changes(b *lab.Board) {
	w := c.watch("container")
	is := func(states string) func(workload.Container) bool {
		return func(k workload.Container) bool { return k.State == states }
	}
	b.Containers(3)
	for _, name := range []string{"web", "sensor", "worker"} {
		w.container(soon, b, name, "running", is("running"))
	}
	b.Exec("podman", "stop", "-t", "0", "worker")
	w.container(soon, b, "worker", "exited", is("exited"))
	if got := c.piccolo(c.Board(1), ok("sensor"), "ps "+b.Name).Out; strings.Contains(got, "worker") {
		c.t.Errorf("piccolo ps lists what does not run:\n%s", got)
	}
	c.piccolo(c.Board(1), ok(b.Name+` +worker .*exited`), "ps -a "+b.Name)
	b.Exec("podman", "start", "worker")
	w.container(soon, b, "worker", "running", is("running"))
	b.Exec("podman", "kill", "--signal", "KILL", "worker")
	w.container(soon, b, "worker", "killed", func(k workload.Container) bool { return k.State == "exited" && k.ExitCode == 137 })
	b.Exec("podman", "pause", "sensor")
	w.container(soon, b, "sensor", "paused", is("paused"))
	b.Exec("podman", "unpause", "sensor")
	w.container(soon, b, "sensor", "running", is("running"))
	b.Exec("sh", "-c", "kill -9 $(podman inspect -f '{{.State.Pid}}' web)")
	w.container(soon, b, "web", "started again", func(k workload.Container) bool { return k.State == "running" && k.Restarts > 0 })
	b.Exec("podman", "rm", "-f", "worker")
	w.container(soon, b, "worker", "removed", nil)
}

// podmanAway stops, freezes and restarts Podman's service: a condition of the
// node, and nothing that its daemon dies of.
func (c *cluster) podmanAway(b *lab.Board) {
	w, daemon := c.watch("node"), b.Exec("pgrep", "-x", "piccolo")
	b.StopPodman()
	w.state(ready, b, isPodmanDown)
	c.piccolo(c.Board(1), ok(`(?s)Alerts:.*error `+b.Name), "status")
	b.StartPodman()
	w.state(ready, b, isReady)
	b.Freeze("podman")
	w.state(2*ready, b, isPodmanDown)
	b.Thaw("podman")
	w.state(ready, b, isReady)
	if now := b.Exec("pgrep", "-x", "piccolo"); now != daemon {
		c.t.Errorf("piccolo on %s was pid %s, now %s", b.Name, daemon, now)
	}
}
