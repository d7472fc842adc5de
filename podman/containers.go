package podman

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"
)

// State is what a container is doing. Podman 4.x and 5.x use slightly different words; these are the
// only ones that this package gives out.
type State string

// The states of a container.
const (
	StateCreated    State = "created"    // never started (Podman also says "configured", "initialized")
	StateRunning    State = "running"    //
	StatePaused     State = "paused"     // frozen by an operator
	StateRestarting State = "restarting" // between two runs
	StateStopping   State = "stopping"   // told to end, has not ended
	StateExited     State = "exited"     // ended (Podman also says "stopped")
	StateRemoving   State = "removing"   //
	StateUnknown    State = "unknown"    // Podman itself does not know, or a word newer than this table
)

// Health is the result of a container's health check; empty when it has none or never ran.
type Health string

// The results of a health check.
const (
	HealthNone      Health = ""
	HealthStarting  Health = "starting"
	HealthHealthy   Health = "healthy"
	HealthUnhealthy Health = "unhealthy"
)

// Port is one published port.
type Port struct {
	HostIP        string `json:"host_ip"` // "0.0.0.0" when it listens on every address
	HostPort      uint16 `json:"host_port"`
	ContainerPort uint16 `json:"container_port"`
	Protocol      string `json:"protocol"` // "tcp", "udp" or "sctp"
}

// Container is one container as Podman sees it at one moment. It is a plain value; do not change the
// slice and map inside, snapshots share them. All times are in UTC.
type Container struct {
	ID       string `json:"id"` // 64 hex digits
	Name     string `json:"name"`
	Image    string `json:"image"`    // as it was asked for, such as "localhost/app:1"
	ImageID  string `json:"image_id"` // 64 hex digits
	State    State  `json:"state"`
	Health   Health `json:"health,omitempty"`
	ExitCode int    `json:"exit_code"` // of the run that ended; 0 unless State is exited
	// OOMKilled: the kernel ended it for want of memory. Podman 4.3.1 with crun never says so.
	OOMKilled  bool              `json:"oom_killed,omitempty"`
	Restarts   int               `json:"restarts"` // by the restart policy since the last start by hand
	Ports      []Port            `json:"ports,omitempty"`
	CreatedAt  time.Time         `json:"created_at,omitzero"`
	StartedAt  time.Time         `json:"started_at,omitzero"`  // zero: never started
	FinishedAt time.Time         `json:"finished_at,omitzero"` // of the last run that ended; zero: none did
	Labels     map[string]string `json:"labels,omitempty"`
	Pod        string            `json:"pod,omitempty"`   // id of the pod it is in
	Infra      bool              `json:"infra,omitempty"` // it only holds a pod together
	PID        int               `json:"pid,omitempty"`   // 0 when no process runs
}

// List gives all containers, running or not, sorted by name. A container whose details Podman cannot
// give is there with what the list itself says. Errors match ErrDown, ErrRejected or ErrBadAnswer.
func (e *Engine) List(ctx context.Context) ([]Container, error) {
	rows, err := e.rows(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]Container, 0, len(rows))
	for _, row := range rows {
		c, err := e.Inspect(ctx, row.ID)
		switch {
		case errors.Is(err, ErrNotFound): // removed since it was listed
			continue
		case answered(err):
			c = row.container()
		case err != nil:
			return nil, err
		}
		all = append(all, c)
	}
	sortByName(all)
	return all, nil
}

// Inspect gives one container by id or name. Errors match ErrNotFound, ErrDown, ErrRejected or
// ErrBadAnswer.
func (e *Engine) Inspect(ctx context.Context, id string) (Container, error) {
	var c Container
	r := request{op: "inspect container " + id, path: "/containers/%s/json", values: []string{id}}
	err := e.call(ctx, r, func(_ http.Header, body []byte) (err error) {
		c, err = decodeInspect(body)
		return err
	})
	return c, err
}

func (e *Engine) rows(ctx context.Context) ([]row, error) {
	var rows []row
	r := request{op: "list containers", path: "/containers/json", query: url.Values{"all": {"true"}}}
	err := e.call(ctx, r, func(_ http.Header, body []byte) (err error) {
		rows, err = decodeList(body)
		return err
	})
	return rows, err
}

// answered reports whether Podman works and only this one question went wrong.
func answered(err error) bool {
	return errors.Is(err, ErrRejected) || errors.Is(err, ErrBadAnswer)
}
