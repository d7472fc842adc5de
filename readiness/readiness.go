package readiness

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"time"

	"piccolo.io/piccolo/topology"
)

// ErrNotReady is wrapped by Report.Err.
var ErrNotReady = errors.New("this board can't join yet")

const (
	// DefaultDataDir is where a node keeps its state.
	DefaultDataDir = "/var/lib/piccolo"
	// DefaultPodmanRoot is where Podman, run by root, keeps images and
	// containers (containers-storage.conf(5), graphroot).
	DefaultPodmanRoot = "/var/lib/containers/storage"
)

// Port is one port that the node is going to listen on.
type Port struct {
	// Name says what it is for, such as "gossip".
	Name string
	// Network is "tcp" or "udp".
	Network string
	// Addr is "host:port"; an empty host means every address.
	Addr string
}

// Options are what New needs. The zero value is usable: checks that need
// something that isn't given say that they were not made.
type Options struct {
	// DataDir is the node's data directory; absolute. Default DefaultDataDir.
	DataDir string
	// PodmanRoot is Podman's storage; absolute. Default DefaultPodmanRoot.
	PodmanRoot string
	// PodmanVersion asks Podman's socket for its version, such as "4.3.1".
	// Nil: only the presence of the program is checked.
	PodmanVersion func(context.Context) (string, error)
	// Ports are to be free at the join and the start gate.
	Ports []Port
	// Master is "host:port" of the master's API. Empty: not checked.
	Master string
	// MasterTime returns the master's time, as its handshake told. Nil: the
	// clock is compared with the build time only.
	MasterTime func(context.Context) (time.Time, error)
	// Gossip sends a packet to a member by UDP and waits for its answer.
	// Nil: not checked.
	Gossip func(context.Context) error
	// Name is the node's name. Default: topology.NameFrom(host name).
	Name string
	// TakenNames returns the names of the cluster's other nodes, this one's
	// excepted. Nil: uniqueness is left to the master.
	TakenNames func(context.Context) ([]string, error)
	// BuildTime is when the program was built; no clock can be right that
	// says less. Default: 2026-01-01.
	BuildTime time.Time
	// Thresholds are the limits. Default DefaultThresholds.
	Thresholds Thresholds
	// Root is where /proc, /sys, /etc, /boot, /run, /usr and /lib are looked
	// for, so that a test can describe a board. DataDir and PodmanRoot are
	// not below it. Default "/".
	Root string
	// Timeout bounds a whole run. Default and maximum 5 s, minimum 1 s.
	Timeout time.Duration
	// System applies fixes. Default: the machine itself.
	System System
	// Logger is told how long each check took, at debug level. Default: none.
	Logger *slog.Logger
}

const (
	// maxTimeout is the promise of the join command: an answer within 5 s.
	maxTimeout = 5 * time.Second
	minTimeout = time.Second
	// grace is what a check gets after the end of its context to say in its
	// own words what didn't answer.
	grace = 250 * time.Millisecond
)

func (o Options) withDefaults() Options {
	fill(&o.DataDir, DefaultDataDir)
	fill(&o.PodmanRoot, DefaultPodmanRoot)
	fill(&o.Root, "/")
	fill(&o.Timeout, maxTimeout)
	if o.BuildTime.IsZero() {
		o.BuildTime = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	if o.System == nil {
		o.System = machineSystem{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Thresholds = o.Thresholds.withDefaults()
	return o
}

func (o Options) validate() error {
	for name, path := range map[string]string{"DataDir": o.DataDir, "PodmanRoot": o.PodmanRoot, "Root": o.Root} {
		if !filepath.IsAbs(path) {
			return fmt.Errorf("option %s: %q is not an absolute path", name, path)
		}
	}
	for i, p := range o.Ports {
		if p.Network != "tcp" && p.Network != "udp" {
			return fmt.Errorf("option Ports[%d].Network: %q is neither tcp nor udp", i, p.Network)
		}
		if _, _, err := net.SplitHostPort(p.Addr); err != nil {
			return fmt.Errorf("option Ports[%d].Addr: %w", i, err)
		}
	}
	if o.Master != "" {
		if _, _, err := net.SplitHostPort(o.Master); err != nil {
			return fmt.Errorf("option Master: %w", err)
		}
	}
	if o.Timeout < minTimeout || o.Timeout > maxTimeout {
		return fmt.Errorf("option Timeout: %s is not between %s and %s", o.Timeout, minTimeout, maxTimeout)
	}
	return o.Thresholds.validate()
}

// Checker runs the checks. It may be used by several goroutines.
type Checker struct {
	opts  Options
	probe probe
	// busy holds one slot per check, so that a check that hangs for good is
	// not started again and again on top of itself.
	busy map[string]chan struct{}
}

// New checks the options. It starts nothing and touches nothing.
func New(opts Options) (*Checker, error) {
	opts = opts.withDefaults()
	if err := opts.validate(); err != nil {
		return nil, fmt.Errorf("make readiness checker: %w", err)
	}
	c := &Checker{opts: opts, probe: machineProbe(), busy: map[string]chan struct{}{}}
	for _, s := range table() {
		c.busy[s.name] = make(chan struct{}, 1)
	}
	return c, nil
}

// Run runs the checks of gate all at once and returns one result for each, at
// the latest after Options.Timeout or soon after ctx ends. A check that has not
// answered by then becomes a result too. An unknown gate has no checks.
func (c *Checker) Run(ctx context.Context, gate Gate) Report {
	ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout-grace)
	defer cancel()
	report := Report{Gate: gate, At: c.probe.now(), Results: []Result{}}
	var waiting []<-chan Result
	for _, s := range table() {
		if s.limit(gate) != "" {
			waiting = append(waiting, c.start(ctx, gate, s))
		}
	}
	for _, result := range waiting {
		report.Results = append(report.Results, <-result)
	}
	return report
}

// start runs one check under its own deadline and always delivers a result.
func (c *Checker) start(ctx context.Context, gate Gate, s spec) <-chan Result {
	out := make(chan Result, 1)
	go func() {
		ctx, cancel := context.WithTimeout(ctx, s.timeout)
		defer cancel()
		began := time.Now()
		f := c.await(ctx, gate, s)
		c.opts.Logger.Debug("readiness check done", "check", s.name, "gate", gate, "severity", f.severity, "took", time.Since(began))
		out <- s.result(gate, f)
	}()
	return out
}

// await runs the check in a goroutine of its own, because a stat of a dead
// disk can't be interrupted, and gives up on it soon after ctx ends.
func (c *Checker) await(ctx context.Context, gate Gate, s spec) finding {
	slot := c.busy[s.name]
	began := time.Now()
	select {
	case slot <- struct{}{}:
	case <-ctx.Done():
		return s.hung(time.Since(began), "an earlier run of this check still hangs")
	}
	done := make(chan finding, 1)
	go func() {
		defer func() { <-slot }()
		done <- s.run(c, ctx, gate)
	}()
	select {
	case f := <-done:
		return f
	case <-ctx.Done():
	}
	select {
	case f := <-done:
		return f
	case <-time.After(grace):
		return s.hung(time.Since(began), "it did not answer")
	}
}

// path returns name below Options.Root.
func (c *Checker) path(name string) string { return filepath.Join(c.opts.Root, name) }

// nodeName returns the name the node is going to have.
func (c *Checker) nodeName() (string, error) {
	if c.opts.Name != "" {
		return c.opts.Name, nil
	}
	hostname, err := c.probe.hostname()
	if err != nil {
		return "", fmt.Errorf("read host name: %w", err)
	}
	return topology.NameFrom(hostname), nil
}
