package master

import (
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"
	"unicode"

	"piccolo.io/piccolo/node/pki"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/topology"
)

// Bounds of what nodes say, here in one place. What names something is
// refused when it is out of bounds; what is meant to be read by people or was
// set by somebody else (a container's labels) is made to fit, so that no
// odd text costs a node its heartbeat.
const (
	// maxString and maxMessage in bytes.
	maxString  = 256
	maxMessage = 1 << 10
	// maxContainers bounds a report; a board of this class runs tens.
	maxContainers      = 1000
	maxContainerLabels = 64
	maxContainerPorts  = 256
	maxNodeAlerts      = 64
	maxFindings        = 64
	// maxCSR is far above a request for an Ed25519 or RSA key, in bytes.
	maxCSR = 16 << 10
)

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %w", topology.ErrInvalid, fmt.Errorf(format, args...))
}

// validAddress accepts where a node can be reached. Loopback is allowed: a
// cluster may live on one machine.
func validAddress(field, ip string) error {
	addr, err := netip.ParseAddr(ip)
	if err != nil || addr.IsUnspecified() || addr.IsMulticast() || validText(field, ip) != nil {
		return invalid("%s %q is not an address at which the node can be reached", field, clip(ip))
	}
	return nil
}

// validText accepts a short text without control characters.
func validText(field, s string) error {
	switch {
	case len(s) > maxString:
		return invalid("%s has %d bytes, at most %d are allowed", field, len(s), maxString)
	case s != tidy(s, maxString):
		return invalid("%s %q has characters that it may not have", field, clip(s))
	}
	return nil
}

// validTexts takes pairs of field and text.
func validTexts(pairs ...string) error {
	for i := 0; i < len(pairs); i += 2 {
		if err := validText(pairs[i], pairs[i+1]); err != nil {
			return err
		}
	}
	return nil
}

func validPlatform(p topology.Platform) error {
	return validTexts("platform.os", p.OS, "platform.arch", p.Arch, "platform.variant", p.Variant, "platform.kernel", p.Kernel, "platform.model", p.Model)
}

func validResources(r topology.Resources) error {
	if r.CPU < 0 || r.Memory < 0 || r.Disk < 0 {
		return invalid("resources must not be negative")
	}
	return nil
}

// tidy makes a text of at most limit bytes without control characters.
func tidy(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		// Format characters can turn a line of a terminal around.
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || unicode.Is(unicode.Bidi_Control, r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s[:min(len(s), limit)], "�"))
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "")
	}
	return s
}

// knownRevision is what the node's word about the plan that it obeys is worth:
// 0 where it is newer than any plan here, as after a restore from an older
// copy. Such a node is given the newest plan that there is.
func (m *Master) knownRevision(id string, applied int64) (int64, error) {
	if applied < 0 {
		return 0, invalid("applied_revision %d is negative", applied)
	}
	if p, ok := m.plans.get(id); !ok || applied > p.Revision {
		return 0, nil
	}
	return applied, nil
}

func validHello(h workload.Hello) error {
	if err := validTexts("node_id", h.Node, "instance", h.Instance, "machine_id", h.MachineID, "version", h.Version); err != nil {
		return err
	}
	return validAddress("ip_address", h.IP)
}

// tidyHeartbeat refuses figures that are none and makes the message fit.
func tidyHeartbeat(h workload.Heartbeat) (workload.Heartbeat, error) {
	u := h.Usage
	figures := []float64{u.CPUPercent, u.Load1, u.DiskUsedPercent, u.FlashMBPerDay}
	if u.Temperature != nil {
		figures = append(figures, *u.Temperature)
	}
	for _, f := range figures {
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return h, invalid("a figure of its usage is not a number")
		}
	}
	h.ApplyError = tidy(h.ApplyError, maxMessage)
	return h, nil
}

