package podman

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/containers/podman/v5/pkg/bindings"
	"github.com/containers/podman/v5/pkg/errorhandling"
)

const (
	// maxAnswer bounds what is read of one answer: 100 containers with many labels are below 1 MiB.
	maxAnswer = 16 << 20
	// oldestMajor is the oldest Podman whose libpod API the v5 bindings speak (their MinimalAPI).
	oldestMajor = 4
)

// Engine talks to the Podman service behind one socket. It is safe for concurrent use.
type Engine struct {
	socket string
	log    *slog.Logger
	limits Timeouts
	conn   *bindings.Connection
	base   *http.Transport
}

// New checks the options. It does not touch the socket: that Podman is down is a state that Watch
// reports, not a reason not to start.
func New(o Options) (*Engine, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	conn, base := connect(o.Socket)
	return &Engine{socket: o.Socket, log: o.Logger, limits: o.Timeouts, conn: conn, base: base}, nil
}

// Close drops idle connections. Calls and watches under way end by their own contexts.
func (e *Engine) Close() { e.base.CloseIdleConnections() }

// Version asks Podman for its version, such as "4.3.1". An error matches ErrDown.
func (e *Engine) Version(ctx context.Context) (string, error) {
	return e.ping(ctx, e.limits.Call)
}

func (e *Engine) ping(ctx context.Context, limit time.Duration) (string, error) {
	var version string
	err := e.call(ctx, request{op: "ask Podman for a sign of life", path: "/_ping", limit: limit}, func(h http.Header, _ []byte) error {
		version = h.Get(versionHeader)
		return nil
	})
	return version, err
}

// Info is what Podman says of itself and of the machine, as far as a node wants to know it.
type Info struct {
	Version           string   `json:"version"`
	OS                string   `json:"os"`
	Arch              string   `json:"arch"`
	Kernel            string   `json:"kernel"`
	CgroupVersion     string   `json:"cgroup_version"` // "v1" or "v2"
	CgroupManager     string   `json:"cgroup_manager"` // "systemd" or "cgroupfs"
	CgroupControllers []string `json:"cgroup_controllers"`
	Runtime           string   `json:"runtime"`         // the OCI runtime, such as "crun"
	NetworkBackend    string   `json:"network_backend"` // "netavark" or "cni"
	EventLogger       string   `json:"event_logger"`    // "journald", "file" or "none"
	Rootless          bool     `json:"rootless"`
	StorageDriver     string   `json:"storage_driver"`
	GraphRoot         string   `json:"graph_root"`  // images and containers live on this file system
	RunRoot           string   `json:"run_root"`    // volatile state
	VolumeRoot        string   `json:"volume_root"` // named volumes
}

// Info asks Podman about itself. With EventLogger "none" Watch sees changes only at its resync.
func (e *Engine) Info(ctx context.Context) (Info, error) {
	var info Info
	err := e.call(ctx, request{op: "ask Podman about itself", path: "/info"}, func(_ http.Header, body []byte) (err error) {
		info, err = decodeInfo(body)
		return err
	})
	return info, err
}

// request is one question. limit 0 means Timeouts.Call.
type request struct {
	op     string
	path   string // with one %s for each of values
	query  url.Values
	values []string
	limit  time.Duration
}

// call puts one question and gives headers and body of a good answer to read.
func (e *Engine) call(ctx context.Context, r request, read func(http.Header, []byte) error) error {
	op := r.op + " on " + e.socket
	limit := r.limit
	if limit == 0 {
		limit = e.limits.Call
	}
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	resp, err := e.send(bounded, r)
	if err != nil {
		return classify(ctx, op, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return classify(ctx, op, err)
	}
	if len(body) > maxAnswer {
		return fmt.Errorf("%s: %w: it is larger than %d bytes", op, ErrBadAnswer, maxAnswer)
	}
	if !resp.IsSuccess() {
		return fmt.Errorf("%s: %w", op, rejection(resp.StatusCode, body))
	}
	if err := read(resp.Header, body); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return nil
}

// send returns the answer's headers, body unread, once they show that a usable Podman has spoken.
func (e *Engine) send(ctx context.Context, r request) (*bindings.APIResponse, error) {
	resp, err := e.conn.DoRequest(ctx, nil, http.MethodGet, r.path, r.query, nil, r.values...)
	if err != nil {
		return nil, err
	}
	if f, failed := resp.Body.(failure); failed {
		return nil, f.err
	}
	if err := identify(resp.Header); err != nil {
		resp.Body.Close()
		return nil, err
	}
	return resp, nil
}

// versionHeader is in every answer of Podman's API (pkg/api/server/handler_api.go) and in no answer
// of Docker's.
const versionHeader = "Libpod-Api-Version"

func identify(h http.Header) error {
	found := h.Get(versionHeader)
	if found == "" {
		who := h.Get("Server")
		if who == "" {
			who = "a server that does not say its name"
		}
		return fmt.Errorf("%w: %.80q answers; try: %s", ErrNotPodman, who, Hint(ErrNotPodman))
	}
	major, err := strconv.Atoi(strings.SplitN(found, ".", 2)[0])
	if err != nil {
		return fmt.Errorf("%w: it calls itself version %.80q; try: %s", ErrNotPodman, found, Hint(ErrNotPodman))
	}
	if major < oldestMajor {
		return fmt.Errorf("%w: found %.80s, needed is %d.0; try: %s", ErrTooOld, found, oldestMajor, Hint(ErrTooOld))
	}
	return nil
}

// rejection turns Podman's answer to a request that it did not fulfil into an error.
func rejection(status int, body []byte) error {
	var model errorhandling.ErrorModel
	text := strings.TrimSpace(string(body))
	if err := json.Unmarshal(body, &model); err == nil && model.Message != "" {
		text = model.Message
	}
	if status == http.StatusNotFound {
		return fmt.Errorf("%w: %.300s", ErrNotFound, text)
	}
	return fmt.Errorf("%w (HTTP %d): %.300s", ErrRejected, status, text)
}

// stream opens an endless answer. It must begin within Timeouts.Call; after that only ctx ends it.
func (e *Engine) stream(ctx context.Context, r request) (io.ReadCloser, error) {
	op := r.op + " on " + e.socket
	opening, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(e.limits.Call, func() { cancel(context.DeadlineExceeded) })
	resp, err := e.send(opening, r)
	if !timer.Stop() && err == nil {
		resp.Body.Close()
		err = context.DeadlineExceeded
	}
	switch {
	case err != nil:
		if errors.Is(context.Cause(opening), context.DeadlineExceeded) {
			err = context.DeadlineExceeded
		}
		cancel(nil)
		return nil, classify(ctx, op, err)
	case !resp.IsSuccess():
		defer cancel(nil)
		defer resp.Body.Close()
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		return nil, fmt.Errorf("%s: %w", op, rejection(resp.StatusCode, body))
	}
	return streamBody{resp.Body, func() { cancel(nil) }}, nil
}

type streamBody struct {
	io.ReadCloser
	release func()
}

func (s streamBody) Close() error {
	s.release()
	return s.ReadCloser.Close()
}
