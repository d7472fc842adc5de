package client_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/api/client"
	"piccolo.io/piccolo/node/api/rest"
	"piccolo.io/piccolo/node/api/rest/resttest"
	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/node/pki"
	"piccolo.io/piccolo/topology"
)

// patience is how long a test waits for what must come.
const patience = 15 * time.Second

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newHTTP(t testing.TB, o client.HTTPOptions) *client.HTTP {
	t.Helper()
	c, err := client.NewHTTP(o)
	must(t, err)
	t.Cleanup(c.Close)
	return c
}

// admin dials the server as an administrator who has pinned the CA.
func admin(t testing.TB, c *resttest.Cluster, s *rest.Server) *client.HTTP {
	t.Helper()
	return newHTTP(t, client.HTTPOptions{Server: "https://" + s.Addr().String(), TLS: c.ClientTLS(t, nil), Token: c.Token})
}

// isError checks kind and words of what a person sees.
func isError(t testing.TB, err error, kind api.Kind, says string) {
	t.Helper()
	var e *api.Error
	if !errors.As(err, &e) || e.Kind != kind || !strings.Contains(e.Error(), says) {
		t.Errorf("error %v, want an *api.Error of kind %s with %q", err, kind, says)
	}
}

func TestEveryCall(t *testing.T) {
	c := resttest.New(t, true)
	s, socket, _ := c.Serve(t, nil)
	for name, x := range map[string]*client.HTTP{
		"socket": newHTTP(t, client.HTTPOptions{Socket: socket}),
		"TLS":    admin(t, c, s),
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			st, err := x.Status(ctx)
			if err != nil || st.Value.Cluster.Name == "" || len(st.Value.Alerts) != 1 || st.AsOf != nil {
				t.Errorf("status %+v, %v", st, err)
			}
			nodes, err := x.Nodes(ctx)
			if err != nil || len(nodes.Value) != 2 || nodes.Value[0].Name != "board" || *nodes.Value[0].Usage.Temperature != 48.5 {
				t.Errorf("nodes %+v, %v", nodes, err)
			}
			one := "1"
			n, err := x.PatchNode(ctx, "board", api.NodePatch{Labels: map[string]*string{"a": &one}})
			if err != nil || n.Labels["a"] != "1" {
				t.Errorf("patched %+v, %v", n, err)
			}
			level := "debug"
			n, err = x.PatchNode(ctx, "board", api.NodePatch{LogLevel: &level, Labels: map[string]*string{"a": nil}})
			if err != nil || n.LogLevel != "debug" || len(n.Labels) != 0 {
				t.Errorf("patched %+v, %v", n, err)
			}
			if node, err := x.Node(ctx, "board"); err != nil || node.Value.LogLevel != "debug" {
				t.Errorf("node %+v, %v", node, err)
			}
			list, err := x.Containers(ctx, "board", true)
			if err != nil || len(list.Value) != 1 || list.Value[0].Stats == nil {
				t.Errorf("containers %+v, %v", list, err)
			}
			if list, err = x.Containers(ctx, "", false); err != nil || list.Value[0].Stats != nil {
				t.Errorf("containers %+v, %v", list, err)
			}
			topo, err := x.Topology(ctx)
			must(t, err)
			topo.Value.Config.HeartbeatInterval = topology.Duration(20 * time.Second)
			if changed, err := x.PutTopology(ctx, topo.Value); err != nil || changed.Revision != topo.Value.Revision+1 {
				t.Errorf("topology %+v, %v", changed, err)
			}
			_, err = x.PutTopology(ctx, topo.Value)
			isError(t, err, api.KindConflict, "")
			if events, err := x.Events(ctx, 5); err != nil || len(events.Value) != 1 || events.Value[0].Node != "board" {
				t.Errorf("events %+v, %v", events, err)
			}
			made, err := x.CreateToken(ctx, api.TokenRequest{TTL: topology.Duration(time.Hour)})
			must(t, err)
			if _, err := auth.ParseJoinToken(made.Token); err != nil || made.ID == "" {
				t.Errorf("token %+v, %v", made, err)
			}
			if tokens, err := x.Tokens(ctx); err != nil || len(tokens) != 1 || tokens[0].ID != made.ID {
				t.Errorf("tokens %+v, %v", tokens, err)
			}
			must(t, x.DeleteToken(ctx, made.ID))
			isError(t, x.DeleteToken(ctx, made.ID), api.KindNotFound, "")
			must(t, x.Ready(ctx))
			if text, err := x.Metrics(ctx); err != nil || !strings.Contains(string(text), "piccolo_test_total") {
				t.Errorf("metrics %s, %v", text, err)
			}
			_, err = x.Node(ctx, "../topology?x=y#z")
			isError(t, err, api.KindNotFound, "../topology?x=y#z")
		})
	}
	isError(t, admin(t, c, s).Leave(t.Context()), api.KindDenied, "local socket")
	must(t, newHTTP(t, client.HTTPOptions{Socket: socket}).Leave(t.Context()))
	n, err := admin(t, c, s).RemoveNode(t.Context(), "board")
	if err != nil || n.Status != topology.StatusTerminating {
		t.Errorf("removed %+v, %v", n, err)
	}
}

