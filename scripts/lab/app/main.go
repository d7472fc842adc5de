package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

const usage = `usage: app web [-listen ADDR] [-unhealthy]
       app worker [-every DURATION] [-exit-after DURATION] [-exit-code CODE]
       app check URL

web     serves / (hostname and version), /healthz, and POST /healthz?state=ok|bad, which
        sets what /healthz answers
worker  logs a line with a counter at each interval, and may end by itself
check   exits 0 when URL answers 200, else 1: the health check of the web image
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code, err := run(ctx, os.Args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "app: %v\n", err)
	}
	os.Exit(code)
}

func run(ctx context.Context, args []string) (int, error) {
	if len(args) == 0 {
		args = []string{""}
	}
	switch args[0] {
	case "web":
		return web(ctx, args[1:])
	case "worker":
		return worker(ctx, args[1:])
	case "check":
		return check(ctx, args[1:])
	}
	fmt.Fprint(os.Stderr, usage)
	return 2, fmt.Errorf("unknown command %q", args[0])
}

func web(ctx context.Context, args []string) (int, error) {
	flags := flag.NewFlagSet("web", flag.ContinueOnError)
	listen := flags.String("listen", ":8080", "address to serve on")
	unhealthy := flags.Bool("unhealthy", false, "start with a failing /healthz")
	if err := flags.Parse(args); err != nil {
		return 2, nil // the flag set has printed it
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return 1, err
	}
	server := &http.Server{Handler: pages(!*unhealthy), ReadHeaderTimeout: 5 * time.Second}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	fmt.Printf("web: serving on %s\n", listener.Addr())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return 1, err
	}
	return 0, nil
}

func pages(ok bool) http.Handler {
	var healthy atomic.Bool
	healthy.Store(ok)
	hostname, _ := os.Hostname()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, "hello from %s\n", hostname)
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if !healthy.Load() {
			http.Error(w, "bad", http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ok\n")
	})
	mux.HandleFunc("POST /healthz", func(w http.ResponseWriter, r *http.Request) {
		state := r.FormValue("state")
		if state != "ok" && state != "bad" {
			http.Error(w, "state must be ok or bad", http.StatusBadRequest)
			return
		}
		healthy.Store(state == "ok")
	})
	return mux
}

func worker(ctx context.Context, args []string) (int, error) {
	flags := flag.NewFlagSet("worker", flag.ContinueOnError)
	every := flags.Duration("every", 5*time.Second, "time between two lines")
	exitAfter := flags.Duration("exit-after", 0, "end by itself after this time (0: never)")
	exitCode := flags.Int("exit-code", 0, "exit code of that end")
	if err := flags.Parse(args); err != nil {
		return 2, nil // the flag set has printed it
	}
	if *every <= 0 {
		return 2, fmt.Errorf("-every %v: must be positive", *every)
	}
	var end <-chan time.Time
	if *exitAfter > 0 {
		end = time.After(*exitAfter)
	}
	tick := time.NewTicker(*every)
	defer tick.Stop()
	for n := 1; ; n++ {
		fmt.Printf("worker: %d\n", n)
		select {
		case <-tick.C:
		case <-end:
			return *exitCode, nil
		case <-ctx.Done():
			return 0, nil
		}
	}
}

func check(ctx context.Context, args []string) (int, error) {
	if len(args) != 1 {
		return 2, errors.New("check needs one URL")
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, args[0], nil)
	if err != nil {
		return 2, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 1, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return 1, fmt.Errorf("%s answers %s", args[0], response.Status)
	}
	return 0, nil
}
