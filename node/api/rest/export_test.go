package rest

import "time"

// Routes lists "METHOD /path" of every route, for the tests from outside.
func (h *Handler) Routes() []string {
	var out []string
	for _, r := range h.routes() {
		out = append(out, r.method+" "+r.path)
	}
	return out
}

// SetCallTimeout makes the tests of it short. Before Run.
func (s *Server) SetCallTimeout(d time.Duration) { s.call = d }

// SetHeaderTimeout makes the tests of it short. Before Run.
func (s *Server) SetHeaderTimeout(d time.Duration) { s.head = d }
