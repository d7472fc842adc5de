package rest_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/api/rest"
	"piccolo.io/piccolo/node/api/rest/resttest"
	"piccolo.io/piccolo/topology"
)

func TestWhoMayDoWhatOverTLS(t *testing.T) {
	c := resttest.New(t, true)
	s, _, _ := c.Serve(t, nil)
	sub := tlsCaller(t, c, s, c.Sub, true)
	own := sub.c.State.Nodes()[1].ID
	if n := decode[topology.Node](t, sub.ask("GET", "/api/v1/nodes/"+own, "")); n.Name != "board" {
		t.Errorf("a sub reads itself as %+v", n)
	}
	isProblem(t, sub.ask("GET", "/api/v1/nodes/main", ""), 403, api.KindDenied, "")
	isProblem(t, sub.ask("GET", "/api/v1/nodes", ""), 403, api.KindDenied, "")
	isProblem(t, sub.ask("PATCH", "/api/v1/nodes/board", `{"labels":{"a":"b"}}`), 403, api.KindDenied, "")
	isProblem(t, sub.ask("GET", "/metrics", ""), 403, api.KindDenied, "")
	master := tlsCaller(t, c, s, c.Master, true)
	if res := master.ask("GET", "/api/v1/nodes", ""); res.StatusCode != 200 {
		t.Errorf("a master reads nodes: %s", res.Status)
	}
	isProblem(t, master.ask("POST", "/api/v1/self/leave", ""), 403, api.KindDenied, "local socket")
	nobody := tlsCaller(t, c, s, nil, true)
	isProblem(t, nobody.ask("GET", "/api/v1/nodes", ""), 401, api.KindUnauthenticated, "")
	// A token counts for more than the certificate of the connection.
	if res := sub.admin().ask("GET", "/api/v1/nodes", ""); res.StatusCode != 200 {
		t.Errorf("an administrator over a sub's connection: %s", res.Status)
	}
	isProblem(t, master.as("pica.wrong").ask("GET", "/api/v1/nodes", ""), 401, api.KindUnauthenticated, "")
}

func TestLocalSocket(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("this test needs root, whom alone the local socket serves")
	}
	c := resttest.New(t, true)
	_, socket, stop := c.Serve(t, nil)
	info, err := os.Stat(socket)
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	x := socketCaller(t, c, socket)
	if nodes := decode[[]topology.Node](t, x.ask("GET", "/api/v1/nodes", "")); len(nodes) != 2 {
		t.Errorf("nodes %v", nodes)
	}
	// Even where the mode were wrong, the kernel's word counts.
	must(t, os.Chmod(socket, 0o666))
	for dir := filepath.Dir(socket); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		must(t, os.Chmod(dir, 0o755))
	}
	isProblem(t, asUser(t, 65534, socket, "/api/v1/nodes"), 403, api.KindDenied, "not user 65534")
	if res := x.ask("POST", "/api/v1/self/leave", ""); res.StatusCode != 204 || !c.State.Left() {
		t.Errorf("leave: %s, left %v", res.Status, c.State.Left())
	}
	stop()
	if _, err := os.Stat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// asUser asks over a socket with another user's identity. Only one thread has
// it, which ends with its goroutine because it is never unlocked.
func asUser(t *testing.T, uid int, socket, path string) *http.Response {
	t.Helper()
	dialled := make(chan net.Conn, 1)
	go func() {
		runtime.LockOSThread()
		defer close(dialled)
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
			t.Errorf("become user %d: %v", uid, errno)
			return
		}
		conn, err := net.Dial("unix", socket)
		if err != nil {
			t.Errorf("connect as user %d: %v", uid, err)
			return
		}
		dialled <- conn
	}()
	conn, ok := <-dialled
	if !ok {
		t.FailNow()
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	must(t, err)
	return res
}

