package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"piccolo.io/piccolo/podman"
	"piccolo.io/piccolo/readiness"
	"piccolo.io/piccolo/topology"
)

// CheckOptions of Check.
type CheckOptions struct {
	// Master, host or host:port, is tried where it is given.
	Master string
	// Fix applies the fixes that are safe.
	Fix bool
}

// Check runs the readiness checks and, if asked to, applies what fixes are
// safe; it changes nothing else. A machine that belongs to no cluster is
// judged by the join gate. For a member the running gate is asked, and the
// start gate for what that does not look at.
func Check(ctx context.Context, o Options, c CheckOptions) (readiness.Report, []readiness.FixResult, error) {
	if err := o.Validate(); err != nil {
		return readiness.Report{}, nil, err
	}
	o = o.withDefaults()
	r := readiness.Options{}
	if c.Master != "" {
		address, err := masterAddress(c.Master)
		if err != nil {
			return readiness.Report{}, nil, invalid{err}
		}
		r.Master = address
	}
	m, notMember := readMembership(o.DataDir)
	if notMember != nil {
		m = Membership{Role: topology.RoleMaster, APIPort: o.APIPort, GossipPort: o.GossipPort, EtcdPeerPort: o.EtcdPeerPort}
	} else {
		m.APIPort, m.GossipPort, m.EtcdPeerPort = 0, 0, 0 // its own daemon holds them
	}
	checker, err := newChecker(o, m, r)
	if err != nil {
		return readiness.Report{}, nil, err
	}
	run := func() readiness.Report {
		if notMember != nil {
			return checker.Run(ctx, readiness.GateJoin)
		}
		return checker.Run(ctx, readiness.GateRunning).Over(checker.Run(ctx, readiness.GateStart))
	}
	report := run()
	if !c.Fix {
		return report, nil, nil
	}
	fixes := checker.Fix(ctx, report)
	return run(), fixes, nil
}

// joinGate runs the readiness checks before this machine becomes a node. Only
// here may they refuse it.
func joinGate(ctx context.Context, o Options, m Membership, r readiness.Options) (readiness.Report, error) {
	checker, err := newChecker(o, m, r)
	if err != nil {
		return readiness.Report{}, err
	}
	report := checker.Run(ctx, readiness.GateJoin)
	if err := report.Err(); err != nil {
		return report, gateError{err}
	}
	return report, nil
}

// gateError is the join gate's refusal. It says by itself what ErrNotReady
// says.
type gateError struct{ error }

func (g gateError) Unwrap() error        { return g.error }
func (g gateError) Is(target error) bool { return target == ErrNotReady }

// startGate tells what is wrong with this board when its daemon starts. It
// never keeps a node from its work.
func startGate(ctx context.Context, o Options, m Membership) error {
	m.APIPort, m.GossipPort, m.EtcdPeerPort = 0, 0, 0 // they are being bound at the same time
	checker, err := newChecker(o, m, readiness.Options{})
	if err != nil {
		return err
	}
	for _, r := range checker.Run(ctx, readiness.GateStart).Results {
		if r.Severity.Bad() {
			o.Logger.Warn("this board is not in order", "check", r.Check, "found", r.Found, "mend", r.Mend)
		}
	}
	return nil
}

// newChecker adds to r what is known of this node.
func newChecker(o Options, m Membership, r readiness.Options) (*readiness.Checker, error) {
	engine, err := podman.New(podman.Options{Socket: o.PodmanSocket, Logger: o.Logger})
	if err != nil {
		return nil, err
	}
	r.DataDir, r.PodmanRoot, r.PodmanVersion = o.DataDir, o.PodmanRoot, podmanVersion(engine, o.PodmanSocket)
	r.Name, r.BuildTime, r.Logger = m.Name, o.BuildTime, o.Logger
	r.Ports = m.ports()
	return readiness.New(r)
}

// podmanVersion asks Podman for its version. The check that asks says itself
// what is being done and what to try, so an error is only what is wrong.
func podmanVersion(engine *podman.Engine, socket string) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		version, err := engine.Version(ctx)
		for _, known := range []error{podman.ErrNoSocket, podman.ErrRefused, podman.ErrDenied, podman.ErrTimeout, podman.ErrTooOld, podman.ErrNotPodman} {
			if errors.Is(err, known) {
				return "", podmanError{error: err, text: fmt.Sprintf("%v (%s)", known, socket)}
			}
		}
		return version, err
	}
}

// podmanError is an error of package podman in fewer words.
type podmanError struct {
	error
	text string
}

func (e podmanError) Error() string { return e.text }
func (e podmanError) Unwrap() error { return e.error }
func (e podmanError) Hint() string  { return podman.Hint(e.error) }

// ports that the node is going to listen on.
func (m Membership) ports() []readiness.Port {
	var out []readiness.Port
	add := func(name, network string, port int) {
		if port != 0 {
			out = append(out, readiness.Port{Name: name, Network: network, Addr: net.JoinHostPort("", strconv.Itoa(port))})
		}
	}
	add("gossip", "tcp", m.GossipPort)
	add("gossip", "udp", m.GossipPort)
	add("API", "tcp", m.APIPort)
	add("etcd peers", "tcp", m.EtcdPeerPort)
	return out
}
