package podmantest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"piccolo.io/piccolo/podman"
)

func (f *Fake) routes() http.Handler {
	mux := http.NewServeMux()
	for path, op := range map[string]string{
		"/_ping": OpPing, "/info": OpInfo, "/containers/json": OpList,
		"/containers/{id}/json": OpInspect, "/containers/stats": OpStats, "/events": OpEvents,
	} {
		mux.HandleFunc("GET /{version}/libpod"+path, func(w http.ResponseWriter, r *http.Request) { f.serve(op, w, r) })
	}
	return mux
}

func (f *Fake) serve(op string, w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.calls[op]++
	f.mu.Unlock()
	w.Header().Set("Libpod-API-Version", f.version)
	w.Header().Set("Server", "Libpod/"+f.version+" (linux)")
	w.Header().Set("Content-Type", "application/json")
	if err := f.suffer(op, r); err != nil {
		reject(w, http.StatusInternalServerError, err.Error())
		return
	}
	switch op {
	case OpPing:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprint(w, "OK")
	case OpInfo:
		answer(w, f.wireInfo())
	case OpList:
		answer(w, f.wireList())
	case OpInspect:
		if body := f.wireInspect(r.PathValue("id")); body != nil {
			answer(w, body)
			return
		}
		reject(w, http.StatusNotFound, fmt.Sprintf("no container with name or ID %q found: no such container", r.PathValue("id")))
	case OpStats:
		answer(w, f.wireStats())
	case OpEvents:
		f.serveEvents(w, r)
	}
}

// suffer waits out a hang and gives the error of a failure.
func (f *Fake) suffer(op string, r *http.Request) error {
	f.mu.Lock()
	x := f.faults[op]
	f.mu.Unlock()
	if x == nil {
		return nil
	}
	if x.over == nil {
		return x.err
	}
	select {
	case <-x.over:
	case <-r.Context().Done():
	}
	return nil
}

func answer(w http.ResponseWriter, body any) {
	if err := json.NewEncoder(w).Encode(body); err != nil {
		panic(http.ErrAbortHandler)
	}
}

func reject(w http.ResponseWriter, status int, text string) {
	w.WriteHeader(status)
	answer(w, map[string]any{"cause": text, "message": text, "response": status})
}

func (f *Fake) serveEvents(w http.ResponseWriter, r *http.Request) {
	var filters map[string][]string
	if raw := r.URL.Query().Get("filters"); raw != "" {
		if err := json.Unmarshal([]byte(raw), &filters); err != nil {
			reject(w, http.StatusBadRequest, "failed to parse filters: "+err.Error())
			return
		}
	}
	s := &stream{lines: make(chan []byte, streamLines), wanted: filters["event"]}
	f.mu.Lock()
	f.streams[s] = struct{}{}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.streams, s)
		f.mu.Unlock()
	}()
	w.WriteHeader(http.StatusOK)
	out := http.NewResponseController(w)
	_ = out.Flush()
	for {
		select {
		case <-r.Context().Done():
			return
		case line, more := <-s.lines:
			if !more {
				return
			}
			_ = f.suffer(OpEvents, r)
			if _, err := fmt.Fprintf(w, "%s\n", line); err != nil {
				return
			}
			_ = out.Flush()
		}
	}
}

// emit builds the event that this version of Podman would write. Call with f.mu held.
func (f *Fake) emit(action string, c *podman.Container, health podman.Health) {
	attributes := map[string]string{"image": c.Image, "name": c.Name, "podId": c.Pod}
	for k, v := range c.Labels {
		attributes[k] = v
	}
	if f.old() || action == "died" || action == "remove" {
		attributes["containerExitCode"] = fmt.Sprint(c.ExitCode)
	}
	now := time.Now()
	event := map[string]any{
		"status": action, "id": c.ID, "from": c.Image, "Type": "container", "Action": action,
		"Actor": map[string]any{"ID": c.ID, "Attributes": attributes},
		"scope": "local", "time": now.Unix(), "timeNano": now.UnixNano(),
	}
	if action == "health_status" {
		event["HealthStatus"] = health
	}
	line, err := json.Marshal(event)
	if err != nil {
		panic(err)
	}
	f.send(line, action)
}

// send gives a line to every reader that wants it. Call with f.mu held.
func (f *Fake) send(line []byte, action string) {
	for s := range f.streams {
		if action != "" && len(s.wanted) > 0 && !slices.Contains(s.wanted, action) {
			continue
		}
		select {
		case s.lines <- line:
		default:
			close(s.lines)
			delete(f.streams, s)
		}
	}
}

// old: it plays Podman 4.
func (f *Fake) old() bool { return strings.HasPrefix(f.version, "4.") }
