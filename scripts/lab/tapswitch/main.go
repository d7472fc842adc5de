package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	socket := flag.String("socket", "", "unix socket to be controlled by (required)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if err := run(ctx, *socket, log); err != nil {
		log.Error("tapswitch", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, socket string, log *slog.Logger) error {
	if socket == "" {
		return errors.New("-socket is required")
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return fmt.Errorf("listen for control: %w", err)
	}
	sw := newSwitch(log)
	defer sw.close()
	server := &http.Server{Handler: control(sw), ReadHeaderTimeout: 5 * time.Second}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// control is the HTTP interface that doc.go describes.
func control(sw *ethSwitch) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /ports", func(w http.ResponseWriter, r *http.Request) {
		name, netns := r.FormValue("name"), r.FormValue("netns")
		if name == "" || netns == "" {
			http.Error(w, "name and netns are required", http.StatusBadRequest)
			return
		}
		tap, err := openTAP(netns, "eth0")
		if err == nil {
			err = sw.connect(name, tap)
		}
		answer(w, err)
	})
	mux.HandleFunc("PUT /ports/{name}/carrier", func(w http.ResponseWriter, r *http.Request) {
		state := r.FormValue("state")
		if state != "up" && state != "down" {
			http.Error(w, "state must be up or down", http.StatusBadRequest)
			return
		}
		answer(w, sw.setCable(r.PathValue("name"), state == "up"))
	})
	mux.HandleFunc("PUT /faults", func(w http.ResponseWriter, r *http.Request) {
		faults, err := parseFaults(http.MaxBytesReader(w, r.Body, 1<<20))
		if err == nil {
			sw.setFaults(faults)
		}
		answer(w, err)
	})
	return mux
}

func answer(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
}
