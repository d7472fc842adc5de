package podmantest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"piccolo.io/piccolo/podman"
)

// started is when the fake's CPU counters began to run.
var started = time.Now()

func (f *Fake) wireInfo() any {
	return map[string]any{
		"host": map[string]any{
			"arch": "amd64", "os": "linux", "kernel": "6.1.0", "cgroupVersion": "v2", "cgroupManager": "systemd",
			"cgroupControllers": []string{"cpu", "memory", "pids"}, "eventLogger": "journald", "networkBackend": "netavark",
			"ociRuntime": map[string]any{"name": "crun"}, "security": map[string]any{"rootless": false},
		},
		"store": map[string]any{
			"graphDriverName": "overlay", "graphRoot": "/var/lib/containers/storage",
			"runRoot": "/run/containers/storage", "volumePath": "/var/lib/containers/storage/volumes",
		},
		"version": map[string]any{"Version": f.version, "APIVersion": f.version},
	}
}

func (f *Fake) wireList() any {
	f.mu.Lock()
	defer f.mu.Unlock()
	rows := []any{}
	for _, c := range f.sorted() {
		row := map[string]any{
			"Id": c.ID, "Names": []string{c.Name}, "Image": c.Image, "ImageID": c.ImageID, "State": string(c.State),
			"Status": string(c.Health), "ExitCode": c.ExitCode, "Exited": c.State == podman.StateExited, "Pid": c.PID,
			"StartedAt": c.StartedAt.Unix(), "ExitedAt": c.FinishedAt.Unix(), "Created": c.CreatedAt,
			"Labels": c.Labels, "Pod": c.Pod, "IsInfra": c.Infra, "Ports": nil, "Command": []string{"serve"},
		}
		if !f.old() {
			row["Restarts"] = c.Restarts
		}
		rows = append(rows, row)
	}
	return rows
}

func (f *Fake) sorted() []*podman.Container {
	var all []*podman.Container
	for _, c := range f.containers {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b *podman.Container) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// find is by id or name. Call with f.mu held.
func (f *Fake) find(id string) *podman.Container {
	if c := f.containers[id]; c != nil {
		return c
	}
	for _, c := range f.containers {
		if c.Name == id {
			return c
		}
	}
	return nil
}

func (f *Fake) wireInspect(id string) any {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.find(id)
	if c == nil {
		return nil
	}
	status := string(c.State)
	if f.old() && c.State == podman.StateCreated {
		status = "configured"
	}
	state := map[string]any{
		"Status": status, "Running": c.State == podman.StateRunning, "OOMKilled": c.OOMKilled, "Pid": c.PID,
		"ExitCode": c.ExitCode, "StartedAt": c.StartedAt, "FinishedAt": c.FinishedAt,
	}
	if f.old() || c.Health != "" {
		state["Health"] = map[string]any{"Status": string(c.Health), "FailingStreak": 0, "Log": nil}
	}
	ports := map[string][]map[string]string{}
	for _, p := range c.Ports {
		key := fmt.Sprintf("%d/%s", p.ContainerPort, p.Protocol)
		ip := p.HostIP
		if f.old() && ip == "0.0.0.0" {
			ip = ""
		}
		ports[key] = append(ports[key], map[string]string{"HostIp": ip, "HostPort": fmt.Sprint(p.HostPort)})
	}
	var entrypoint any = []string{"/app"}
	if f.old() {
		entrypoint = "/app"
	}
	return map[string]any{
		"Id": c.ID, "Name": c.Name, "Created": c.CreatedAt, "Image": c.ImageID, "ImageName": c.Image, "Pod": c.Pod,
		"IsInfra": c.Infra, "RestartCount": c.Restarts, "State": state,
		"Config":          map[string]any{"Labels": c.Labels, "Entrypoint": entrypoint},
		"NetworkSettings": map[string]any{"Ports": ports},
	}
}

func (f *Fake) wireStats() any {
	f.mu.Lock()
	defer f.mu.Unlock()
	rows := []any{}
	now := time.Now()
	for _, c := range f.sorted() {
		row := map[string]any{"ContainerID": c.ID, "Name": c.Name, "CPUNano": 0, "SystemNano": 0, "MemUsage": 0, "MemLimit": 0, "PIDs": 0}
		if c.State == podman.StateRunning {
			u := f.usage[c.ID]
			row["CPUNano"] = uint64(u.CPUPercent / 100 * float64(now.Sub(started)))
			row["SystemNano"] = now.UnixNano()
			row["MemUsage"], row["MemLimit"], row["PIDs"] = u.MemoryBytes, u.MemoryLimit, u.PIDs
		} else if !f.old() {
			continue
		}
		rows = append(rows, row)
	}
	return map[string]any{"Error": nil, "Stats": rows}
}
