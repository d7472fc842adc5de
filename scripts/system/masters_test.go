//go:build lab

package system

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/scripts/lab"
	"piccolo.io/piccolo/topology"
)

// seen waits until one board knows another in a state.
func (c *cluster) seen(from, of *lab.Board, want string) {
	c.t.Helper()
	c.Eventually(ready, of.Name+" as "+from.Name+" knows it", func() error {
		n, err := c.api(from).Node(c.t.Context(), of.Name)
		if err != nil {
			return err
		}
		if got := state(n.Value); got != want {
			return fmt.Errorf("it is %s, not %s", got, want)
		}
		return nil
	})
}

// TestMasters: three of them, of which each is lost in another way, and a sub
// that moves from one to the other.
func TestMasters(t *testing.T) {
	t.Parallel()
	c := start(t, lab.Up(t, 4, lab.Options{}), 1)
	first, second, third, sub := c.Board(1), c.Board(2), c.Board(3), c.Board(4)
	token := strings.TrimSpace(c.piccolo(first, ok("--role master"), "token create --role master").Out)
	line := strings.Fields(token[strings.Index(token, "piccolo join"):])
	second.Spawn(append(line, "--name", second.Name, "--foreground")...)
	c.states(ready, isReady, second)
	c.piccolo(first, ok("survives the loss of its standby"), "status")
	third.Spawn(append(line, "--name", third.Name, "--foreground")...)
	c.join(sub)
	c.states(ready, isReady, third, sub)
	c.Eventually(ready, "three votes", func() error {
		if out := c.piccolo(first, ok(), "events").Out; !strings.Contains(out, "3 masters vote") {
			return fmt.Errorf("events on board1: %s", out)
		}
		return nil
	})
	c.piccolo(third, ok("survives the loss of one more master"), "status")

	for i, loss := range []struct {
		lose, back func(*lab.Board)
		lost, asks *lab.Board
	}{
		{func(b *lab.Board) { b.Kill(lab.Piccolo) }, func(b *lab.Board) { run(b) }, first, second},
		{func(b *lab.Board) { b.Freeze(lab.Piccolo) }, func(b *lab.Board) { b.Thaw(lab.Piccolo) }, second, third},
		{func(b *lab.Board) { b.Unplug() }, func(b *lab.Board) { b.Plug() }, third, first},
	} {
		loss.lose(loss.lost)
		value := fmt.Sprint("v", i)
		c.Eventually(ready, "a write without "+loss.lost.Name, func() error {
			_, err := c.api(loss.asks).PatchNode(t.Context(), sub.Name, api.NodePatch{Labels: map[string]*string{"turn": &value}})
			return err
		})
		c.seen(loss.asks, loss.lost, isUnreachable)
		c.seen(loss.asks, sub, isReady)
		c.Eventually(ready, "the sub has a master", func() error {
			if out := c.piccolo(sub, ok(), "status").Out; !strings.Contains(out, "Online") {
				return fmt.Errorf("it says %s", out)
			}
			return nil
		})
		loss.back(loss.lost)
		for _, b := range []*lab.Board{first, second, third} {
			c.seen(loss.asks, b, isReady)
		}
		c.Eventually(ready, loss.lost.Name+" has what was written without it", func() error {
			n, err := c.api(loss.lost).Node(t.Context(), sub.Name)
			if err == nil && n.Value.Labels["turn"] != value {
				err = fmt.Errorf("labels %v", n.Value.Labels)
			}
			return err
		})
	}
	c.piccolo(second, ok("becomes a sub"), "node demote board3")
	c.Eventually(time.Minute, "board3 is a sub", func() error {
		n, err := c.api(first).Node(t.Context(), third.Name)
		if err == nil && (n.Value.Role != topology.RoleSub || n.Value.Status != topology.StatusReady || n.Value.APIPort != 0) {
			err = fmt.Errorf("it is a %s, %s", n.Value.Role, state(n.Value))
		}
		return err
	})
	if left := third.Do("sh", "-c", "ls "+dataDir).Out; strings.Contains(left, "ca.key") || strings.Contains(left, "etcd") {
		t.Errorf("a sub keeps what only masters hold: %s", left)
	}
}
