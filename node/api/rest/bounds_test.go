package rest_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/api/rest"
	"piccolo.io/piccolo/node/api/rest/resttest"
)

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
