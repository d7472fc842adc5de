package podman

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The types here name only the fields that are used. libpod/define has complete ones; they change
// their types between Podman versions (Entrypoint, Health) and cost ten times the decoding.

// row is one entry of Podman's list: enough to know that a container changed, not all that there is
// to know (4.x lists no restarts, neither lists exact times).
type row struct {
	ID       string            `json:"Id"`
	Names    []string          `json:"Names"`
	Image    string            `json:"Image"`
	ImageID  string            `json:"ImageID"`
	State    string            `json:"State"`
	Status   string            `json:"Status"` // the health check's result
	ExitCode int               `json:"ExitCode"`
	PID      int               `json:"Pid"`
	Restarts int               `json:"Restarts"` // since 5.0
	Started  int64             `json:"StartedAt"`
	Exited   int64             `json:"ExitedAt"`
	Created  time.Time         `json:"Created"`
	Labels   map[string]string `json:"Labels"`
	Pod      string            `json:"Pod"`
	IsInfra  bool              `json:"IsInfra"`
}

// rowKey is what of a row differs after any change that matters.
type rowKey struct {
	name, state, health      string
	exitCode, pid, restarts  int
	started, exited, created int64
}

func (r *row) name() string {
	if len(r.Names) == 0 {
		return ""
	}
	return r.Names[0]
}

func (r *row) key() rowKey {
	return rowKey{
		name: r.name(), state: r.State, health: r.Status,
		exitCode: r.ExitCode, pid: r.PID, restarts: r.Restarts,
		started: r.Started, exited: r.Exited, created: r.Created.UnixNano(),
	}
}

func (r *row) container() Container {
	c := Container{
		ID: r.ID, Name: r.name(), Image: r.Image, ImageID: r.ImageID, State: toState(r.State),
		Restarts: r.Restarts, CreatedAt: toTime(r.Created), Labels: r.Labels, Pod: r.Pod, Infra: r.IsInfra, PID: r.PID,
	}
	if c.State == StateExited {
		c.ExitCode = r.ExitCode
	}
	return c
}

// decodeList reads the answer of GET /libpod/containers/json. Every row has an id, no id twice.
func decodeList(body []byte) ([]row, error) {
	var rows []row
	if err := json.Unmarshal(body, &rows); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadAnswer, err)
	}
	seen := make(map[string]bool, len(rows))
	return slices.DeleteFunc(rows, func(r row) bool {
		drop := r.ID == "" || seen[r.ID]
		seen[r.ID] = true
		return drop
	}), nil
}

type inspected struct {
	ID           string    `json:"Id"`
	Name         string    `json:"Name"`
	Created      time.Time `json:"Created"`
	Image        string    `json:"Image"`
	ImageName    string    `json:"ImageName"`
	Pod          string    `json:"Pod"`
	IsInfra      bool      `json:"IsInfra"`
	RestartCount int       `json:"RestartCount"`
	State        struct {
		Status     string    `json:"Status"`
		OOMKilled  bool      `json:"OOMKilled"`
		PID        int       `json:"Pid"`
		ExitCode   int       `json:"ExitCode"`
		StartedAt  time.Time `json:"StartedAt"`
		FinishedAt time.Time `json:"FinishedAt"`
		// 4.x always has it, with an empty Status for a container without a check; 5.x leaves it out.
		Health struct {
			Status string `json:"Status"`
		} `json:"Health"`
	} `json:"State"`
	Config struct {
		Labels map[string]string `json:"Labels"`
	} `json:"Config"`
	NetworkSettings struct {
		Ports map[string][]struct {
			HostIP   string `json:"HostIp"`
			HostPort string `json:"HostPort"`
		} `json:"Ports"`
	} `json:"NetworkSettings"`
}

