//go:build lab

package system

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"piccolo.io/piccolo/scripts/lab"
	"piccolo.io/piccolo/topology"
)

// TestMembership lets boards in and puts them out.
func TestMembership(t *testing.T) {
	t.Parallel()
	l := lab.Up(t, 4, lab.Options{})
	c := start(t, l, 2)
	shortLived := strings.Fields(c.piccolo(c.Board(1), ok(), "token create --ttl 1m").Out)
	expires := time.Now().Add(time.Minute)
	c.chapter("approval", approval)
	c.chapter("removal", removal)
	c.chapter("leaving", func(c *cluster) {
		b := c.Board(3)
		c.piccolo(b, fails(2, "--yes"), "leave")
		c.piccolo(b, ok("has left its cluster", "piccolo join"), "leave --yes")
		c.gone(b)
		c.Eventually(soon, "board3 is forgotten", func() error { return c.forgotten(b) })
		c.piccolo(b, fails(3, "belongs to no cluster", "piccolo join"), "run")
		if left := b.Do("sh", "-c", "ls "+dataDir+" | grep -v -e lock -e lost+found").Out; left != "" {
			t.Errorf("a node that left keeps %s", left)
		}
		c.piccolo(c.Board(1), fails(4, "master"), "leave --yes")
		c.piccolo(c.Board(1), fails(4, "another piccolo runs"), "reset --yes")
	})
	c.chapter("a stolen identity", stolen)
	c.chapter("a token that has expired", func(c *cluster) {
		c.Eventually(time.Until(expires)+ready, "the token has expired", func() error {
			if list := c.piccolo(c.Board(1), ok(), "token ls").Out; !strings.Contains(list, "expired") {
				return fmt.Errorf("the tokens: %s", list)
			}
			return nil
		})
		c.expect(c.Board(4), fails(6, "expired", "piccolo token create"), append(shortLived, "--foreground")...)
	})
}

// pending waits until the master asks its administrator about a board.
func (c *cluster) pending(b *lab.Board) {
	c.t.Helper()
	c.states(ready, string(topology.StatusPending), b)
}

func (c *cluster) forgotten(b *lab.Board) error {
	if n, err := c.find(b); err == nil {
		return fmt.Errorf("it is %s", state(n))
	}
	return nil
}

func approval(c *cluster) {
	master, b := c.Board(1), c.Board(3)
	c.apply(ok(`revision \d+`), set("approval", "manual"))
	mark := len(b.Console())
	c.join(b)
	c.pending(b)
	c.says(b, mark, "piccolo node approve board3")
	c.piccolo(master, ok("1 Pending", "piccolo node approve"), "status")
	c.piccolo(master, ok("being removed|rejected"), "node rm board3 --yes")
	c.says(b, mark, "rejected by")
	c.gone(b)
	c.Eventually(soon, "board3 is forgotten", func() error { return c.forgotten(b) })
	c.piccolo(b, fails(3, "belongs to no cluster"), "run")

	c.join(b)
	c.pending(b)
	c.piccolo(master, fails(4), "node maintenance board3")
	// The power goes while it waits. It goes on with the same key.
	asked := c.node(b).ID
	b.Kill(lab.Piccolo)
	c.gone(b)
	mark = len(b.Console())
	c.join(b)
	c.says(b, mark, "piccolo node approve board3")
	if now := c.node(b).ID; now != asked {
		c.t.Errorf("board3 asked as %s and, after an interruption, as %s", asked, now)
	}
	c.piccolo(master, ok("approved"), "node approve board3")
	c.states(ready, isReady, b)
	c.piccolo(master, fails(4), "node approve board3")
	c.apply(ok(), set("approval", "token"))
}

func removal(c *cluster) {
	master, b := c.Board(1), c.Board(3)
	old, mark := c.node(b), len(b.Console())
	c.piccolo(master, fails(2, "--yes"), "node rm board3")
	c.piccolo(master, fails(4, "holds the cluster's data"), "node rm board1 --yes")
	c.piccolo(master, ok("being removed"), "node rm board3 --yes")
	c.says(b, mark, "was removed by")
	c.Eventually(soon, "board3 is forgotten", func() error { return c.forgotten(b) })
	c.piccolo(b, ok(`Removed`, `was removed by`), "status")

	// It comes back as it is: refused, and told why.
	b.Kill(lab.Piccolo)
	c.gone(b)
	mark = len(b.Console())
	run(b)
	c.says(b, mark, "was removed by")
	c.piccolo(b, ok(`Removed`, `was removed by`), "status")
	if err := c.forgotten(b); err != nil {
		c.t.Errorf("a removed node came back: %v", err)
	}

	// And anew.
	c.piccolo(b, ok("has removed this node already", "piccolo join"), "leave --yes")
	c.join(b)
	c.states(ready, isReady, b)
	if now := c.node(b); now.ID == old.ID {
		c.t.Errorf("board3 joined anew with its old key, as %s", now.ID)
	}
}

// stolen runs a copy of board2's data directory on board4.
func stolen(c *cluster) {
	master, original, thief := c.Board(1), c.Board(2), c.Board(4)
	w := c.watch("node")
	archive := original.Exec("sh", "-c", "tar -C "+dataDir+" -cf - . | base64")
	c.expectWith(thief, archive, ok(), "sh", "-c", "base64 -d | tar -C "+dataDir+" -xf -")
	run(thief)
	c.Eventually(ready, "the thief is told", func() error {
		if got := thief.Do("piccolo", "status").Out; !strings.Contains(got, "in use by another machine") {
			return fmt.Errorf("its status: %s", got)
		}
		return nil
	})
	c.piccolo(master, ok(`error board2: a second machine at 10.77.0.14`), "status")
	c.piccolo(original, ok(`Online`), "status")
	if states := w.changesOf(original, 4*time.Second); strings.Contains(fmt.Sprint(states), "NotReady") {
		c.t.Errorf("the original was %v while its identity was used elsewhere", states)
	}
	thief.Kill(lab.Piccolo)
	c.gone(thief)
	c.piccolo(thief, ok(), "reset --yes")
}
