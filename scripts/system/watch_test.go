//go:build lab

package system

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"piccolo.io/piccolo/node/api/feed"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/scripts/lab"
	"piccolo.io/piccolo/topology"
)

// watching is an open watch stream of the master.
type watching struct {
	c       *cluster
	changes chan feed.Change
	// names of the containers that were shown, by key.
	names map[string]string
}

// watch opens a stream from board1 and returns when it has told its snapshot,
// whose changes are the first to be seen.
func (c *cluster) watch(kinds ...string) *watching {
	c.t.Helper()
	w := &watching{c: c, changes: make(chan feed.Change, 4096), names: map[string]string{}}
	ctx, cancel := context.WithCancel(c.t.Context())
	synced, ended := make(chan struct{}), make(chan error, 1)
	master := c.api(c.Board(1))
	go func() {
		ended <- master.Watch(ctx, kinds, "", func(ch feed.Change) error {
			if ch.Type == feed.TypeSynced {
				select {
				case <-synced:
				default:
					close(synced)
				}
			}
			select {
			case w.changes <- ch:
				return nil
			default:
				return errors.New("nobody takes the changes")
			}
		})
	}()
	c.t.Cleanup(func() {
		cancel()
		<-ended
	})
	select {
	case <-synced:
	case err := <-ended:
		ended <- err
		c.t.Fatalf("watch: %v", err)
	case <-time.After(soon):
		c.t.Fatalf("watch: no snapshot within %v", soon)
	}
	return w
}

// state waits for the change that shows a node in this state.
func (w *watching) state(deadline time.Duration, b *lab.Board, want string) {
	w.c.t.Helper()
	began, last := time.Now(), "no change"
	found := w.until(deadline, func(ch feed.Change) bool {
		var n topology.Node
		if ch.Kind != feed.KindNode || json.Unmarshal(ch.Object, &n) != nil || n.Name != b.Name {
			return false
		}
		last = state(n)
		return last == want
	})
	if !found {
		w.c.t.Fatalf("the watch stream does not show %s as %s within %v, but %s; its console ends:\n%s", b.Name, want, deadline, last, tail(b.Console(), 15))
	}
	w.c.t.Logf("%s is %s after %v", b.Name, want, time.Since(began).Round(time.Millisecond))
}

// container waits for the change that shows a container of a board as match
// wants it; nil waits for its removal.
func (w *watching) container(deadline time.Duration, b *lab.Board, name, what string, match func(workload.Container) bool) {
	w.c.t.Helper()
	began, last := time.Now(), "no change"
	found := w.until(deadline, func(ch feed.Change) bool {
		if ch.Kind != feed.KindContainer {
			return false
		}
		if ch.Type == feed.TypeDelete {
			return match == nil && w.names[ch.Key] == b.Name+"/"+name
		}
		var k workload.Container
		if json.Unmarshal(ch.Object, &k) != nil {
			return false
		}
		w.names[ch.Key] = k.NodeName + "/" + k.Name
		if w.names[ch.Key] != b.Name+"/"+name {
			return false
		}
		last = string(ch.Object)
		return match != nil && match(k)
	})
	if !found {
		w.c.t.Fatalf("the watch stream does not show %s of %s as %s within %v, but: %s", name, b.Name, what, deadline, last)
	}
	w.c.t.Logf("%s of %s is %s after %v", name, b.Name, what, time.Since(began).Round(time.Millisecond))
}

func (w *watching) until(deadline time.Duration, match func(feed.Change) bool) bool {
	timer := time.NewTimer(deadline)
	defer timer.Stop()
	for {
		select {
		case ch := <-w.changes:
			if match(ch) {
				return true
			}
		case <-timer.C:
			return false
		}
	}
}

// changesOf collects the states that a node is shown in during a time. It is
// for what must not happen, so the whole time passes.
func (w *watching) changesOf(b *lab.Board, during time.Duration) []string {
	var states []string
	w.until(during, func(ch feed.Change) bool {
		var n topology.Node
		if ch.Kind == feed.KindNode && json.Unmarshal(ch.Object, &n) == nil && n.Name == b.Name {
			if s := state(n); len(states) == 0 || states[len(states)-1] != s {
				states = append(states, s)
			}
		}
		return false
	})
	return states
}