// decodeInspect reads the answer of GET /libpod/containers/{id}/json.
func decodeInspect(body []byte) (Container, error) {
	var in inspected
	if err := json.Unmarshal(body, &in); err != nil {
		return Container{}, fmt.Errorf("%w: %w", ErrBadAnswer, err)
	}
	if in.ID == "" {
		return Container{}, fmt.Errorf("%w: a container without an id", ErrBadAnswer)
	}
	c := Container{
		ID: in.ID, Name: in.Name, Image: in.ImageName, ImageID: in.Image,
		State: toState(in.State.Status), Health: toHealth(in.State.Health.Status),
		OOMKilled: in.State.OOMKilled, Restarts: in.RestartCount,
		CreatedAt: toTime(in.Created), StartedAt: toTime(in.State.StartedAt), FinishedAt: toTime(in.State.FinishedAt),
		Pod: in.Pod, Infra: in.IsInfra, PID: in.State.PID,
	}
	if len(in.Config.Labels) > 0 {
		c.Labels = in.Config.Labels
	}
	if c.State == StateExited {
		c.ExitCode = in.State.ExitCode
	}
	for inside, bindings := range in.NetworkSettings.Ports {
		for _, b := range bindings {
			if p, ok := toPort(inside, b.HostIP, b.HostPort); ok {
				c.Ports = append(c.Ports, p)
			}
		}
	}
	slices.SortFunc(c.Ports, func(a, b Port) int {
		return cmp.Or(cmp.Compare(a.ContainerPort, b.ContainerPort), cmp.Compare(a.Protocol, b.Protocol),
			cmp.Compare(a.HostPort, b.HostPort), cmp.Compare(a.HostIP, b.HostIP))
	})
	return c, nil
}

func toState(word string) State {
	switch word {
	case "configured", "created", "initialized":
		return StateCreated
	case "exited", "stopped":
		return StateExited
	case "running", "paused", "restarting", "stopping", "removing":
		return State(word)
	}
	return StateUnknown
}

func toHealth(word string) Health {
	switch Health(word) {
	case HealthStarting, HealthHealthy, HealthUnhealthy:
		return Health(word)
	}
	return HealthNone
}

// toTime drops the location, so that equal moments are equal values. Podman's "never" is year 1.
func toTime(t time.Time) time.Time {
	if t.Year() <= 1 {
		return time.Time{}
	}
	return t.UTC()
}

// toPort reads a binding such as "80/tcp" → "127.0.0.1", "8080".
func toPort(inside, hostIP, hostPort string) (Port, bool) {
	number, protocol, ok := strings.Cut(inside, "/")
	in, err := strconv.ParseUint(number, 10, 16)
	out, err2 := strconv.ParseUint(hostPort, 10, 16)
	if !ok || err != nil || err2 != nil {
		return Port{}, false
	}
	if hostIP == "" { // 4.x says "", 5.x "0.0.0.0"
		hostIP = "0.0.0.0"
	}
	return Port{HostIP: hostIP, HostPort: uint16(out), ContainerPort: uint16(in), Protocol: protocol}, true
}

func decodeInfo(body []byte) (Info, error) {
	var in struct {
		Host struct {
			Arch              string   `json:"arch"`
			OS                string   `json:"os"`
			Kernel            string   `json:"kernel"`
			CgroupVersion     string   `json:"cgroupVersion"`
			CgroupManager     string   `json:"cgroupManager"`
			CgroupControllers []string `json:"cgroupControllers"`
			EventLogger       string   `json:"eventLogger"`
			NetworkBackend    string   `json:"networkBackend"`
			OCIRuntime        struct {
				Name string `json:"name"`
			} `json:"ociRuntime"`
			Security struct {
				Rootless bool `json:"rootless"`
			} `json:"security"`
		} `json:"host"`
		Store struct {
			Driver    string `json:"graphDriverName"`
			GraphRoot string `json:"graphRoot"`
			RunRoot   string `json:"runRoot"`
			Volumes   string `json:"volumePath"`
		} `json:"store"`
		Version struct {
			Version string `json:"Version"`
		} `json:"version"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return Info{}, fmt.Errorf("%w: %w", ErrBadAnswer, err)
	}
	h, s := in.Host, in.Store
	return Info{
		Version: in.Version.Version, OS: h.OS, Arch: h.Arch, Kernel: h.Kernel,
		CgroupVersion: h.CgroupVersion, CgroupManager: h.CgroupManager, CgroupControllers: h.CgroupControllers,
		Runtime: h.OCIRuntime.Name, NetworkBackend: h.NetworkBackend, EventLogger: h.EventLogger, Rootless: h.Security.Rootless,
		StorageDriver: s.Driver, GraphRoot: s.GraphRoot, RunRoot: s.RunRoot, VolumeRoot: s.Volumes,
	}, nil
}

func sortByName(all []Container) {
	slices.SortFunc(all, func(a, b Container) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
}
