package api

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"piccolo.io/piccolo/node/auth"
)

// MaxEvents bounds how many events one answer holds.
const MaxEvents = 1000

// EventLog keeps the newest events as JSON.
type EventLog interface {
	// Events returns the newest ones, oldest first; all for a limit of 0.
	Events(limit int) []json.RawMessage
}

// Events returns the newest lines of the cluster's log, oldest first: at most
// limit, or all that are kept for 0.
func (s *Service) Events(_ context.Context, p auth.Principal, log EventLog, limit int) ([]Event, error) {
	if err := auth.Authorize(p, auth.EventsRead, auth.Cluster()); err != nil {
		return nil, Classify(err)
	}
	if limit < 0 || limit > MaxEvents {
		return nil, Invalidf("list events: limit %d is out of bounds: use 0 (all that are kept) to %d", limit, MaxEvents)
	}
	var out []Event
	for _, line := range log.Events(limit) {
		var e Event
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, Classify(err)
		}
		out = append(out, e)
	}
	return out, nil
}

// WatchKinds lists what can be watched.
func WatchKinds() []string { return []string{"topology", "node", "container", "alert", "event"} }

// AuthorizeWatch checks that p may hear about every one of the kinds, or
// about all of them for none.
func (s *Service) AuthorizeWatch(p auth.Principal, kinds []string) error {
	if len(kinds) == 0 {
		kinds = WatchKinds()
	}
	for _, kind := range kinds {
		if !slices.Contains(WatchKinds(), kind) {
			return Invalidf("watch: unknown kind %q", shorten(kind)).WithHint("use any of %s, separated by commas", strings.Join(WatchKinds(), ", "))
		}
		action := auth.NodesRead
		switch kind {
		case "container":
			action = auth.ContainersRead
		case "topology":
			action = auth.TopologyRead
		case "event":
			action = auth.EventsRead
		}
		if err := auth.Authorize(p, action, auth.Cluster()); err != nil {
			return Classify(err)
		}
	}
	return nil
}

// Version is the answer of GET /api/v1/version.
type Version struct {
	// Version of the Piccolo that answers.
	Version string `json:"version"`
	// API lists the versions of the REST API that it speaks.
	API []string `json:"api"`
	// Go, OS and Arch are what it was built with and for.
	Go   string `json:"go"`
	OS   string `json:"os"`
	Arch string `json:"arch"`
}
