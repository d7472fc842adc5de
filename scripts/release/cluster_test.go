//go:build lab

package release

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"piccolo.io/piccolo/scripts/lab"
	"piccolo.io/piccolo/topology"
)

// cluster is boards of a lab and the master that knows of them.
type cluster struct {
	t *testing.T
	*lab.Lab
	master *lab.Board
}

// put copies a file's content to a board.
func (c *cluster) put(b *lab.Board, path, content string) {
	c.t.Helper()
	b.WriteFile(path, content)
	b.Exec("chmod", "755", path)
}

// install does what a person does with a tarball, twice.
func (c *cluster) install(b *lab.Board, tarball string) {
	c.t.Helper()
	content, err := os.ReadFile(tarball)
	if err != nil {
		c.t.Fatal(err)
	}
	name := filepath.Base(tarball)
	c.put(b, "/root/"+name, string(content))
	b.Exec("tar", "-xzf", "/root/"+name, "-C", "/root")
	script := "/root/" + strings.TrimSuffix(name, ".tar.gz") + "/install.sh"
	expect(c.t, "install", b.Exec("sh", script), "installed piccolo "+testVersion)
	expect(c.t, "install again", b.Exec("sh", script, "/root/"+name), "before it was: piccolo "+testVersion)
}

// joinLine makes a token and returns the words to be typed on a board.
func (c *cluster) joinLine() []string {
	c.t.Helper()
	line := strings.Fields(c.master.Exec("piccolo", "token", "create"))
	if len(line) < 5 || line[0] != "piccolo" || line[1] != "join" {
		c.t.Fatalf("piccolo token create printed %q", line)
	}
	return line
}

// node is what the master says of a board.
func (c *cluster) node(b *lab.Board) (topology.Node, error) {
	out, err := c.master.TryExec(c.t.Context(), "piccolo", "node", "ls", "-o", "json")
	if err != nil {
		return topology.Node{}, err
	}
	var nodes []topology.Node
	if err := json.Unmarshal([]byte(out), &nodes); err != nil {
		return topology.Node{}, fmt.Errorf("read %q: %w", out, err)
	}
	for _, n := range nodes {
		if n.Name == b.Name {
			return n, nil
		}
	}
	return topology.Node{}, fmt.Errorf("no node %s among %d", b.Name, len(nodes))
}

// ready waits until the master says that the board's node is Ready, and that
// it has heard from it since.
func (c *cluster) ready(b *lab.Board, since time.Time, deadline time.Duration) (n topology.Node) {
	c.t.Helper()
	c.Eventually(deadline, b.Name+" is Ready", func() (err error) {
		if n, err = c.node(b); err != nil {
			return err
		}
		if n.Status != topology.StatusReady || n.LastHeartbeat == nil || n.LastHeartbeat.Before(since) {
			return fmt.Errorf("it is %s %v, last heartbeat %v", n.Status, n.Reasons, n.LastHeartbeat)
		}
		return nil
	})
	return n
}

// lost waits until the master has noticed that the board's daemon is gone.
func (c *cluster) lost(b *lab.Board, deadline time.Duration) (n topology.Node) {
	c.t.Helper()
	c.Eventually(deadline, b.Name+" is NotReady", func() (err error) {
		if n, err = c.node(b); err != nil {
			return err
		}
		if n.Status != topology.StatusNotReady {
			return fmt.Errorf("it is %s", n.Status)
		}
		return nil
	})
	return n
}

// runs waits until `piccolo ps` on the master shows this container of
// the board as running.
func (c *cluster) runs(b *lab.Board, container string) {
	c.t.Helper()
	c.Eventually(15*time.Second, container+" on "+b.Name+" is in piccolo ps", func() error {
		out, err := c.master.TryExec(c.t.Context(), "piccolo", "ps")
		if err != nil {
			return err
		}
		for line := range strings.Lines(out) {
			if f := strings.Fields(line); len(f) > 3 && f[0] == b.Name && f[1] == container && f[3] == "running" {
				return nil
			}
		}
		return errors.New(out)
	})
}

// waitSocket waits until the daemon on a board answers commands.
func (c *cluster) waitSocket(b *lab.Board) {
	c.t.Helper()
	c.Eventually(30*time.Second, "the daemon on "+b.Name+" answers", func() error {
		if _, err := b.TryExec(c.t.Context(), "piccolo", "status"); err != nil {
			return fmt.Errorf("%w; its console: %s", err, b.Console())
		}
		return nil
	})
}

// property is one of piccolo.service's, as systemd knows it.
func property(b *lab.Board, name string) string {
	return strings.TrimSpace(b.Exec("systemctl", "show", "--value", "--property", name, "piccolo.service"))
}