func TestStaleAnswer(t *testing.T) {
	c := resttest.New(t, false)
	_, socket, _ := c.Serve(t, nil)
	x := newHTTP(t, client.HTTPOptions{Socket: socket})
	nodes, err := x.Nodes(t.Context())
	if err != nil || nodes.AsOf == nil || !nodes.AsOf.Equal(resttest.At().Add(123*time.Millisecond)) {
		t.Errorf("as of %v, %v", nodes.AsOf, err)
	}
	_, err = x.RemoveNode(t.Context(), "board")
	isError(t, err, api.KindUnavailable, "this node is a sub")
}

func TestNodeReadsItselfWithItsCertificate(t *testing.T) {
	c := resttest.New(t, true)
	s, _, _ := c.Serve(t, nil)
	x := newHTTP(t, client.HTTPOptions{Server: "https://" + s.Addr().String(), TLS: c.ClientTLS(t, c.Sub)})
	if n, err := x.Node(t.Context(), c.State.Nodes()[1].ID); err != nil || n.Value.Name != "board" {
		t.Errorf("node %+v, %v", n, err)
	}
	_, err := x.Nodes(t.Context())
	isError(t, err, api.KindDenied, "")
}

func TestServerThatCannotBeReached(t *testing.T) {
	c, other := resttest.New(t, true), resttest.New(t, true)
	s, _, _ := c.Serve(t, nil)
	dir := t.TempDir()
	refused := filepath.Join(dir, "refused")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: refused})
	must(t, err)
	l.SetUnlinkOnClose(false)
	must(t, l.Close())
	free, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, free.Close())
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	foreign := httptest.NewUnstartedServer(http.NotFoundHandler())
	foreign.Config.ErrorLog = log.New(io.Discard, "", 0)
	foreign.StartTLS()
	defer foreign.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer silent.Close()
	pinned, _, err := pki.EnrolTLS(other.CA.Fingerprint(), c.Clock)
	must(t, err)
	address := s.Addr().String()
	for name, x := range map[string]struct {
		o    client.HTTPOptions
		kind api.Kind
		says string
	}{
		"no socket":        {client.HTTPOptions{Socket: filepath.Join(dir, "none")}, api.KindUnavailable, "systemctl status piccolo"},
		"dead socket":      {client.HTTPOptions{Socket: refused}, api.KindUnavailable, "systemctl status piccolo"},
		"nothing there":    {client.HTTPOptions{Server: "https://" + free.Addr().String(), TLS: c.ClientTLS(t, nil)}, api.KindUnavailable, "does piccolo run there"},
		"no TLS":           {client.HTTPOptions{Server: "https://" + plain.Listener.Addr().String(), TLS: c.ClientTLS(t, nil)}, api.KindUnavailable, "7443"},
		"not piccolo":      {client.HTTPOptions{Server: foreign.URL, TLS: c.ClientTLS(t, nil)}, api.KindUnavailable, "7443"},
		"other cluster":    {client.HTTPOptions{Server: "https://" + address, TLS: other.ClientTLS(t, nil)}, api.KindDenied, "not of the cluster that was pinned"},
		"wrong pin":        {client.HTTPOptions{Server: "https://" + address, TLS: pinned}, api.KindDenied, "fingerprint"},
		"foreign identity": {client.HTTPOptions{Server: "https://" + address, TLS: withCertificate(c.ClientTLS(t, nil), other.ClientTLS(t, other.Sub))}, api.KindDenied, "certificate"},
		"silent":           {client.HTTPOptions{Server: "https://" + silent.Addr().String(), TLS: c.ClientTLS(t, nil), Timeout: 100 * time.Millisecond}, api.KindUnavailable, "no answer"},
		"no credential":    {client.HTTPOptions{Server: "https://" + address, TLS: c.ClientTLS(t, nil)}, api.KindUnauthenticated, "token"},
		"wrong credential": {client.HTTPOptions{Server: "https://" + address, TLS: c.ClientTLS(t, nil), Token: "pica.hush"}, api.KindUnauthenticated, "token"},
	} {
		t.Run(name, func(t *testing.T) {
			client := newHTTP(t, x.o)
			_, err := client.Nodes(t.Context())
			isError(t, err, x.kind, x.says)
			if err != nil && strings.Contains(err.Error(), "hush") {
				t.Errorf("the error tells the token: %v", err)
			}
			if x.o.Timeout == 0 {
				isError(t, client.Watch(t.Context(), nil, "", nil), x.kind, x.says)
			}
		})
	}
}

func withCertificate(config, from *tls.Config) *tls.Config {
	config.GetClientCertificate = from.GetClientCertificate
	return config
}