func TestSocketOfAKilledDaemonIsTakenOver(t *testing.T) {
	c := resttest.New(t, true)
	dir := t.TempDir()
	left := filepath.Join(dir, "left.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: left})
	must(t, err)
	l.SetUnlinkOnClose(false)
	must(t, l.Close())
	_, socket, _ := c.Serve(t, func(o *rest.Options) { o.Socket = left })
	if res := socketCaller(t, c, socket).ask("GET", "/healthz", ""); res.StatusCode != 200 {
		t.Error(res.Status)
	}
	if _, err := rest.New(rest.Options{Handler: http.NotFoundHandler(), Socket: left}); !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "another piccolo") {
		t.Errorf("second server on the socket: %v", err)
	}
	if res := socketCaller(t, c, socket).ask("GET", "/healthz", ""); res.StatusCode != 200 {
		t.Errorf("after the second one was refused: %s", res.Status)
	}
	file := filepath.Join(dir, "file")
	must(t, os.WriteFile(file, []byte("precious"), 0o600))
	if _, err := rest.New(rest.Options{Handler: http.NotFoundHandler(), Socket: file}); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("a file in the way: %v", err)
	}
	if b, _ := os.ReadFile(file); string(b) != "precious" {
		t.Error("the file in the way was touched")
	}
}

func TestOptions(t *testing.T) {
	h := http.NotFoundHandler()
	for says, o := range map[string]rest.Options{
		"Handler":          {Socket: "/x"},
		"Listen or Socket": {Handler: h},
		"TLS":              {Handler: h, Listen: "127.0.0.1:0"},
		"Rate":             {Handler: h, Socket: "/x", Rate: -1},
	} {
		if _, err := rest.New(o); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
	c := resttest.New(t, true)
	s, _, _ := c.Serve(t, nil)
	if _, err := rest.New(rest.Options{Handler: h, Listen: s.Addr().String(), TLS: c.ServerTLS}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("port in use: %v", err)
	}
}

func TestCloseWithoutRun(t *testing.T) {
	c := resttest.New(t, true)
	socket := filepath.Join(t.TempDir(), "s")
	s, err := rest.New(rest.Options{Handler: c.Handler(t, nil), Listen: "127.0.0.1:0", TLS: c.ServerTLS, Socket: socket})
	must(t, err)
	must(t, s.Close())
	if _, err := os.Stat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

func TestPlainHTTPGetsAReadableAnswer(t *testing.T) {
	c := resttest.New(t, true)
	s, _, _ := c.Serve(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r, _ := http.NewRequestWithContext(ctx, "GET", "http://"+s.Addr().String()+"/api/v1/nodes", nil)
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	must(t, err)
	if text := read(t, res); res.StatusCode != 400 || !strings.Contains(text, "HTTPS") {
		t.Errorf("%s %q", res.Status, text)
	}
}

func TestGRPCSharesThePort(t *testing.T) {
	c := resttest.New(t, true)
	ended := make(chan error, 1)
	grpc := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		if r.URL.Path == "/stream" {
			<-r.Context().Done()
			ended <- r.Context().Err()
		}
	})
	s, socket, stop := c.Serve(t, func(o *rest.Options) { o.GRPC = grpc })
	ct := header("Content-Type", "application/grpc+proto")
	x := tlsCaller(t, c, s, c.Sub, true)
	if res := x.ask("POST", "/piccolo.v1.NodeAgentService/Heartbeat", "x", ct); res.Header.Get("Content-Type") != "application/grpc" {
		t.Errorf("gRPC over HTTP/2: %s %s", res.Status, read(t, res))
	}
	if res := x.ask("GET", "/healthz", ""); res.StatusCode != 200 {
		t.Errorf("REST beside it: %s", res.Status)
	}
	isProblem(t, tlsCaller(t, c, s, c.Sub, false).ask("POST", "/piccolo.v1.NodeAgentService/Heartbeat", "x", ct), 404, api.KindNotFound, "")
	isProblem(t, socketCaller(t, c, socket).ask("POST", "/piccolo.v1.NodeAgentService/Heartbeat", "x", ct), 404, api.KindNotFound, "")
	x.ask("POST", "/stream", "", ct)
	stop()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the stream ended with %v", err)
		}
	default:
		t.Error("the server has stopped and the stream goes on")
	}
}

