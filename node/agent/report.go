package agent

import (
	"context"
	"reflect"
	"sync"
	"time"

	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/podman"
	"piccolo.io/piccolo/readiness"
	"piccolo.io/piccolo/topology"
)

// checkInterval between two runs of the readiness checks of a running node.
const checkInterval = 30 * time.Second

// maxReported bounds the containers of one report; the masters take no more.
const maxReported = 1000

// report is the newest report.
func (a *Agent) report() workload.Report {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.reportSeq++
	return workload.Report{
		Node: a.o.Identity.ID, Sequence: a.reportSeq, At: a.o.Now(), Conditions: a.conditions, Containers: a.containers,
		Complete: a.complete, Alerts: a.alerts(), Resources: a.resources, Platform: a.o.Identity.Platform,
		Version: a.o.Identity.Version, PodmanVersion: a.podmanVer,
	}
}

// looked waits until Podman and the board have been looked at for the first
// time, so that no report says less than the node can know; a check that hangs
// holds it up for at most callTimeout.
func (a *Agent) looked(ctx context.Context) error {
	patience := time.NewTimer(callTimeout)
	defer patience.Stop()
	for _, first := range []*first{&a.watched, &a.examined} {
		select {
		case <-first.done:
		case <-patience.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// first is closed once something has happened for the first time.
type first struct {
	once sync.Once
	done chan struct{}
}

func (f *first) mark() { f.once.Do(func() { close(f.done) }) }

// podmanChanged takes a new picture of the board's containers.
func (a *Agent) podmanChanged(s podman.Snapshot) {
	if n := len(s.Containers); n > maxReported {
		a.o.Logger.Warn("too many containers to report", "containers", n, "reported", maxReported)
		s.Containers = s.Containers[:maxReported]
	}
	containers := make([]workload.Container, 0, len(s.Containers))
	for _, c := range s.Containers {
		container := fromPodman(c)
		container.Node, container.NodeName = a.o.Identity.ID, a.o.Identity.Name
		containers = append(containers, container)
	}
	a.mu.Lock()
	down := !s.Up
	toggled := down != a.conditions.Has(topology.ReasonPodmanDown)
	a.containers, a.complete, a.podmanVer = containers, s.Up, s.Version
	a.podmanErr = ""
	if s.Err != nil {
		a.podmanErr = s.Err.Error()
	}
	if down {
		a.conditions = a.conditions.With(topology.ReasonPodmanDown)
	} else {
		a.conditions = a.conditions.Without(topology.ReasonPodmanDown)
	}
	a.mu.Unlock()
	if toggled {
		trigger(a.wake.check) // its finding should follow at once
		a.o.OnEvent("Podman", podmanWord(s))
	}
	a.watched.mark()
	trigger(a.wake.report)
	a.o.OnContainers(containers)
}

func podmanWord(s podman.Snapshot) string {
	switch {
	case s.Up:
		return "answers again"
	case s.Err != nil:
		return "does not answer: " + s.Err.Error()
	}
	return "does not answer"
}

// checkConditions runs the readiness checks from time to time and reports
// when a condition came or went.
func (a *Agent) checkConditions(ctx context.Context) error {
	tick := time.NewTicker(checkInterval)
	defer tick.Stop()
	for {
		report := a.o.Checker.Run(ctx, readiness.GateRunning)
		if ctx.Err() != nil {
			return nil
		}
		a.checked(report)
		select {
		case <-tick.C:
		case <-a.wake.check:
		case <-ctx.Done():
			return nil
		}
	}
}

func (a *Agent) checked(report readiness.Report) {
	var findings []readiness.Result
	for _, r := range report.Results {
		if r.Severity != readiness.SeverityOK {
			findings = append(findings, r)
		}
	}
	a.mu.Lock()
	before := a.conditions
	// Whether Podman answers is the watch's to say: it knows within a second.
	a.conditions = readiness.Conditions(before, report).Without(topology.ReasonPodmanDown)
	if before.Has(topology.ReasonPodmanDown) {
		a.conditions = a.conditions.With(topology.ReasonPodmanDown)
	}
	changed := before.String() != a.conditions.String() || !reflect.DeepEqual(checks(a.findings), checks(findings))
	if changed {
		a.findings = findings
	}
	a.mu.Unlock()
	a.examined.mark()
	if changed {
		trigger(a.wake.report)
	}
}

// checks names what the findings are about. Their figures always move, so
// they alone are no change.
func checks(findings []readiness.Result) []string {
	out := make([]string, len(findings))
	for i, f := range findings {
		out[i] = f.Check + " " + string(f.Severity)
	}
	return out
}

// alerts are the readiness findings and Podman's trouble. The caller holds mu.
func (a *Agent) alerts() []workload.Alert {
	out := []workload.Alert{}
	standing := map[string]time.Time{}
	add := func(kind string, severity workload.Severity, message, hint string) {
		at, ok := a.raised[kind]
		if !ok {
			at = a.o.Now()
		}
		standing[kind] = at
		out = append(out, workload.Alert{
			ID: kind + "-" + a.o.Identity.ID, Kind: kind, Node: a.o.Identity.ID, NodeName: a.o.Identity.Name,
			Severity: severity, Message: message, Hint: hint, RaisedAt: at,
		})
	}
	if a.podmanErr != "" {
		add("PodmanDown", workload.SeverityError, a.podmanErr, "`systemctl status podman.socket` on the node")
	}
	for _, f := range a.findings {
		if f.Condition == topology.ReasonPodmanDown {
			continue // the watch has said so already, and sooner
		}
		add("Readiness/"+f.Check, workload.Severity(f.Severity), f.Check+": "+f.Found, f.Mend)
	}
	a.raised = standing
	return out
}

// stats answers a master's question for the figures of all containers.
func (a *Agent) stats(ctx context.Context, query uint64) *workload.StatsAnswer {
	answer := &workload.StatsAnswer{Query: query, Stats: map[string]workload.ContainerStats{}}
	stats, err := a.Stats(ctx)
	if err != nil {
		answer.Error = err.Error()
	} else {
		answer.Stats = stats
	}
	return answer
}

// Stats measures the running containers of this board, by container id.
func (a *Agent) Stats(ctx context.Context) (map[string]workload.ContainerStats, error) {
	usages, err := a.o.Podman.Stats(ctx)
	if err != nil {
		return nil, err
	}
	out := map[string]workload.ContainerStats{}
	for _, u := range usages {
		out[u.ID] = workload.ContainerStats{CPUPercent: tenths(u.CPUPercent), MemoryBytes: u.MemoryBytes, MemoryLimit: u.MemoryLimit}
	}
	return out, nil
}

func fromPodman(c podman.Container) workload.Container {
	out := workload.Container{
		ID: c.ID, Name: c.Name, Image: c.Image, State: string(c.State), Health: string(c.Health), ExitCode: c.ExitCode,
		Restarts: c.Restarts, Ports: []workload.Port{}, CreatedAt: c.CreatedAt, StartedAt: pointer(c.StartedAt),
		FinishedAt: pointer(c.FinishedAt), Labels: c.Labels,
	}
	for _, p := range c.Ports {
		out.Ports = append(out.Ports, workload.Port{HostIP: p.HostIP, HostPort: int(p.HostPort), ContainerPort: int(p.ContainerPort), Protocol: p.Protocol})
	}
	return out
}

func pointer(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// Alerts returns what this node itself warns of.
func (a *Agent) Alerts() []workload.Alert {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.alerts()
}