func TestOptions(t *testing.T) {
	for name, o := range map[string]client.HTTPOptions{
		"nothing": {},
		"both":    {Socket: "/x", Server: "https://x"},
		"no TLS":  {Server: "https://x"},
		"http":    {Server: "http://x", TLS: &tls.Config{}},
		"path":    {Server: "https://x/api", TLS: &tls.Config{}},
		"user":    {Server: "https://a:b@x", TLS: &tls.Config{}},
		"no host": {Server: "https://", TLS: &tls.Config{}},
		"timeout": {Socket: "/x", Timeout: -1},
	} {
		if _, err := client.NewHTTP(o); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

// fake serves a handler on a socket.
func fake(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	must(t, err)
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: h}}
	s.Start()
	t.Cleanup(s.Close)
	return path
}

func problem(w http.ResponseWriter, kind api.Kind) {
	p := api.ProblemOf(&api.Error{Kind: kind, Message: "told so", Hint: "do this"}, 0, "/x")
	w.Header().Set("Content-Type", api.ProblemType)
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p)
}

func TestOnlyGetsAreRepeated(t *testing.T) {
	for name, x := range map[string]struct {
		fail         func(http.ResponseWriter)
		get, put     int32
		kind         api.Kind
		recoversFrom bool
	}{
		"busy":     {func(w http.ResponseWriter) { problem(w, api.KindUnavailable) }, 3, 1, api.KindUnavailable, true},
		"too many": {func(w http.ResponseWriter) { w.Header().Set("Retry-After", "1"); problem(w, api.KindTooMany) }, 3, 1, api.KindTooMany, true},
		"broken":   {func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, 3, 1, api.KindUnavailable, true},
		"denied":   {func(w http.ResponseWriter) { problem(w, api.KindDenied) }, 1, 1, api.KindDenied, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked, until atomic.Int32
			until.Store(100)
			c := newHTTP(t, client.HTTPOptions{Socket: fake(t, func(w http.ResponseWriter, _ *http.Request) {
				if asked.Add(1) >= until.Load() {
					fmt.Fprint(w, "[]")
					return
				}
				x.fail(w)
			})})
			_, err := c.Nodes(t.Context())
			isError(t, err, x.kind, "")
			if got := asked.Swap(0); got != x.get {
				t.Errorf("a GET was sent %d times, want %d", got, x.get)
			}
			isError(t, c.Ready(t.Context()), x.kind, "")
			if got := asked.Swap(0); got != 1 {
				t.Errorf("whether it is ready was asked %d times, want once", got)
			}
			_, err = c.PutTopology(t.Context(), topology.ClusterTopology{})
			isError(t, err, x.kind, "")
			if got := asked.Swap(0); got != x.put {
				t.Errorf("a PUT was sent %d times, want %d", got, x.put)
			}
			if until.Store(2); x.recoversFrom {
				if _, err := c.Nodes(t.Context()); err != nil {
					t.Errorf("the second attempt was good, but: %v", err)
				}
			}
		})
	}
}

func TestAnswersOfOthers(t *testing.T) {
	for name, x := range map[string]struct {
		h    http.HandlerFunc
		says string
	}{
		"no JSON":    {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }, "does not look like a piccolo"},
		"html error": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusBadGateway) }, "502 Bad Gateway"},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://example.com/", http.StatusFound)
		}, "302 Found"},
		"endless": {func(w http.ResponseWriter, r *http.Request) {
			for chunk := make([]byte, 1<<20); r.Context().Err() == nil; {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}, "larger than"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newHTTP(t, client.HTTPOptions{Socket: fake(t, x.h), Token: "hush"})
			_, err := c.Nodes(t.Context())
			if e := api.Classify(err); err == nil || !strings.Contains(e.Error(), x.says) || e.Kind == api.KindInternal {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestCallerMayGiveUp(t *testing.T) {
	entered := make(chan struct{}, 1)
	c := newHTTP(t, client.HTTPOptions{Socket: fake(t, func(_ http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		<-r.Context().Done()
	})})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-entered; cancel() }()
	if _, err := c.Nodes(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func FuzzProblem(f *testing.F) {
	f.Add(500, "application/problem+json", []byte(`{"kind":"denied","detail":"x"}`))
	f.Add(404, "application/problem+json; charset=utf-8", []byte(`{"kind":"what","title":"x"}`))
	f.Add(429, "text/html", []byte(`<html>`))
	f.Add(599, "", []byte(`null`))
	var status atomic.Int32
	var ctype atomic.Value
	var body atomic.Value
	path := fake(f, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", ctype.Load().(string))
		w.WriteHeader(int(status.Load()))
		_, _ = w.Write(body.Load().([]byte))
	})
	c := newHTTP(f, client.HTTPOptions{Socket: path})
	f.Fuzz(func(t *testing.T, s int, ct string, b []byte) {
		status.Store(int32(300 + uint32(s)%300))
		ctype.Store(strings.ToValidUTF8(strings.Map(func(r rune) rune {
			if r < ' ' || r > '~' {
				return -1
			}
			return r
		}, ct), ""))
		body.Store(b)
		err := c.DeleteToken(t.Context(), "x")
		var e *api.Error
		if !errors.As(err, &e) || e.Message == "" || e.Kind.Codes().Kind != e.Kind {
			t.Fatalf("error %#v", err)
		}
	})
}
