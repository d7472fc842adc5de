package feed

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	"piccolo.io/piccolo/node/api"
)

// What ends or refuses a subscription.
var (
	// ErrSlow: the subscriber did not take the changes as fast as they came.
	ErrSlow = errors.New("the reader is too slow")
	// ErrFull: the hub has Options.MaxSubscribers already.
	ErrFull = errors.New("too many watchers")
	// ErrClosed: the hub was closed.
	ErrClosed = errors.New("the feed is closed")
	// ErrKind: a kind that is not in Kinds.
	ErrKind = errors.New("unknown kind")
)

// Options of a Hub.
type Options struct {
	// History is how many of the newest changes are kept for readers that
	// resume. Default 1024.
	History int
	// Events is how many lines of the log are kept. Default 500.
	Events int
	// Queue is how many changes may wait for one subscriber before it is cut.
	// Default 256.
	Queue int
	// MaxSubscribers at the same time. Default 64.
	MaxSubscribers int
	Logger         *slog.Logger
}

func (o Options) withDefaults() Options {
	for _, f := range []struct {
		field *int
		value int
	}{{&o.History, 1024}, {&o.Events, 500}, {&o.Queue, 256}, {&o.MaxSubscribers, 64}} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

func (o Options) validate() error {
	for _, f := range []struct {
		name  string
		value int
	}{{"History", o.History}, {"Events", o.Events}, {"Queue", o.Queue}, {"MaxSubscribers", o.MaxSubscribers}} {
		if f.value < 0 {
			return fmt.Errorf("feed: %s %d is negative", f.name, f.value)
		}
	}
	return nil
}

// Hub holds the newest state and hands every change of it to the subscribers.
// Its methods may be called by many goroutines at once and never wait for a
// subscriber.
type Hub struct {
	o     Options
	epoch string

	mu sync.Mutex
	// seq is the number of the newest change; 0 before the first.
	seq uint64
	// objects by kind and key. Events are in log instead.
	objects map[string]map[string]json.RawMessage
	log     ring[Change]
	changes ring[Change]
	subs    map[*Subscription]struct{}
	closed  bool
}

// New checks the options.
func New(o Options) (*Hub, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	var epoch [8]byte
	_, _ = rand.Read(epoch[:]) // never fails
	return &Hub{
		o:       o,
		epoch:   hex.EncodeToString(epoch[:]),
		objects: map[string]map[string]json.RawMessage{},
		log:     newRing[Change](o.Events),
		changes: newRing[Change](o.History),
		subs:    map[*Subscription]struct{}{},
	}, nil
}

// Publish sets what stands under kind and key, or removes it for a nil value.
// A value whose JSON is the same as before is no change. It fails for an
// unknown kind, for KindEvent (use Log) and for a value that has no JSON.
func (h *Hub) Publish(kind, key string, value any) error {
	if !ValidKind(kind) || kind == KindEvent {
		return fmt.Errorf("publish %s %s: %w", kind, key, ErrKind)
	}
	object, err := encode(value)
	if err != nil {
		return fmt.Errorf("publish %s %s: %w", kind, key, err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.set(kind, key, object)
	return nil
}

// Replace makes values everything that stands under kind with a key that
// begins with prefix: what is not in values is removed. All keys must begin
// with prefix. Either all of it is published or, on an error, nothing.
func (h *Hub) Replace(kind, prefix string, values map[string]any) error {
	if !ValidKind(kind) || kind == KindEvent {
		return fmt.Errorf("replace %s %s: %w", kind, prefix, ErrKind)
	}
	objects := make(map[string]json.RawMessage, len(values))
	for key, value := range values {
		if !strings.HasPrefix(key, prefix) {
			return fmt.Errorf("replace %s %s: key %q does not begin with it", kind, prefix, key)
		}
		object, err := encode(value)
		if err != nil {
			return fmt.Errorf("replace %s %s: %w", kind, key, err)
		}
		objects[key] = object
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(h.objects[kind])) {
		if _, stays := objects[key]; strings.HasPrefix(key, prefix) && !stays {
			h.set(kind, key, nil)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(objects)) {
		h.set(kind, key, objects[key])
	}
	return nil
}

// Log adds a line to the cluster's log, of which the newest Options.Events
// are kept.
func (h *Hub) Log(event any) error {
	object, err := encode(event)
	if err != nil {
		return fmt.Errorf("log event: %w", err)
	}
	if object == nil {
		return errors.New("log event: it is nil")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	// The key sorts by age, also beyond the tenth.
	key := fmt.Sprintf("%s-%020d", h.epoch, h.seq+1)
	h.log.push(h.emit(Change{Type: TypePut, Kind: KindEvent, Key: key, Object: object}))
	return nil
}

// Events returns the newest lines of the log, oldest first: at most limit, or
// all that are kept for 0.
func (h *Hub) Events(limit int) []json.RawMessage {
	h.mu.Lock()
	defer h.mu.Unlock()
	lines := h.log.last(h.log.len())
	if limit > 0 && limit < len(lines) {
		lines = lines[len(lines)-limit:]
	}
	out := make([]json.RawMessage, len(lines))
	for i, c := range lines {
		out[i] = c.Object
	}
	return out
}

// Subscribe begins to hear about the kinds (all of them for none), until ctx
// ends, the subscriber is too slow or Close is called.
//
// With the ID of a change that this hub still remembers the subscriber hears
// what it missed; with any other, and with "", it hears a snapshot. The kinds
// should be those of the first time: the hub does not know what a reader
// skipped by its own choice.
func (h *Hub) Subscribe(ctx context.Context, kinds []string, lastID string) (*Subscription, error) {
	for _, k := range kinds {
		if !ValidKind(k) {
			return nil, fmt.Errorf("watch %q: %w", k, ErrKind)
		}
	}
	if len(kinds) == 0 {
		kinds = Kinds()
	}
	s := &Subscription{hub: h, kinds: slices.Clone(kinds), queue: make(chan Change, h.o.Queue)}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closed:
		return nil, fmt.Errorf("watch: %w", ErrClosed)
	case len(h.subs) >= h.o.MaxSubscribers:
		return nil, fmt.Errorf("watch: %w: at most %d at a time", ErrFull, h.o.MaxSubscribers)
	}
	s.backlog = h.missed(s.kinds, lastID)
	h.subs[s] = struct{}{}
	s.stop = context.AfterFunc(ctx, func() { s.end(context.Cause(ctx)) })
	return s, nil
}

// Close ends every subscription with ErrClosed and refuses new ones.
// Publishing goes on without effect on anybody.
func (h *Hub) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for s := range h.subs {
		h.cut(s, ErrClosed)
	}
}

// encode returns nil for a value whose JSON is null.
func encode(value any) (json.RawMessage, error) {
	object, err := api.JSON(value)
	if err != nil || string(object) == "null" {
		return nil, err
	}
	return object, nil
}

// set makes one change of the state; the caller holds the lock.
func (h *Hub) set(kind, key string, object json.RawMessage) {
	old, was := h.objects[kind][key]
	switch {
	case object == nil && was:
		delete(h.objects[kind], key)
		h.emit(Change{Type: TypeDelete, Kind: kind, Key: key})
	case object != nil && !bytes.Equal(old, object):
		if h.objects[kind] == nil {
			h.objects[kind] = map[string]json.RawMessage{}
		}
		h.objects[kind][key] = object
		h.emit(Change{Type: TypePut, Kind: kind, Key: key, Object: object})
	}
}

// emit numbers a change, remembers it and hands it out; the caller holds the
// lock.
func (h *Hub) emit(c Change) Change {
	h.seq++
	c.ID = h.now().String()
	h.changes.push(c)
	for s := range h.subs {
		if !slices.Contains(s.kinds, c.Kind) {
			continue
		}
		select {
		case s.queue <- c:
		default:
			h.o.Logger.Info("watcher cut: it does not keep up", "waiting", len(s.queue))
			h.cut(s, fmt.Errorf("%w: %d changes wait for it", ErrSlow, len(s.queue)))
		}
	}
	return c
}

func (h *Hub) now() position { return position{epoch: h.epoch, seq: h.seq} }

// cut ends one subscription; the caller holds the lock.
func (h *Hub) cut(s *Subscription, reason error) {
	if _, there := h.subs[s]; !there {
		return
	}
	delete(h.subs, s)
	s.err = reason
	close(s.queue)
}

// missed is what a reader has to hear before the changes that come from now
// on; the caller holds the lock.
func (h *Hub) missed(kinds []string, lastID string) []Change {
	synced := Change{Type: TypeSynced, ID: h.now().String()}
	p, err := parseID(lastID)
	behind := h.seq - p.seq
	if err == nil && p.epoch == h.epoch && p.seq <= h.seq && behind <= uint64(h.changes.len()) {
		out := slices.DeleteFunc(h.changes.last(int(behind)), func(c Change) bool { return !slices.Contains(kinds, c.Kind) })
		return append(out, synced)
	}
	out := []Change{{Type: TypeReset}}
	for _, kind := range Kinds() {
		switch {
		case !slices.Contains(kinds, kind):
		case kind == KindEvent:
			for _, c := range h.log.last(h.log.len()) {
				c.ID = ""
				out = append(out, c)
			}
		default:
			for _, key := range slices.Sorted(maps.Keys(h.objects[kind])) {
				out = append(out, Change{Type: TypePut, Kind: kind, Key: key, Object: h.objects[kind][key]})
			}
		}
	}
	return append(out, synced)
}
