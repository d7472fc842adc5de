package podman

import (
	"context"
	"maps"
	"sync"
	"time"
)

// maxPending bounds the containers that wait to be inspected. Beyond it one list replaces them.
const maxPending = 256

// session keeps the picture up to date over one connection and returns why it could not go on.
func (w *watcher) session(parent context.Context) error {
	patience := w.engine.limits.Ping
	if w.told && !w.up {
		// Nobody waits for the news that it is still down, and a board may need seconds to start it.
		patience = w.engine.limits.Call
	}
	version, err := w.engine.ping(parent, patience)
	if err != nil {
		return err
	}
	w.version = version
	var helpers sync.WaitGroup
	ctx, stop := context.WithCancelCause(parent)
	defer helpers.Wait()
	defer stop(nil)

	stream, err := w.engine.events(ctx, version)
	if err != nil {
		return err
	}
	m := mailbox{events: make(chan event, maxPending), overflow: make(chan struct{}, 1)}
	helpers.Go(func() {
		defer stream.Close()
		stop(readEvents(stream, m.put))
	})
	helpers.Go(func() { stop(w.engine.pulse(ctx)) })

	err = w.keep(ctx, m)
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// mailbox carries events from the stream to the watcher. Putting never waits: when it is full, what
// was dropped is found by a list.
type mailbox struct {
	events   chan event
	overflow chan struct{}
}

func (m mailbox) put(ev event) {
	select {
	case m.events <- ev:
	default:
		select {
		case m.overflow <- struct{}{}:
		default:
		}
	}
}

// checks are the containers whose health check has begun and not ended, where Podman sends
// health_status at the beginning (see earlyHealth). At most maxPending; beyond it the resync tells.
type checks map[string]struct{}

// afterCheck is when a container is looked at after its check has ended. Podman writes the result
// after the event: some milliseconds after, or on a busy board much later.
var afterCheck = []time.Duration{150 * time.Millisecond, 1200 * time.Millisecond}

// note takes an event and reports whether its container should be looked at now. Those to be looked at
// later come back through m.
func (c checks) note(ev event, m mailbox) bool {
	if ev.action != actionExecDied {
		if ev.action == actionHealth && len(c) < maxPending {
			c[ev.id] = struct{}{}
		}
		return true
	}
	if _, checking := c[ev.id]; checking {
		delete(c, ev.id)
		for _, wait := range afterCheck {
			time.AfterFunc(wait, func() { m.put(event{id: ev.id}) })
		}
	}
	return false
}

// keep lists, delivers, and then follows the changes until ctx ends or Podman fails.
func (w *watcher) keep(ctx context.Context, m mailbox) error {
	limits := w.engine.limits
	pending, full := map[string]struct{}{}, true
	checking := checks{}
	resync := time.NewTimer(limits.Settle)
	defer resync.Stop()
	gate := time.NewTimer(0) // while it runs, changes are only gathered
	defer gate.Stop()
	open := false
	for {
		if open && (full || len(pending) > 0) {
			if err := w.refresh(ctx, pending, full); err != nil {
				return err
			}
			if full {
				maps.DeleteFunc(checking, func(id string, _ struct{}) bool { _, known := w.known[id]; return !known })
			}
			clear(pending)
			full, open = false, false
			gate.Reset(limits.Debounce)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-gate.C:
			open = true
		case ev := <-m.events:
			if !checking.note(ev, m) {
				continue
			}
			if pending[ev.id] = struct{}{}; len(pending) > maxPending {
				clear(pending)
				full = true
			}
		case <-m.overflow:
			full = true
		case <-resync.C:
			full = true
			resync.Reset(limits.Resync)
		}
	}
}

func (w *watcher) refresh(ctx context.Context, pending map[string]struct{}, full bool) error {
	if err := w.look(ctx, pending); err != nil {
		return err
	}
	if full {
		if err := w.relist(ctx); err != nil {
			return err
		}
	}
	w.publish()
	return nil
}
