//go:build lab

package system

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"piccolo.io/piccolo/scripts/lab"
)

// lossTime is for the loss of a board that says no goodbye; the promise, a
// second, is measured by `make bench`.
const lossTime = 15 * time.Second

// TestFaults takes boards away in every way, and gives them back.
func TestFaults(t *testing.T) {
	t.Parallel()
	c := start(t, lab.Up(t, 3, lab.Options{}), 3)
	c.chapter("a sub is killed", func(c *cluster) {
		w, b := c.watch("node"), c.Board(3)
		b.Kill(lab.Piccolo)
		w.state(soon, b, isUnreachable)
		run(b)
		w.state(ready, b, isReady)
	})
	c.chapter("a sub's daemon is frozen", func(c *cluster) {
		w, b := c.watch("node"), c.Board(3)
		b.Freeze(lab.Piccolo)
		w.state(lossTime, b, isUnreachable)
		b.Thaw(lab.Piccolo)
		w.state(ready, b, isReady)
	})
	c.chapter("a whole board is frozen", func(c *cluster) {
		w, b := c.watch("node"), c.Board(2)
		b.Freeze(lab.WholeBoard)
		w.state(lossTime, b, isUnreachable)
		b.Thaw(lab.WholeBoard)
		w.state(ready, b, isReady)
	})
	c.chapter("a cable is pulled", unplugged)
	c.chapter("a sub loses power", func(c *cluster) {
		w, b := c.watch("node"), c.Board(2)
		b.PowerCut()
		w.state(lossTime, b, isUnreachable)
		b.Start()
		run(b)
		w.state(ready, b, isReady)
	})
	c.chapter("two subs do not reach each other", func(c *cluster) {
		// The master reaches both, so neither is lost.
		w := c.watch("node")
		c.Cut(c.Board(2), c.Board(3))
		for _, b := range c.Boards()[1:] {
			if states := w.changesOf(b, 4*time.Second); strings.Contains(fmt.Sprint(states), "NotReady") {
				t.Errorf("%s was %v while the master reached it", b.Name, states)
			}
		}
		c.Heal()
	})
	c.chapter("the way to the master is cut", oneWay)
	c.chapter("a sub gets another address", func(c *cluster) {
		b, before := c.Board(3), c.node(c.Board(3))
		b.SetAddress("10.77.0.99")
		c.Eventually(ready, "board3 is Ready at its new address", func() error {
			n, err := c.find(b)
			if err == nil && (n.ID != before.ID || n.IP != "10.77.0.99" || state(n) != isReady) {
				err = fmt.Errorf("it is %s (%s) at %s", state(n), n.ID, n.IP)
			}
			return err
		})
	})
}

func unplugged(c *cluster) {
	w, b := c.watch("node"), c.Board(3)
	b.Unplug()
	w.state(lossTime, b, isUnreachable)
	// Its own user is told, and when it was.
	c.Eventually(ready, "board3 knows that it is alone", func() error {
		got := b.Do("piccolo", "status")
		if got.Code != 0 || !strings.Contains(got.Out, "Offline since") || !strings.Contains(got.Err, "as of 2") {
			return fmt.Errorf("it says: %s%s", got.Out, got.Err)
		}
		return nil
	})
	c.piccolo(b, ok("board1", "board2", "as of"), "node ls")
	b.Plug()
	w.state(ready, b, isReady)
}

// oneWay cuts what board3 sends to the master: the master, which does not hear
// it, may condemn it, but does not change its mind all the time.
func oneWay(c *cluster) {
	w, b := c.watch("node"), c.Board(3)
	c.CutOneWay(b, c.Board(1))
	w.state(ready, b, isUnreachable)
	if states := w.changesOf(b, 8*time.Second); len(states) > 2 {
		c.t.Errorf("board3 flaps while its way to the master is cut: %v", states)
	}
	c.Heal()
	w.state(ready, b, isReady)
}

