package topology

import (
	"fmt"
	"slices"
	"strings"
)

// Reason says why a node is NotReady. The list is closed.
type Reason string

const (
	// ReasonUnreachable is the detector's: nobody reaches the node.
	ReasonUnreachable Reason = "Unreachable"
	// ReasonHeartbeatMissed: three heartbeats in a row did not come.
	ReasonHeartbeatMissed Reason = "HeartbeatMissed"
	// ReasonMemoryPressure, ReasonDiskPressure and ReasonCPUPressure: the
	// node itself reports that a resource runs out.
	ReasonMemoryPressure Reason = "MemoryPressure"
	ReasonDiskPressure   Reason = "DiskPressure"
	ReasonCPUPressure    Reason = "CPUPressure"
	// ReasonPodmanDown: Podman's service is missing, hangs or is too old.
	ReasonPodmanDown Reason = "PodmanDown"
	// ReasonReadinessFailed: another readiness check fails, or the node did
	// not become Ready in time after it was approved.
	ReasonReadinessFailed Reason = "ReadinessFailed"
	// ReasonClockSkew: the node's clock is so far off that it cannot work
	// with the masters. A skew that it can live with is only an alert.
	ReasonClockSkew Reason = "ClockSkew"
	// ReasonCertificateExpired: the node's certificate ran out and could not
	// be renewed.
	ReasonCertificateExpired Reason = "CertificateExpired"
)

// AllReasons returns the closed list of reasons.
func AllReasons() Reasons {
	return Reasons{
		ReasonUnreachable, ReasonHeartbeatMissed, ReasonMemoryPressure, ReasonDiskPressure, ReasonCPUPressure,
		ReasonPodmanDown, ReasonReadinessFailed, ReasonClockSkew, ReasonCertificateExpired,
	}
}

// ParseReason returns the reason named s, or an error that names s.
func ParseReason(s string) (Reason, error) {
	if r := Reason(s); slices.Contains(AllReasons(), r) {
		return r, nil
	}
	return "", fmt.Errorf("unknown reason %q", s)
}

// FromNode reports whether the node itself raises and clears r. The other
// reasons are the masters' own observations.
func (r Reason) FromNode() bool {
	switch r {
	case ReasonMemoryPressure, ReasonDiskPressure, ReasonCPUPressure, ReasonPodmanDown, ReasonReadinessFailed:
		return true
	}
	return false
}

// Reasons is a sorted set.
type Reasons []Reason

// With returns the set with all of rs in it.
func (s Reasons) With(rs ...Reason) Reasons {
	out := append(slices.Clone(s), rs...)
	slices.Sort(out)
	return slices.Compact(out)
}

// Without returns the set with none of rs in it.
func (s Reasons) Without(rs ...Reason) Reasons {
	return slices.DeleteFunc(slices.Clone(s), func(r Reason) bool { return slices.Contains(rs, r) })
}

// Has reports whether r is in the set.
func (s Reasons) Has(r Reason) bool { return slices.Contains(s, r) }

// String joins the reasons with commas.
func (s Reasons) String() string {
	words := make([]string, len(s))
	for i, r := range s {
		words[i] = string(r)
	}
	return strings.Join(words, ",")
}
