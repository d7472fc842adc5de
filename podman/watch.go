package podman

import (
	"context"
	"errors"
	"reflect"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Snapshot is the whole picture at one moment: all containers, and whether Podman answers.
type Snapshot struct {
	// Up: Podman answers and Containers is what is. If not, Containers is what was last seen (they go
	// on running without Podman's service) and Err says why.
	Up bool
	// Err matches ErrDown, or ErrRejected or ErrBadAnswer when Podman answers but cannot list. nil when Up.
	Err error
	// Version of Podman that was last seen, such as "5.4.2"; empty before the first contact.
	Version string
	// Containers, sorted by name, running or not. Do not change them.
	Containers []Container
}

// steady is how long a connection must have lasted for the next loss to be a new one.
const steady = 5 * time.Second

// Watch calls deliver with the first picture as soon as Podman answered or failed to, and then with a
// new one whenever something changed; never twice with the same. It returns when ctx ends.
//
// A change of a container is delivered at once after a quiet time, else within Timeouts.Debounce. That
// Podman died is delivered at once, that it hangs within Timeouts.Ping + Timeouts.PingEvery.
//
// deliver is never called concurrently. While it runs, what happens is gathered into the next snapshot.
func (e *Engine) Watch(ctx context.Context, deliver func(Snapshot)) {
	w := &watcher{engine: e, log: e.log, deliver: deliver, known: map[string]sighting{}}
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval = min(100*time.Millisecond, e.limits.Reconnect)
	pause.RandomizationFactor = 0.3
	pause.Multiplier = 2
	// Jitter is added on top of the interval, so the cap leaves room for it.
	pause.MaxInterval = time.Duration(float64(e.limits.Reconnect) / 1.3)
	defer e.Close()
	for {
		began := time.Now()
		err := w.session(ctx)
		if ctx.Err() != nil {
			return
		}
		lasted := time.Since(began) > steady
		if lasted {
			pause.Reset()
		}
		if errors.Is(err, errStreamEnded) {
			// It may have died, or only been restarted by its socket: ask before calling it down.
			e.log.Info("podman ended the stream of events", "socket", e.socket)
			_, err = e.ping(ctx, e.limits.Ping)
		}
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			w.down(err)
		case lasted:
			continue
		}
		select {
		case <-time.After(pause.NextBackOff()):
		case <-ctx.Done():
			return
		}
	}
}

// sighting is a container and the list's row that it was seen with.
type sighting struct {
	container Container
	row       rowKey
}

// watcher is the state of one Watch; only the goroutine of Watch touches it.
type watcher struct {
	engine  *Engine
	log     logger
	deliver func(Snapshot)

	known   map[string]sighting
	version string
	changed bool // since the last delivery
	told    bool // whether anything was delivered yet
	up      bool // what was delivered last
	reason  string
}

type logger interface {
	Info(string, ...any)
	Warn(string, ...any)
}

func (w *watcher) down(err error) {
	if w.told && !w.up && w.reason == err.Error() {
		return
	}
	w.log.Warn("podman is down", "error", err)
	w.told, w.up, w.reason = true, false, err.Error()
	w.deliver(w.snapshot(err))
}

func (w *watcher) publish() {
	if w.told && w.up && !w.changed {
		return
	}
	if !w.up {
		w.log.Info("podman is up", "socket", w.engine.socket, "version", w.version, "containers", len(w.known))
	}
	w.told, w.up, w.reason, w.changed = true, true, "", false
	w.deliver(w.snapshot(nil))
}

func (w *watcher) snapshot(err error) Snapshot {
	s := Snapshot{Up: err == nil, Err: err, Version: w.version, Containers: make([]Container, 0, len(w.known))}
	for _, k := range w.known {
		s.Containers = append(s.Containers, k.container)
	}
	sortByName(s.Containers)
	return s
}

// look inspects the containers with the given ids.
func (w *watcher) look(ctx context.Context, ids map[string]struct{}) error {
	for id := range ids {
		c, err := w.engine.Inspect(ctx, id)
		switch {
		case errors.Is(err, ErrNotFound):
			w.forget(id)
		case answered(err):
			// One broken container must not hide the others; the resync tries again.
			w.log.Warn("container cannot be inspected", "error", err)
		case err != nil:
			return err
		default:
			// The row is unknown now; the next list supplies it.
			w.remember(c, rowKey{})
		}
	}
	return nil
}

// relist brings the picture in line with Podman's list. It inspects only what looks different from the
// last list.
func (w *watcher) relist(ctx context.Context) error {
	rows, err := w.engine.rows(ctx)
	if err != nil {
		return err
	}
	listed := make(map[string]bool, len(rows))
	for _, r := range rows {
		listed[r.ID] = true
		old, seen := w.known[r.ID]
		if seen && old.row == r.key() {
			continue
		}
		c, err := w.engine.Inspect(ctx, r.ID)
		switch {
		case errors.Is(err, ErrNotFound):
			delete(listed, r.ID)
			continue
		case answered(err):
			w.log.Warn("container cannot be inspected", "error", err)
			w.remember(r.container(), rowKey{})
			continue
		case err != nil:
			return err
		}
		w.remember(c, r.key())
	}
	for id := range w.known {
		if !listed[id] {
			w.forget(id)
		}
	}
	return nil
}

func (w *watcher) remember(c Container, r rowKey) {
	old, seen := w.known[c.ID]
	if !seen || !reflect.DeepEqual(old.container, c) {
		w.changed = true
	}
	w.known[c.ID] = sighting{c, r}
}

func (w *watcher) forget(id string) {
	if _, seen := w.known[id]; seen {
		delete(w.known, id)
		w.changed = true
	}
}