// tidyReport refuses what no report has and makes the rest fit. It shares no
// memory that it changes with r.
func tidyReport(r workload.Report) (workload.Report, error) {
	switch {
	case len(r.Containers) > maxContainers:
		return r, invalid("%d containers are more than the %d that a report may have", len(r.Containers), maxContainers)
	case len(r.Alerts) > maxNodeAlerts:
		return r, invalid("%d alerts are more than the %d that a report may have", len(r.Alerts), maxNodeAlerts)
	}
	for _, c := range r.Conditions {
		if !c.FromNode() {
			return r, invalid("condition %s is the masters' to decide", c)
		}
	}
	if err := validTexts("version", r.Version, "podman_version", r.PodmanVersion); err != nil {
		return r, err
	}
	if err := validPlatform(r.Platform); err != nil {
		return r, err
	}
	if err := validResources(r.Resources); err != nil {
		return r, err
	}
	r.Containers, r.Alerts = slices.Clone(r.Containers), slices.Clone(r.Alerts)
	for i := range r.Containers {
		tidyContainer(&r.Containers[i])
	}
	for i := range r.Alerts {
		a := &r.Alerts[i]
		a.Kind, a.Node, a.NodeName = tidy(a.Kind, maxString), "", ""
		a.ID = r.Node + "/" + a.Kind // as a container's key: none of another node, none of the masters' own
		a.Severity = workload.Severity(tidy(string(a.Severity), maxString))
		a.Message, a.Hint = tidy(a.Message, maxMessage), tidy(a.Hint, maxMessage)
	}
	return r, nil
}

func tidyContainer(c *workload.Container) {
	for _, s := range []*string{&c.ID, &c.Name, &c.Image, &c.State, &c.Health} {
		*s = tidy(*s, maxString)
	}
	c.Node, c.NodeName, c.Stats = "", "", nil // whoever answers sets them
	c.Ports = slices.Clone(c.Ports[:min(len(c.Ports), maxContainerPorts)])
	for i := range c.Ports {
		c.Ports[i].HostIP, c.Ports[i].Protocol = tidy(c.Ports[i].HostIP, maxString), tidy(c.Ports[i].Protocol, maxString)
	}
	if c.Labels == nil {
		return
	}
	labels := map[string]string{}
	for _, k := range slices.Sorted(maps.Keys(c.Labels)) {
		if len(labels) == maxContainerLabels {
			break
		}
		labels[tidy(k, maxString)] = tidy(c.Labels[k], maxString)
	}
	c.Labels = labels
}

// tidyStats makes an answer with figures fit.
func tidyStats(a *workload.StatsAnswer) {
	a.Error = tidy(a.Error, maxMessage)
	for id, s := range a.Stats {
		if math.IsNaN(s.CPUPercent) || math.IsInf(s.CPUPercent, 0) {
			s.CPUPercent = 0
			a.Stats[id] = s
		}
	}
}

// validRegistration checks everything that does not need the store.
func validRegistration(r workload.Registration) error {
	if err := topology.ValidateName(r.Name); err != nil {
		return invalid("%w", err)
	}
	if err := topology.ValidateLabels(r.Labels); err != nil {
		return invalid("%w", err)
	}
	if !r.Role.Valid() {
		return invalid("role %q is not valid: use sub or master", clip(string(r.Role)))
	}
	if err := validAddress("ip_address", r.IP); err != nil {
		return err
	}
	if err := validTexts("hostname", r.Hostname, "version", r.Version, "machine_id", r.MachineID); err != nil {
		return err
	}
	if err := validPlatform(r.Platform); err != nil {
		return err
	}
	if err := validResources(r.Resources); err != nil {
		return err
	}
	if len(r.Readiness) > maxFindings {
		return invalid("%d readiness findings are too many: at most %d are allowed", len(r.Readiness), maxFindings)
	}
	if len(r.CSR) > maxCSR {
		return invalid("credentials.csr has %d bytes, at most %d are allowed", len(r.CSR), maxCSR)
	}
	id, err := pki.ParseCSR(r.CSR)
	if err != nil {
		return invalid("credentials.csr: %w", err)
	}
	if id != r.NodeID {
		return invalid("node_id %q is not the id of the key in credentials.csr (%s)", clip(r.NodeID), id)
	}
	return nil
}

// clip keeps an error readable when the input is huge.
func clip(s string) string {
	if len(s) <= 80 {
		return s
	}
	return strings.ToValidUTF8(s[:80], "") + "…"
}
