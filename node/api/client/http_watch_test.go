package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/api/client"
	"piccolo.io/piccolo/node/api/feed"
	"piccolo.io/piccolo/node/api/rest"
	"piccolo.io/piccolo/node/api/rest/resttest"
)

// watching runs Watch and hands out what it tells.
type watching struct {
	t       testing.TB
	changes chan feed.Change
	ended   chan error
	cancel  context.CancelFunc
}

func watch(t testing.TB, c *client.HTTP, lastID string, kinds ...string) *watching {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &watching{t: t, changes: make(chan feed.Change, 1024), ended: make(chan error, 1), cancel: cancel}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		w.ended <- c.Watch(ctx, kinds, lastID, func(c feed.Change) error { w.changes <- c; return nil })
	}()
	t.Cleanup(func() { cancel(); <-gone })
	return w
}

func (w *watching) next() feed.Change {
	w.t.Helper()
	select {
	case c := <-w.changes:
		return c
	case err := <-w.ended:
		w.t.Fatalf("the watch ended: %v", err)
	case <-time.After(patience):
		w.t.Fatal("nothing came")
	}
	return feed.Change{}
}

func (w *watching) end() error {
	w.t.Helper()
	select {
	case err := <-w.ended:
		return err
	case <-time.After(patience):
		w.t.Fatal("the watch did not end")
	}
	return nil
}

func (w *watching) types(n int) []string {
	w.t.Helper()
	var out []string
	for range n {
		out = append(out, w.next().Type)
	}
	return out
}

func TestWatchGoesOnAfterARestart(t *testing.T) {
	c := resttest.New(t, true)
	s, _, stop := c.Serve(t, nil)
	address := s.Addr().String()
	w := watch(t, admin(t, c, s), "", feed.KindNode)
	if d := cmp.Diff([]string{"reset", "put", "put", "synced"}, w.types(4)); d != "" {
		t.Fatal(d)
	}
	must(t, c.Hub.Publish(feed.KindNode, "x", 1))
	if got := w.next(); got.Key != "x" || got.ID == "" {
		t.Fatalf("change %+v", got)
	}
	stop()
	must(t, c.Hub.Publish(feed.KindNode, "x", 2))
	c.Serve(t, func(o *rest.Options) { o.Listen = address })
	if got := w.next(); got.Type != feed.TypePut || string(got.Object) != "2" {
		t.Fatalf("after the restart: %+v, want only what was missed", got)
	}
	if got := w.next(); got.Type != feed.TypeSynced {
		t.Fatalf("after the restart: %+v, want synced", got)
	}
	w.cancel()
	if err := w.end(); !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}

func TestWatchFromAnID(t *testing.T) {
	c := resttest.New(t, true)
	s, _, _ := c.Serve(t, nil)
	first := watch(t, admin(t, c, s), "", feed.KindNode)
	first.types(3)
	id := first.next().ID
	must(t, c.Hub.Publish(feed.KindNode, "x", 1))
	if got := watch(t, admin(t, c, s), id, feed.KindNode).next(); got.Key != "x" {
		t.Errorf("change %+v", got)
	}
}

func TestWatchReturnsTheCallersError(t *testing.T) {
	c := resttest.New(t, true)
	s, _, _ := c.Serve(t, nil)
	enough := errors.New("enough")
	if err := admin(t, c, s).Watch(t.Context(), nil, "", func(feed.Change) error { return enough }); err != enough {
		t.Errorf("error %v", err)
	}
}

func TestWatchThatIsRefusedLater(t *testing.T) {
	c := resttest.New(t, true)
	h := c.Handler(t, func(o *rest.HandlerOptions) { o.Heartbeat = 20 * time.Millisecond })
	s, _, _ := c.Serve(t, func(o *rest.Options) { o.Handler = h })
	w := watch(t, admin(t, c, s), "")
	w.next()
	c.RevokeToken()
	isError(t, w.end(), api.KindUnauthenticated, "token")
}

// lines is a server that sends one text per connection.
func lines(t testing.TB, seen chan<- string, texts ...string) *client.HTTP {
	t.Helper()
	var n atomic.Int32
	return newHTTP(t, client.HTTPOptions{Silence: time.Second, Socket: fake(t, func(w http.ResponseWriter, r *http.Request) {
		i := int(n.Add(1)) - 1
		seen <- r.Header.Get("Last-Event-ID")
		if i >= len(texts) {
			problem(w, api.KindDenied)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		text, hang := strings.CutSuffix(texts[i], "HANG")
		fmt.Fprint(w, text)
		if hang {
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}
	})})
}

// However a stream ends, the next one goes on after the last whole event.
func TestWatchWithBrokenStreams(t *testing.T) {
	seen := make(chan string, 10)
	c := lines(t, seen,
		"event:stream\nid:\ndata:{\"type\":\"reset\"}\n\nevent:node\ndata:{\"type\":\"put\",\"kind\":\"node\",\"key\":\"a\",\"object\":1}\n\n", // cut in a snapshot
		"event:stream\nid:e-5\ndata:{\"type\":\"synced\"}\n\nevent:node\nid:e-6\ndata:{\"type\":\"put\",\"ki",                                  // cut in an event
		"event:stream\ndata:{\"type\":\"cut\",\"reason\":\"slow\"}\n\n",
		": only a comment\n\nHANG", // silent for ever
		"event:node\nid:e-7\ndata:{\"type\":\"delete\",\"kind\":\"node\",\"key\":\"a\"}\n\n",
	)
	w := watch(t, c, "")
	if d := cmp.Diff([]string{"reset", "put", "synced", "delete"}, w.types(4)); d != "" {
		t.Error(d)
	}
	isError(t, w.end(), api.KindDenied, "told so")
	var ids []string
	for range 6 {
		ids = append(ids, <-seen)
	}
	if d := cmp.Diff([]string{"", "", "e-5", "e-5", "e-5", "e-7"}, ids); d != "" {
		t.Errorf("ids that the server saw: %s", d)
	}
}

// FuzzStream: whatever a server sends, Watch ends or goes on, and what it
// tells has a type.
func FuzzStream(f *testing.F) {
	for _, s := range []string{"", "data:{}\n\n", "event:node\nid:a-1\ndata:{\"type\":\"put\"}\n\n", "id\n\n", ":\n\n", "data:{\"type\":\"put\",\"object\":{\"a\":[1,\n\n", "id:a\x00b\ndata:{\"type\":\"x\"}\n\n", "\ufeffdata:{\"type\":\"put\"}\r\rretry:1\r\n\r\n"} {
		f.Add([]byte(s))
	}
	var body atomic.Value
	c := newHTTP(f, client.HTTPOptions{Socket: fake(f, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = w.Write(body.Load().([]byte))
	})})
	f.Fuzz(func(t *testing.T, b []byte) {
		body.Store(b)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		err := c.Watch(ctx, nil, "", func(c feed.Change) error {
			if c.Type == "" {
				t.Fatal("a change without a type")
			}
			return nil
		})
		if err == nil {
			t.Fatal("Watch ended without a reason")
		}
	})
}
