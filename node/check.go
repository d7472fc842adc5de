package node

import (
	"context"
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

// Check runs the readiness checks of the join gate and, if asked to, applies
// what fixes are safe. It changes nothing else.
func Check(ctx context.Context, o Options, c CheckOptions) (readiness.Report, []readiness.FixResult, error) {
	if err := o.Validate(); err != nil {
		return readiness.Report{}, nil, err
	}
	o = o.withDefaults()
	r := readiness.Options{}
	if c.Master != "" {
		address, err := masterAddress(c.Master)
		if err != nil {
			return readiness.Report{}, nil, fmt.Errorf("%w: %w", topology.ErrInvalid, err)
		}
		r.Master = address
	}
	gate := readiness.GateJoin
	m, err := readMembership(o.DataDir)
	if err != nil {
		m = Membership{Role: topology.RoleMaster, APIPort: o.APIPort, GossipPort: o.GossipPort, EtcdPeerPort: o.EtcdPeerPort}
	} else {
		gate = readiness.GateRunning // its own daemon may hold the ports
	}
	checker, err := newChecker(o, m, r)
	if err != nil {
		return readiness.Report{}, nil, err
	}
	report := checker.Run(ctx, gate)
	if !c.Fix {
		return report, nil, nil
	}
	fixes := checker.Fix(ctx, report)
	return checker.Run(ctx, gate), fixes, nil
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
		return report, fmt.Errorf("%w: %w", ErrNotReady, err)
	}
	return report, nil
}

// startGate tells what is wrong with this board when its daemon starts. It
// never keeps a node from its work.
func startGate(ctx context.Context, o Options, m Membership) error {
	m.APIPort, m.GossipPort, m.EtcdPeerPort = 0, 0, 0 // they are being bound at the same time
	checker, err := newChecker(o, m, readiness.Options{})
	if err != nil {
		return err
	}
	for _, r := range checker.Run(ctx, readiness.GateStart).Results {
		if r.Severity != readiness.SeverityOK {
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
	r.DataDir, r.PodmanRoot, r.PodmanVersion = o.DataDir, o.PodmanRoot, engine.Version
	r.Name, r.BuildTime, r.Logger = m.Name, o.BuildTime, o.Logger
	r.Ports = m.ports()
	return readiness.New(r)
}

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
