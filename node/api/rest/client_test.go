package rest_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"piccolo.io/piccolo/node/api/feed"
	"piccolo.io/piccolo/node/api/rest"
	"piccolo.io/piccolo/node/api/rest/resttest"
	"piccolo.io/piccolo/node/pki"
	"piccolo.io/piccolo/node/runtest"
)

// patience is how long a test waits for what must come.
const patience = 15 * time.Second

// caller makes requests to a running server.
type caller struct {
	t     testing.TB
	c     *resttest.Cluster
	http  *http.Client
	base  string
	token string
}

// over TLS with a node's certificate or none, over HTTP/2 or 1.1.
func tlsCaller(t testing.TB, c *resttest.Cluster, s *rest.Server, source *pki.Source, http2 bool) *caller {
	t.Helper()
	config := c.ClientTLS(t, source)
	if !http2 {
		config.NextProtos = []string{"http/1.1"}
	}
	tr := &http.Transport{ForceAttemptHTTP2: http2, DialTLSContext: func(ctx context.Context, _, address string) (net.Conn, error) {
		return pki.Dial(ctx, address, config)
	}}
	t.Cleanup(tr.CloseIdleConnections)
	return &caller{t: t, c: c, http: &http.Client{Transport: tr}, base: "https://" + s.Addr().String()}
}

func socketCaller(t testing.TB, c *resttest.Cluster, path string) *caller {
	t.Helper()
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	t.Cleanup(tr.CloseIdleConnections)
	return &caller{t: t, c: c, http: &http.Client{Transport: tr}, base: "http://piccolo"}
}

func (x *caller) as(token string) *caller {
	y := *x
	y.token = token
	return &y
}

func (x *caller) admin() *caller { return x.as(x.c.Token.Reveal()) }

func (x *caller) do(ctx context.Context, method, path, body string, change ...func(*http.Request)) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, x.base+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if x.token != "" {
		r.Header.Set("Authorization", "Bearer "+x.token)
	}
	for _, f := range change {
		f(r)
	}
	return x.http.Do(r)
}

func (x *caller) ask(method, path, body string, change ...func(*http.Request)) *http.Response {
	x.t.Helper()
	ctx, cancel := context.WithTimeout(x.t.Context(), patience)
	x.t.Cleanup(cancel)
	res, err := x.do(ctx, method, path, body, change...)
	if err != nil {
		x.t.Fatalf("%s %s: %v", method, path, err)
	}
	x.t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

// rawTLS is a bare connection to the server.
func rawTLS(t testing.TB, c *resttest.Cluster, s *rest.Server) net.Conn {
	t.Helper()
	config := c.ClientTLS(t, nil)
	config.NextProtos = []string{"http/1.1"}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", s.Addr().String(), config)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// message is one event of a stream as it stands on the wire.
type message struct {
	event, id string
	hasID     bool
	change    feed.Change
	comment   bool
}

// messages reads a stream by hand, so that the test does not depend on the
// forgiveness of a library. The channel is closed with the stream.
func messages(t testing.TB, res *http.Response) <-chan message {
	t.Helper()
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("watch: %s %s", res.Status, read(t, res))
	}
	out := make(chan message, 1024)
	go func() {
		defer close(out)
		var m message
		lines := bufio.NewScanner(res.Body)
		lines.Buffer(nil, 8<<20)
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ":")
			switch {
			case lines.Text() == "":
				out <- m
				m = message{}
			case name == "":
				m.comment = true
			case name == "event":
				m.event = value
			case name == "id":
				m.id, m.hasID = value, true
			case name == "data":
				if err := json.Unmarshal([]byte(value), &m.change); err != nil {
					t.Errorf("data %q: %v", value, err)
				}
			}
		}
	}()
	return out
}

// next returns the next message that is no comment.
func next(t testing.TB, ch <-chan message) message {
	t.Helper()
	for {
		select {
		case m, open := <-ch:
			switch {
			case !open:
				t.Fatal("the stream ended")
			case !m.comment:
				return m
			}
		case <-time.After(patience):
			t.Fatal("nothing came")
		}
	}
}

// until reads on until a message of this type.
func until(t testing.TB, ch <-chan message, typ string) message {
	t.Helper()
	for {
		if m := next(t, ch); m.change.Type == typ {
			return m
		}
	}
}

// eventually waits until problem is empty, and fails with what it was last.
func eventually(t testing.TB, problem func() string) {
	t.Helper()
	runtest.Eventually(t, "the server", problem)
}