// TestMasterAway takes the only master away: the subs go on by themselves.
func TestMasterAway(t *testing.T) {
	t.Parallel()
	c := start(t, lab.Up(t, 3, lab.Options{}), 3)
	c.Board(2).Containers(2)
	for _, lose := range []struct {
		name       string
		away, back func(*lab.Board)
	}{
		{"killed", func(b *lab.Board) { b.Kill(lab.Piccolo) }, func(*lab.Board) {}},
		{"power cut", (*lab.Board).PowerCut, (*lab.Board).Start},
	} {
		c.chapter(lose.name, func(c *cluster) {
			master, sub := c.Board(1), c.Board(2)
			c.Eventually(soon, "the master knows the containers", func() error {
				if got := master.Do("piccolo", "ps", "board2").Out; strings.Count(got, "running") != 2 {
					return fmt.Errorf("piccolo ps: %s", got)
				}
				return nil
			})
			lose.away(master)
			c.Eventually(ready, "board2 is offline and says so", func() error {
				if got := sub.Do("piccolo", "status"); got.Code != 0 || !strings.Contains(got.Out, "Offline since") {
					return fmt.Errorf("it says: %s%s", got.Out, got.Err)
				}
				return nil
			})
			c.piccolo(sub, ok(`as of 2`, `Nodes +3`, `Containers +2, 2 running`), "status")
			c.piccolo(sub, ok(`as of 2`, `board1 +master`, `board3 +sub`), "node ls")
			c.piccolo(sub, ok(`web .*running`), "ps")
			if got := sub.Exec("podman", "ps", "--format", "{{.Names}}"); strings.Count(got, "\n") != 2 {
				t.Errorf("board2 has lost containers: %s", got)
			}
			lose.back(master)
			run(master)
			c.reattached()
		})
	}
	c.chapter("a sub reboots meanwhile", rebootAlone)
}

// rebootAlone starts a sub whose master is away: it works from its cache.
func rebootAlone(c *cluster) {
	master, sub := c.Board(1), c.Board(3)
	c.piccolo(master, ok(), "node log-level board3 debug")
	c.Eventually(soon, "board3 has confirmed its plan", func() error { return c.confirmed(sub) })
	master.PowerCut()
	sub.Reboot()
	run(sub)
	c.Eventually(soon, "board3 answers its own user", func() error {
		_, err := sub.TryExec(c.t.Context(), "piccolo", "status")
		return err
	})
	c.piccolo(sub, ok(`Cluster +piccolo`, `This node +board3 \(sub`, `Offline`), "status")
	c.piccolo(sub, ok(`board1 +master`, `board2 +sub`), "node ls")
	c.piccolo(sub, ok(`as of 2`), "node ls")
	// The plan came from the disk: with it the level of the log.
	c.says(sub, strings.LastIndex(sub.Console(), "gossip is up"), "level=DEBUG")
	master.Start()
	run(master)
	c.reattached()
}

// reattached waits until every board is back with a master that has just
// started, and checks that none of them was lost to it meanwhile.
func (c *cluster) reattached() {
	c.t.Helper()
	for _, b := range c.Boards() {
		c.Eventually(ready, b.Name+" is online", func() error {
			if got := b.Do("piccolo", "status"); !strings.Contains(got.Out, "Online since") {
				return fmt.Errorf("it says: %s%s", got.Out, got.Err)
			}
			return nil
		})
	}
	c.states(ready, isReady, c.Boards()...)
	if events := c.piccolo(c.Board(1), ok(), "events").Out; strings.Contains(events, "NotReady") {
		c.t.Errorf("a node was lost while the master returned:\n%s", events)
	}
}

// confirmed is nil when the node obeys the newest plan there is for it.
func (c *cluster) confirmed(b *lab.Board) error {
	n, err := c.find(b)
	if err == nil && (n.PlanRevision == 0 || n.PlanRevision != n.AppliedRevision) {
		err = fmt.Errorf("its plan is at revision %d, it has applied %d", n.PlanRevision, n.AppliedRevision)
	}
	return err
}