func TestSlowHeadIsCut(t *testing.T) {
	c := resttest.New(t, true)
	s, err := rest.New(rest.Options{Handler: c.Handler(t, nil), Listen: "127.0.0.1:0", TLS: c.ServerTLS})
	must(t, err)
	s.SetHeaderTimeout(100 * time.Millisecond)
	run(t, s)
	conn := rawTLS(t, c, s)
	_, _ = io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ")
	if text, err := io.ReadAll(conn); err != nil || (len(text) > 0 && !strings.HasPrefix(string(text), "HTTP/1.1 408")) {
		t.Errorf("the connection was not ended by the server: %q, %v", text, err)
	}
	// A client that says nothing at all does not even get through the handshake.
	raw, err := net.DialTimeout("tcp", s.Addr().String(), patience)
	must(t, err)
	defer raw.Close()
	_ = raw.SetDeadline(time.Now().Add(patience))
	if _, err := io.ReadAll(raw); err != nil {
		t.Errorf("the silent connection was not ended by the server: %v", err)
	}
}

func run(t *testing.T, s *rest.Server) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestSlowBodyIsCut(t *testing.T) {
	c := resttest.New(t, true)
	h := c.Handler(t, func(o *rest.HandlerOptions) { o.BodyTimeout = 100 * time.Millisecond })
	s, _, _ := c.Serve(t, func(o *rest.Options) { o.Handler = h })
	t.Run("HTTP 1.1", func(t *testing.T) {
		conn := rawTLS(t, c, s)
		fmt.Fprintf(conn, "PUT /api/v1/topology HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{", c.Token.Reveal())
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		must(t, err)
		isProblem(t, res, 408, api.KindInvalid, "in time")
		if _, err := io.ReadAll(conn); err != nil {
			t.Errorf("the connection was not ended by the server: %v", err)
		}
	})
	t.Run("body that nobody reads", func(t *testing.T) {
		conn := rawTLS(t, c, s)
		fmt.Fprint(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
		if _, err := io.ReadAll(conn); err != nil {
			t.Errorf("the connection was not ended by the server: %v", err)
		}
	})
	t.Run("HTTP 2", func(t *testing.T) {
		body, w := io.Pipe()
		defer w.Close()
		res := tlsCaller(t, c, s, nil, true).admin().ask("PUT", "/api/v1/topology", "", header("Content-Type", "application/json"), func(r *http.Request) { r.Body, r.ContentLength = body, -1 })
		isProblem(t, res, 408, api.KindInvalid, "in time")
	})
}

func TestHugeHeadIsRefused(t *testing.T) {
	c := resttest.New(t, true)
	s, _, _ := c.Serve(t, nil)
	forBoth(t, func(t *testing.T, http2 bool) {
		x := tlsCaller(t, c, s, nil, http2)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		res, err := x.do(ctx, "GET", "/healthz", "", header("X-Huge", strings.Repeat("x", 200<<10)))
		if err == nil && res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("a head of 200 KiB: %s", res.Status)
		}
		if res := x.ask("GET", "/healthz", ""); res.StatusCode != 200 {
			t.Errorf("afterwards: %s", res.Status)
		}
	})
}

func TestConnectionsPerAddress(t *testing.T) {
	c := resttest.New(t, true)
	s, _, _ := c.Serve(t, func(o *rest.Options) { o.MaxConnectionsPerIP = 2 })
	first := rawTLS(t, c, s)
	rawTLS(t, c, s)
	third, err := net.DialTimeout("tcp", s.Addr().String(), patience)
	must(t, err)
	defer third.Close()
	_ = third.SetDeadline(time.Now().Add(patience))
	if n, err := third.Read(make([]byte, 1)); n != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the third connection was served: %d bytes, %v", n, err)
	}
	must(t, first.Close())
	eventually(t, func() string {
		x := tlsCaller(t, c, s, nil, true)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		res, err := x.do(ctx, "GET", "/healthz", "")
		if err != nil {
			return "after one was closed: " + err.Error()
		}
		_ = res.Body.Close()
		return ""
	})
}

