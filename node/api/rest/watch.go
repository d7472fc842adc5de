package rest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/api/feed"
)

// streamEvent is the event name of the changes that are about the stream
// itself: reset, synced and cut. All others have the name of their kind.
const streamEvent = "stream"

// watch answers with server-sent events until somebody ends it. Every write
// has its own deadline: a reader that takes nothing is cut.
func (h *Handler) watch(c call) error {
	kinds, err := watchKinds(c.Request)
	if err != nil {
		return err
	}
	if err := h.o.Service.AuthorizeWatch(c.principal, kinds); err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", "text/event-stream")
	if c.Method == http.MethodHead {
		return nil
	}
	sub, err := h.o.Hub.Subscribe(c.Context(), kinds, lastEventID(c.Request))
	if err != nil {
		c.w.Header().Del("Content-Type")
		return &api.Error{Kind: api.KindUnavailable, Message: err.Error(), Hint: "try again later", Err: err}
	}
	defer sub.Close()
	s := &stream{rc: http.NewResponseController(c.w), out: bufio.NewWriter(c.w), timeout: h.o.WriteTimeout}
	// Proxies hold answers back to make them smaller, unless told.
	c.w.Header().Set("X-Accel-Buffering", "no")
	c.w.WriteHeader(http.StatusOK)
	err = h.stream(c, kinds, sub, s)
	h.o.Logger.Debug("watch ended", "by", c.principal.String(), "from", c.RemoteAddr, "reason", err)
	return nil
}

// stream sends the changes and returns why it ended.
func (h *Handler) stream(c call, kinds []string, sub *feed.Subscription, s *stream) error {
	if err := s.send(sub.Backlog()...); err != nil {
		return err
	}
	tick := time.NewTicker(h.o.Heartbeat)
	defer tick.Stop()
	for {
		select {
		case change, open := <-sub.Changes():
			if !open {
				return s.cut(sub.Err())
			}
			if err := s.send(append([]feed.Change{change}, waiting(sub)...)...); err != nil {
				return err
			}
		case <-tick.C:
			if err := h.stillAllowed(c, kinds); err != nil {
				return s.cut(err)
			}
			if err := s.heartbeat(); err != nil {
				return err
			}
		case <-stopping(c.Context()):
			return s.cut(errors.New("the server stops"))
		}
	}
}

// waiting takes what is in the queue already, so that a burst is one write.
func waiting(sub *feed.Subscription) []feed.Change {
	var out []feed.Change
	for range len(sub.Changes()) {
		change, open := <-sub.Changes()
		if !open {
			break
		}
		out = append(out, change)
	}
	return out
}

// stillAllowed looks at the credential again: a token may have been removed,
// a certificate may have run out.
func (h *Handler) stillAllowed(c call, kinds []string) error {
	p, err := h.principal(c.Request)
	if err != nil {
		return err
	}
	return h.o.Service.AuthorizeWatch(p, kinds)
}

// watchKinds reads ?kinds=node,alert; none is all.
func watchKinds(r *http.Request) ([]string, error) {
	var kinds []string
	for _, list := range r.URL.Query()["kinds"] {
		for kind := range strings.SplitSeq(list, ",") {
			if kind = strings.TrimSpace(kind); kind != "" {
				kinds = append(kinds, kind)
			}
		}
	}
	if len(kinds) > 4*len(feed.Kinds()) {
		return nil, api.Invalidf("watch: %d kinds are too many", len(kinds))
	}
	return kinds, nil
}

// lastEventID is what the reader heard last. Browsers send the header when
// they come back; the parameter is for the first time.
func lastEventID(r *http.Request) string {
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		return id
	}
	return r.URL.Query().Get("last_event_id")
}

// stream writes server-sent events.
type stream struct {
	rc      *http.ResponseController
	out     *bufio.Writer
	timeout time.Duration
}

// send writes changes and flushes once. Each write to the connection must
// make progress within the timeout.
func (s *stream) send(changes ...feed.Change) error {
	for _, c := range changes {
		if err := s.deadline(); err != nil {
			return err
		}
		if err := writeChange(s.out, c); err != nil {
			return fmt.Errorf("write to watcher: %w", err)
		}
	}
	return s.flush()
}

// heartbeat is a comment, which readers ignore and proxies do not.
func (s *stream) heartbeat() error {
	if err := s.deadline(); err != nil {
		return err
	}
	if _, err := s.out.WriteString(":\n\n"); err != nil {
		return fmt.Errorf("write to watcher: %w", err)
	}
	return s.flush()
}

// cut tells the reader, as well as it can, why the stream ends.
func (s *stream) cut(reason error) error {
	_ = s.send(feed.Change{Type: feed.TypeCut, Reason: api.Classify(reason).Message})
	return reason
}

func (s *stream) deadline() error {
	if err := s.rc.SetWriteDeadline(time.Now().Add(s.timeout)); err != nil {
		return fmt.Errorf("limit the time of a write: %w", err)
	}
	return nil
}

func (s *stream) flush() error {
	if err := s.out.Flush(); err != nil {
		return fmt.Errorf("write to watcher: %w", err)
	}
	if err := s.rc.Flush(); err != nil {
		return fmt.Errorf("write to watcher: %w", err)
	}
	return nil
}

// writeChange writes one event. The id stands before the data, so that
// whoever has the data has the whole id. JSON has no line breaks.
func writeChange(w io.Writer, c feed.Change) error {
	name, id := c.Kind, ""
	if name == "" {
		name = streamEvent
	}
	if c.ID != "" || c.Type == feed.TypeReset {
		// An empty id takes back the one that the reader has.
		id = "id:" + c.ID + "\n"
	}
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "event:%s\n%sdata:%s\n\n", name, id, data)
	return err
}
