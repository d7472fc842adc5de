package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/tmaxmax/go-sse"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/api/feed"
)

// maxChange bounds one event of the stream, in bytes.
const maxChange = 4 << 20

// Watch calls on for every change of the kinds (all of them for none), in
// order, until ctx ends or on returns an error; that error is returned as it
// is. It goes on after lastID, or with a snapshot for "".
//
// A stream that is lost later is taken up again where it was; on hears a
// reset when that was not possible. Only when the first attempt fails, or the
// server refuses for another reason than being busy, Watch returns an
// *api.Error.
func (c *HTTP) Watch(ctx context.Context, kinds []string, lastID string, on func(feed.Change) error) error {
	w := &watch{c: c, path: "/api/v1/watch?" + url.Values{"kinds": {strings.Join(kinds, ",")}}.Encode(), lastID: lastID, on: on}
	wait := &backoff.ExponentialBackOff{InitialInterval: 100 * time.Millisecond, Multiplier: 2, RandomizationFactor: 0.3, MaxInterval: 5 * time.Second}
	wait.Reset()
	for {
		heard, err := w.once(ctx)
		w.began = w.began || heard
		var own *callerError
		switch {
		case errors.As(err, &own):
			return own.err
		case ctx.Err() != nil:
			return ctx.Err()
		case !w.began || !passing(err):
			return err
		}
		if heard {
			wait.Reset()
		}
		pause := time.NewTimer(wait.NextBackOff())
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		}
	}
}

// passing reports whether another attempt may go better.
func passing(err error) bool {
	var e *api.Error
	return !errors.As(err, &e) || e.Kind == api.KindUnavailable || e.Kind == api.KindTooMany
}

// callerError carries the error of the caller's own function.
type callerError struct{ err error }

func (e *callerError) Error() string { return e.err.Error() }

// watch is the state of one Watch across its connections.
type watch struct {
	c      *HTTP
	path   string
	lastID string
	on     func(feed.Change) error
	// began is true once any stream has said anything.
	began bool
}

// once follows one stream to its end, and reports whether it said anything.
func (w *watch) once(ctx context.Context) (heard bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// The timer also ends a connection attempt that hangs.
	silent := &api.Error{Kind: api.KindUnavailable, Message: fmt.Sprintf("watch %s: nothing was heard for %s", w.c.name, w.c.o.Silence)}
	timer := time.AfterFunc(w.c.o.Silence, func() { cancel(silent) })
	defer timer.Stop()
	head := http.Header{"Accept": {"text/event-stream"}}
	if w.lastID != "" {
		head.Set("Last-Event-ID", w.lastID)
	}
	res, _, err := w.c.send(ctx, http.MethodGet, w.path, nil, head)
	if err != nil {
		return false, w.cause(ctx, err)
	}
	defer res.Body.Close()
	body := &alive{r: res.Body, timer: timer, silence: w.c.o.Silence}
	for event, err := range sse.Read(body, &sse.ReadConfig{MaxEventSize: maxChange}) {
		if err != nil {
			return heard, w.cause(ctx, w.c.explain(ctx, err))
		}
		change, ok := parseChange(event)
		if !ok {
			break // the stream broke off in the middle of an event
		}
		heard = true
		if change.Type == feed.TypeCut {
			return heard, &api.Error{Kind: api.KindUnavailable, Message: fmt.Sprintf("watch %s: the server ended the stream: %s", w.c.name, change.Reason)}
		}
		// The caller's own time is not the server's silence.
		timer.Stop()
		if err := w.on(change); err != nil {
			return heard, &callerError{err}
		}
		timer.Reset(w.c.o.Silence)
		w.lastID = change.ID
	}
	return heard, w.cause(ctx, w.c.explain(ctx, io.ErrUnexpectedEOF))
}

// cause puts the reason for which once ended the context itself in the place
// of what followed from it.
func (w *watch) cause(ctx context.Context, err error) error {
	var own *api.Error
	if errors.As(context.Cause(ctx), &own) {
		return own
	}
	return err
}

// parseChange reads one event of the stream. Its ID is the last one that the
// stream gave, which is what to come back with.
func parseChange(event sse.Event) (feed.Change, bool) {
	var change feed.Change
	if err := json.Unmarshal([]byte(event.Data), &change); err != nil || change.Type == "" {
		return feed.Change{}, false
	}
	change.ID = event.LastEventID
	return change, true
}

// alive winds a timer up whenever anything is read, a heartbeat too.
type alive struct {
	r       io.Reader
	timer   *time.Timer
	silence time.Duration
}

func (a *alive) Read(b []byte) (int, error) {
	n, err := a.r.Read(b)
	if n > 0 {
		a.timer.Reset(a.silence)
	}
	return n, err
}
