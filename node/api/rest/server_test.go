package rest_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
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
