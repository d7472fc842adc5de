package rest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"piccolo.io/piccolo/node/api"
)

// statusError is an error whose HTTP status is not that of its kind: what
// only HTTP knows, such as a wrong method.
type statusError struct {
	status int
	cause  *api.Error
}

func (e *statusError) Error() string { return e.cause.Error() }
func (e *statusError) Unwrap() error { return e.cause }

// writeError answers with the problem document of err.
func writeError(w http.ResponseWriter, r *http.Request, err error) {
	var special *statusError
	status := 0
	if errors.As(err, &special) {
		status = special.status
	}
	writeProblem(w, api.ProblemOf(api.Classify(err), status, r.URL.Path))
}

func writeProblem(w http.ResponseWriter, p api.Problem) {
	switch p.Status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", `Bearer realm="piccolo"`)
	case http.StatusRequestTimeout, http.StatusRequestEntityTooLarge:
		// The rest of the body is still to come and not wanted.
		w.Header().Set("Connection", "close")
	}
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	writeBytes(w, p.Status, api.ProblemType, append(b, '\n'))
}

// noRoute answers where the mux found no route: handler is the mux's own
// answer, which knows whether the path or only the method is wrong.
func noRoute(w http.ResponseWriter, r *http.Request, handler http.Handler) {
	own := &discard{header: http.Header{}}
	handler.ServeHTTP(own, r)
	if own.status != http.StatusMethodNotAllowed {
		writeError(w, r, api.NotFoundf("there is nothing at %s", shorten(r.URL.Path)).WithHint("GET /api/v1/openapi.yaml describes the API"))
		return
	}
	allow := own.header.Get("Allow")
	w.Header().Set("Allow", allow)
	writeError(w, r, &statusError{http.StatusMethodNotAllowed, api.Invalidf("%s is not possible on %s", shorten(r.Method), shorten(r.URL.Path)).WithHint("possible: %s", allow)})
}

// discard takes an answer and keeps only its head.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }

func shorten(s string) string {
	if len(s) <= 80 {
		return s
	}
	return fmt.Sprintf("%s… (%d bytes)", s[:80], len(s))
}
