package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"piccolo.io/piccolo/node/api/client"
	"piccolo.io/piccolo/node/api/feed"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/topology"
)

// event is one change on a watch stream, with the moment at which it was
// read here. Node or Container is set, by its kind; both are nil for what
// was deleted.
type event struct {
	at        time.Time
	key       string
	node      *topology.Node
	container *workload.Container
}

// watcher follows the watch stream of nodes and containers of a master.
type watcher struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu     sync.Mutex
	err    error
	synced chan struct{}
	waits  map[*wait]struct{}
	status map[string]topology.NodeStatus // by name
	// alarms counts changes from Ready to NotReady by a node's name.
	alarms map[string]int
}

// wait is for the first event that matches.
type wait struct {
	match func(event) bool
	found chan event
}

// watch begins to follow; it returns once the snapshot has been read.
func watch(ctx context.Context, c *client.HTTP) (*watcher, error) {
	ctx, cancel := context.WithCancel(ctx)
	w := &watcher{
		cancel: cancel, done: make(chan struct{}), synced: make(chan struct{}), waits: map[*wait]struct{}{},
		status: map[string]topology.NodeStatus{}, alarms: map[string]int{},
	}
	go func() {
		defer close(w.done)
		err := c.Watch(ctx, []string{feed.KindNode, feed.KindContainer}, "", w.take)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.err = err
	}()
	select {
	case <-w.synced:
		return w, nil
	case <-w.done:
	case <-time.After(waitLimit):
	}
	w.close()
	return nil, fmt.Errorf("watch the cluster: %w", errors.Join(w.err, errors.New("no snapshot came")))
}

func (w *watcher) close() {
	w.cancel()
	<-w.done
}

func (w *watcher) take(c feed.Change) error {
	e := event{at: time.Now(), key: c.Key}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case c.Type == feed.TypeSynced:
		select {
		case <-w.synced:
		default:
			close(w.synced)
		}
		return nil
	case c.Type == feed.TypePut && c.Kind == feed.KindNode:
		if err := json.Unmarshal(c.Object, &e.node); err != nil {
			return err
		}
		n := e.node
		if w.status[n.Name] == topology.StatusReady && n.Status == topology.StatusNotReady {
			w.alarms[n.Name]++
		}
		w.status[n.Name] = n.Status
	case c.Type == feed.TypePut:
		if err := json.Unmarshal(c.Object, &e.container); err != nil {
			return err
		}
	case c.Type != feed.TypeDelete:
		return nil
	}
	for wt := range w.waits {
		if wt.match(e) {
			delete(w.waits, wt)
			wt.found <- e
		}
	}
	return nil
}

// expect is called before the cause of an event, await after it.
func (w *watcher) expect(match func(event) bool) *wait {
	wt := &wait{match: match, found: make(chan event, 1)}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waits[wt] = struct{}{}
	return wt
}

// errMissed says that an awaited event did not come in time.
var errMissed = errors.New("not seen on the watch stream")

// await returns when the event was seen. what is for the error.
func (w *watcher) await(ctx context.Context, wt *wait, what string) (time.Time, error) {
	timer := time.NewTimer(waitLimit)
	defer timer.Stop()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.waits, wt)
	}()
	select {
	case e := <-wt.found:
		return e.at, nil
	case <-timer.C:
		return time.Time{}, fmt.Errorf("%s: %w within %s", what, errMissed, waitLimit)
	case <-w.done:
		return time.Time{}, fmt.Errorf("%s: the watch stream ended: %w", what, w.err)
	case <-ctx.Done():
		return time.Time{}, ctx.Err()
	}
}

// falseAlarms returns how often nodes other than this one were reported
// NotReady since the watcher began; "" counts all.
func (w *watcher) falseAlarms(but string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for name, count := range w.alarms {
		if name != but {
			n += count
		}
	}
	return n
}

// becomes matches a node's change to a status.
func becomes(name string, status topology.NodeStatus) func(event) bool {
	return func(e event) bool { return e.node != nil && e.node.Name == name && e.node.Status == status }
}