func TestRateLimit(t *testing.T) {
	c := resttest.New(t, true)
	s, socket, _ := c.Serve(t, func(o *rest.Options) { o.Rate, o.Burst = 0.01, 3 })
	x := tlsCaller(t, c, s, nil, true).admin()
	for range 3 {
		if res := x.ask("GET", "/api/v1/nodes", ""); res.StatusCode != 200 {
			t.Fatal(res.Status)
		}
	}
	res := x.ask("GET", "/api/v1/nodes", "")
	isProblem(t, res, 429, api.KindTooMany, "try again")
	if n, err := strconv.Atoi(res.Header.Get("Retry-After")); err != nil || n < 1 || n > 100 {
		t.Errorf("Retry-After %q", res.Header.Get("Retry-After"))
	}
	node := tlsCaller(t, c, s, c.Master, true)
	for range 10 {
		if res := node.ask("GET", "/api/v1/nodes", ""); res.StatusCode != 200 {
			t.Fatalf("a node with its certificate: %s", res.Status)
		}
	}
	local := socketCaller(t, c, socket)
	for range 50 {
		if res := local.ask("GET", "/healthz", ""); res.StatusCode != 200 {
			t.Fatalf("root on the machine: %s", res.Status)
		}
	}
}

func TestRequestUnderWayMayEndWhenTheServerStops(t *testing.T) {
	c := resttest.New(t, true)
	s, _, stop := c.Serve(t, nil)
	entered, release := c.State.Block()
	x := tlsCaller(t, c, s, nil, true).admin()
	watch := messages(t, x.ask("GET", "/api/v1/watch", ""))
	until(t, watch, "synced")
	status := make(chan string, 1)
	go func() {
		res, err := x.do(t.Context(), "GET", "/api/v1/containers", "")
		if err != nil {
			status <- err.Error()
			return
		}
		defer res.Body.Close()
		status <- res.Status
	}()
	<-entered
	stopped := make(chan struct{})
	go func() { defer close(stopped); stop() }()
	// The stream is told that the server stops; the request is not cut.
	if m := until(t, watch, "cut"); !strings.Contains(m.change.Reason, "stops") {
		t.Errorf("reason %q", m.change.Reason)
	}
	release()
	if got := <-status; got != "200 OK" {
		t.Errorf("the request that was under way: %s", got)
	}
	<-stopped
}

func TestStuckRequestDoesNotKeepTheServer(t *testing.T) {
	c := resttest.New(t, true)
	s, _, stop := c.Serve(t, nil)
	entered, release := c.State.Block()
	defer release()
	x := tlsCaller(t, c, s, nil, false).admin()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if res, err := x.do(t.Context(), "GET", "/api/v1/containers", ""); err == nil {
			_ = res.Body.Close()
		}
	}()
	<-entered
	stop() // fails the test when it does not end
	<-done
}

func TestAccessLogHasNoSecrets(t *testing.T) {
	c := resttest.New(t, true)
	var log bytes.Buffer
	h := c.Handler(t, func(o *rest.HandlerOptions) {
		o.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	ask(t, c, h, "GET", "/api/v1/nodes?token=hush", "")
	c.State.Panic()
	ask(t, c, h, "GET", "/api/v1/nodes?token=hush", "")
	text := log.String()
	if strings.Contains(text, "hush") || strings.Contains(text, c.Token.Reveal()) {
		t.Errorf("the log tells secrets: %s", text)
	}
	for _, want := range []string{"path=/api/v1/nodes", "status=200", "admin admin", "status=500", "secret inside", "handler.go"} {
		if !strings.Contains(text, want) {
			t.Errorf("the log lacks %q: %s", want, text)
		}
	}
}
