package rest_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/api/feed"
	"piccolo.io/piccolo/node/api/rest"
	"piccolo.io/piccolo/node/api/rest/resttest"
)

// forBoth runs a test over HTTP/2 and over HTTP/1.1.
func forBoth(t *testing.T, f func(t *testing.T, http2 bool)) {
	t.Run("HTTP 2", func(t *testing.T) { f(t, true) })
	t.Run("HTTP 1.1", func(t *testing.T) { f(t, false) })
}

func TestWatch(t *testing.T) {
	forBoth(t, func(t *testing.T, http2 bool) {
		c := resttest.New(t, true)
		s, _, _ := c.Serve(t, nil)
		x := tlsCaller(t, c, s, nil, http2).admin()
		res := x.ask("GET", "/api/v1/watch?kinds=node,event", "")
		ch := messages(t, res)
		if m := next(t, ch); m.event != "stream" || m.change.Type != feed.TypeReset || !m.hasID || m.id != "" {
			t.Fatalf("the stream begins with %+v, want a reset that takes the id back", m)
		}
		for _, kind := range []string{"node", "node", "event"} {
			if m := next(t, ch); m.event != kind || m.change.Kind != kind || m.change.Type != feed.TypePut || m.hasID || m.change.Object == nil {
				t.Fatalf("snapshot: %+v", m)
			}
		}
		synced := next(t, ch)
		if synced.event != "stream" || synced.change.Type != feed.TypeSynced || synced.id == "" {
			t.Fatalf("after the snapshot: %+v", synced)
		}
		must(t, c.Hub.Publish(feed.KindAlert, "not/asked", 1))
		must(t, c.Hub.Publish(feed.KindNode, "x", map[string]string{"name": "line\nbreak"}))
		must(t, c.Hub.Publish(feed.KindNode, "x", nil))
		first := next(t, ch)
		if first.change.Key != "x" || first.id == "" || !strings.Contains(string(first.change.Object), `line\nbreak`) {
			t.Fatalf("change: %+v", first)
		}
		if m := next(t, ch); m.change.Type != feed.TypeDelete || m.id == first.id {
			t.Fatalf("change: %+v", m)
		}
		for name, change := range map[string]func(*http.Request){
			"header":    header("Last-Event-ID", first.id),
			"parameter": func(r *http.Request) { r.URL.RawQuery += "&last_event_id=" + first.id },
		} {
			again := messages(t, x.ask("GET", "/api/v1/watch?kinds=node", "", change))
			if m := next(t, again); m.change.Type != feed.TypeDelete || m.change.Key != "x" {
				t.Errorf("resumed by %s: %+v, want only what was missed", name, m)
			}
			if m := next(t, again); m.change.Type != feed.TypeSynced {
				t.Errorf("resumed by %s: %+v, want synced", name, m)
			}
		}
		fresh := messages(t, x.ask("GET", "/api/v1/watch?kinds=node", "", header("Last-Event-ID", "nonsense")))
		if m := next(t, fresh); m.change.Type != feed.TypeReset {
			t.Errorf("with an unknown id: %+v, want a reset", m)
		}
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWatchHasHeartbeats(t *testing.T) {
	c := resttest.New(t, true)
	h := c.Handler(t, func(o *rest.HandlerOptions) { o.Heartbeat = 20 * time.Millisecond })
	s, _, _ := c.Serve(t, func(o *rest.Options) { o.Handler = h })
	ch := messages(t, tlsCaller(t, c, s, nil, true).admin().ask("GET", "/api/v1/watch?kinds=alert", ""))
	for n := 0; n < 3; {
		select {
		case m, open := <-ch:
			if !open {
				t.Fatal("the stream ended")
			}
			if m.comment {
				n++
			}
		case <-time.After(patience):
			t.Fatal("no heartbeat came")
		}
	}
}

func TestWatchEndsWithTheCredential(t *testing.T) {
	c := resttest.New(t, true)
	h := c.Handler(t, func(o *rest.HandlerOptions) { o.Heartbeat = 20 * time.Millisecond })
	s, _, _ := c.Serve(t, func(o *rest.Options) { o.Handler = h })
	ch := messages(t, tlsCaller(t, c, s, nil, true).admin().ask("GET", "/api/v1/watch", ""))
	until(t, ch, feed.TypeSynced)
	c.RevokeToken()
	if m := until(t, ch, feed.TypeCut); !strings.Contains(m.change.Reason, "token") {
		t.Errorf("reason %q", m.change.Reason)
	}
}

func TestWatchEndsWithTheHub(t *testing.T) {
	c := resttest.New(t, true)
	s, _, _ := c.Serve(t, nil)
	x := tlsCaller(t, c, s, nil, true).admin()
	ch := messages(t, x.ask("GET", "/api/v1/watch", ""))
	until(t, ch, feed.TypeSynced)
	c.Hub.Close()
	until(t, ch, feed.TypeCut)
	isProblem(t, x.ask("GET", "/api/v1/watch", ""), 503, api.KindUnavailable, "closed")
}

func TestWatchNeedsPermission(t *testing.T) {
	c := resttest.New(t, true)
	s, _, _ := c.Serve(t, nil)
	isProblem(t, tlsCaller(t, c, s, c.Sub, true).ask("GET", "/api/v1/watch?kinds=node", ""), 403, api.KindDenied, "")
	isProblem(t, tlsCaller(t, c, s, nil, true).ask("GET", "/api/v1/watch", ""), 401, api.KindUnauthenticated, "")
	ch := messages(t, tlsCaller(t, c, s, c.Master, true).ask("GET", "/api/v1/watch", ""))
	until(t, ch, feed.TypeSynced)
}

// A reader that takes nothing is cut, and what waits for it is bounded.
func TestSlowWatcherIsCut(t *testing.T) {
	forBoth(t, func(t *testing.T, http2 bool) {
		c := resttest.New(t, true)
		hub, err := feed.New(feed.Options{MaxSubscribers: 1, Queue: 8})
		must(t, err)
		h := c.Handler(t, func(o *rest.HandlerOptions) { o.Hub, o.WriteTimeout = hub, 200*time.Millisecond })
		s, _, _ := c.Serve(t, func(o *rest.Options) { o.Handler = h })
		res := tlsCaller(t, c, s, nil, http2).admin().ask("GET", "/api/v1/watch", "")
		if res.StatusCode != 200 {
			t.Fatal(res.Status)
		}
		// Nobody reads res.Body.
		big := strings.Repeat("x", 256<<10)
		n := 0
		eventually(t, func() string {
			n++
			must(t, hub.Publish(feed.KindNode, "a", map[string]any{"n": n, "pad": big}))
			sub, err := hub.Subscribe(t.Context(), nil, "")
			if err != nil {
				return "the slow reader is still there: " + err.Error()
			}
			sub.Close()
			return ""
		})
	})
}

func TestTooManyWatchers(t *testing.T) {
	c := resttest.New(t, true)
	hub, err := feed.New(feed.Options{MaxSubscribers: 2})
	must(t, err)
	h := c.Handler(t, func(o *rest.HandlerOptions) { o.Hub = hub })
	s, _, _ := c.Serve(t, func(o *rest.Options) { o.Handler = h })
	x := tlsCaller(t, c, s, nil, true).admin()
	for range 2 {
		until(t, messages(t, x.ask("GET", "/api/v1/watch", "")), feed.TypeSynced)
	}
	isProblem(t, x.ask("GET", "/api/v1/watch", ""), 503, api.KindUnavailable, "at most 2")
}
