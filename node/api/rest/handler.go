package rest

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/api/feed"
	"piccolo.io/piccolo/node/auth"
)

// HandlerOptions of a Handler.
type HandlerOptions struct {
	// Service does what is asked.
	Service *api.Service
	// Hub is what the watch stream and the list of events tell.
	Hub *feed.Hub
	// Authenticate says who holds an API token.
	Authenticate Authenticate
	// Ready returns the reasons why the node is not ready to serve; none when
	// it is. Always ready where nil.
	Ready func() []string
	// Metrics is what /metrics tells; without it there is no /metrics.
	Metrics prometheus.Gatherer
	// Heartbeat is how often a quiet watch stream gives a sign of life, and
	// how often its credential is checked again. Default 15 s.
	Heartbeat time.Duration
	// WriteTimeout is how long a reader may take for one piece of an answer.
	// Default 10 s.
	WriteTimeout time.Duration
	// BodyTimeout is how long a request's body may take to arrive. Default
	// 10 s.
	BodyTimeout time.Duration
	Logger      *slog.Logger
}

func (o HandlerOptions) withDefaults() HandlerOptions {
	if o.Ready == nil {
		o.Ready = func() []string { return nil }
	}
	for _, f := range []struct {
		field *time.Duration
		value time.Duration
	}{{&o.Heartbeat, 15 * time.Second}, {&o.WriteTimeout, 10 * time.Second}, {&o.BodyTimeout, 10 * time.Second}} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

func (o HandlerOptions) validate() error {
	switch {
	case o.Service == nil:
		return errors.New("rest: Service is missing")
	case o.Hub == nil:
		return errors.New("rest: Hub is missing")
	case o.Authenticate == nil:
		return errors.New("rest: Authenticate is missing")
	case o.Heartbeat < 0, o.WriteTimeout < 0, o.BodyTimeout < 0:
		return errors.New("rest: Heartbeat, WriteTimeout and BodyTimeout must not be negative")
	}
	return nil
}

// Handler serves the REST API.
type Handler struct {
	o       HandlerOptions
	mux     *http.ServeMux
	browser *http.CrossOriginProtection
	metrics http.Handler
}

// NewHandler checks the options.
func NewHandler(o HandlerOptions) (*Handler, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	h := &Handler{o: o.withDefaults(), mux: http.NewServeMux(), browser: http.NewCrossOriginProtection()}
	h.metrics = h.metricsHandler()
	for _, route := range h.routes() {
		h.mux.Handle(route.method+" "+route.path, h.serve(route))
	}
	return h, nil
}

// call is one request together with who makes it.
type call struct {
	*http.Request
	w         http.ResponseWriter
	principal auth.Principal
}

// route is one line of the API.
type route struct {
	method, path string
	// open routes serve anybody, without looking at a credential.
	open bool
	// do answers the call, or returns an error and has answered nothing.
	do func(call) error
}

// ServeHTTP answers one request. Whatever goes wrong is answered with a
// problem document, a panic too.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rec := &recorder{ResponseWriter: w}
	began := time.Now()
	defer func() {
		if p := recover(); p != nil {
			h.panicked(rec, r, p)
		}
		// The query is left out: it may hold what is nobody's business.
		h.o.Logger.Debug("request", "method", r.Method, "path", r.URL.Path, "status", rec.status,
			"bytes", rec.bytes, "took", time.Since(began), "from", r.RemoteAddr, "by", rec.principal)
	}()
	head := w.Header()
	head.Set("Cache-Control", "no-store")
	head.Set("X-Content-Type-Options", "nosniff")
	h.limitTime(rec, r)
	if err := h.browser.Check(r); err != nil {
		writeError(rec, r, &api.Error{Kind: api.KindDenied, Message: "a web page of another origin may not call this API", Err: err})
		return
	}
	if handler, pattern := h.mux.Handler(r); pattern == "" {
		noRoute(rec, r, handler)
		return
	}
	h.mux.ServeHTTP(rec, r)
}

// limitTime bounds how long body and answer may take. The server sets both
// back before the connection's next request.
func (h *Handler) limitTime(w http.ResponseWriter, r *http.Request) {
	rc := http.NewResponseController(w)
	_ = rc.SetWriteDeadline(time.Now().Add(h.o.BodyTimeout + 3*h.o.WriteTimeout))
	if r.Body != nil && r.Body != http.NoBody {
		_ = rc.SetReadDeadline(time.Now().Add(h.o.BodyTimeout))
	}
}

// serve finds out who calls, and lets the route answer.
func (h *Handler) serve(route route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := call{Request: r, w: w}
		if !route.open {
			p, err := h.principal(r)
			if err != nil {
				writeError(w, r, err)
				return
			}
			c.principal = p
			if rec, ok := w.(*recorder); ok {
				rec.principal = p.String()
			}
		}
		if asOf := h.o.Service.AsOf(); asOf != nil && !route.open {
			w.Header().Set(api.AsOfHeader, asOf.UTC().Format(time.RFC3339Nano))
		}
		if err := route.do(c); err != nil {
			writeError(w, r, err)
		}
	})
}

// panicked answers without a word of the inside; the log has it.
func (h *Handler) panicked(w *recorder, r *http.Request, p any) {
	if p == http.ErrAbortHandler {
		panic(p)
	}
	h.o.Logger.Error("request panicked", "method", r.Method, "path", r.URL.Path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	if w.status != 0 {
		// The answer has begun: only breaking it off tells that it is wrong.
		panic(http.ErrAbortHandler)
	}
	writeError(w, r, &api.Error{Kind: api.KindInternal, Message: "the request failed by a fault of piccolo itself"})
}

// json answers with v.
func (c call) json(status int, v any) error {
	b, err := api.JSON(v)
	if err != nil {
		return fmt.Errorf("write answer: %w", err)
	}
	c.bytes(status, "application/json", append(b, '\n'))
	return nil
}

// bytes answers with b as it is.
func (c call) bytes(status int, contentType string, b []byte) {
	writeBytes(c.w, status, contentType, b)
}

func writeBytes(w http.ResponseWriter, status int, contentType string, b []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	// A reader that is gone is nobody's to tell.
	_, _ = bytes.NewReader(b).WriteTo(w)
}

// recorder remembers what was answered.
type recorder struct {
	http.ResponseWriter
	status    int
	bytes     int64
	principal string
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 && status >= 200 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(b)
	r.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
