package readiness

import (
	"context"
	"net"
	"slices"
	"strings"

	"piccolo.io/piccolo/topology"
)

// imageNames are the host names that images come with. They are valid, but
// the second board of the kind will have the same one.
var imageNames = []string{"raspberrypi", "debian", "ubuntu", "dietpi", "armbian", "orangepi"}

// checkHostname judges the name that the node is going to have: the one
// given, or the first label of the host name.
func (c *Checker) checkHostname(ctx context.Context, _ Gate) finding {
	const mend = "hostnamectl set-hostname NAME, or choose another one with --name"
	name, err := c.nodeName()
	if err != nil {
		return fail(mend, "%v", err)
	}
	if problem := unusable(name); problem != "" {
		return fail(mend, "%s", problem)
	}
	if c.opts.Name == "" {
		if full, err := c.probe.hostname(); err == nil && net.ParseIP(full) != nil {
			return fail(mend, "the host name %q is an address", full)
		}
	}
	if c.opts.TakenNames != nil {
		taken, err := c.opts.TakenNames(ctx)
		if err != nil {
			return warn("see the check 'master'", "%q is valid; whether it is the only one is not known: %v", name, err)
		}
		if slices.ContainsFunc(taken, func(other string) bool { return strings.EqualFold(other, name) }) {
			return fail(mend, "another node has the name %q already", name)
		}
		return ok("%q is valid and free", name)
	}
	if slices.Contains(imageNames, name) {
		return warn(mend, "%q is the name that the image came with; the next board will have it too", name)
	}
	return ok("%q is valid", name)
}

// unusable says why name can't be a node's name, or "".
func unusable(name string) string {
	if err := topology.ValidateName(name); err != nil {
		return err.Error()
	}
	if name == "localhost" || name == "localdomain" {
		return "every machine has the name \"" + name + "\" for itself"
	}
	return ""
}
