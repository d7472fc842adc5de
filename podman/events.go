package podman

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
)

const (
	actionHealth   = "health_status"
	actionExecDied = "exec_died"
)

// changes are the events after which a container may look different. Podman filters by them, so that
// the exec, exec_died and attach of every health check reach neither this process nor its CPU.
var changes = []string{
	"create", "init", "start", "restart", "died", "stop", "pause", "unpause", "rename", "update",
	actionHealth, "cleanup", "remove", "restore", "checkpoint",
}

// event is what is believed of one: that something happened to a container.
type event struct{ id, action string }

// earlyHealth reports whether this Podman sends health_status when a check begins, with the result of
// the one before, as 4.3.1 does. Then the exec_died of the check says when it ended.
func earlyHealth(version string) bool { return strings.HasPrefix(version, "4.") }

// maxEvent bounds one event, which carries the container's labels.
const maxEvent = 1 << 20

// errStreamEnded: Podman closed the stream of events, as it does when it ends.
var errStreamEnded = errors.New("the stream of events ended")

// events opens the stream. It begins before the list is made, so nothing falls between them.
func (e *Engine) events(ctx context.Context, version string) (io.ReadCloser, error) {
	wanted := changes
	if earlyHealth(version) {
		wanted = append(slices.Clone(changes), actionExecDied)
	}
	filters, err := json.Marshal(map[string][]string{"type": {"container"}, "event": wanted})
	if err != nil {
		return nil, fmt.Errorf("encode the filter of events: %w", err)
	}
	return e.stream(ctx, request{
		op: "follow events", path: "/events",
		query: url.Values{"stream": {"true"}, "filters": {string(filters)}},
	})
}

// readEvents gives each event about a container to put until the stream ends. A line that
// is not an event is passed over: the resync mends what it may have said.
func readEvents(stream io.Reader, put func(event)) error {
	lines := bufio.NewScanner(stream)
	lines.Buffer(make([]byte, 0, 4<<10), maxEvent)
	for lines.Scan() {
		if ev, ok := decodeEvent(lines.Bytes()); ok {
			put(ev)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%w: %w", errStreamEnded, err)
	}
	return errStreamEnded
}

// decodeEvent reads one event; false when it is none about a container.
func decodeEvent(line []byte) (event, bool) {
	var in struct {
		Type   string `json:"Type"`
		Action string `json:"Action"`
		Actor  struct {
			ID string `json:"ID"`
		} `json:"Actor"`
	}
	if json.Unmarshal(line, &in) != nil || in.Type != "container" || in.Actor.ID == "" {
		return event{}, false
	}
	return event{in.Actor.ID, in.Action}, true
}
