package api

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"piccolo.io/piccolo/topology"
)

// advice says in words what is not in order and what to do about it: first this
// node, then each node that is NotReady, then who waits for an approval.
func advice(self SelfStatus, nodes []topology.Node, now time.Time) []string {
	var out []string
	switch {
	case strings.Contains(self.ModeReason, topology.ErrIdentityInUse.Error()):
		out = append(out, "Another machine uses this node's identity: `piccolo reset` on the one that is the copy, then join it as a new node.")
	case self.Mode == "Removed":
		out = append(out, "The cluster has removed this node: `piccolo reset` here, then `piccolo join` brings it back as a new one. Its containers go on running.")
	case self.Mode == "Offline":
		out = append(out, "This node reaches no master: its containers go on running, and nothing can be changed until one answers. "+
			"Check this node's cable or Wi-Fi, then `systemctl status piccolo` on the master.")
	}
	slices.SortFunc(nodes, func(a, b topology.Node) int { return cmp.Compare(a.Name, b.Name) })
	pending := 0
	for _, n := range nodes {
		switch n.Status {
		case topology.StatusNotReady:
			out = append(out, notReady(n, now))
		case topology.StatusPending:
			pending++
		}
	}
	if survival := topology.Survival(nodes); survival != "" && self.Mode != "Offline" && self.Mode != "Removed" {
		out = append(out, survival)
	}
	if pending > 0 {
		out = append(out, fmt.Sprintf("%d node(s) wait for approval: `piccolo node approve NODE`.", pending))
	}
	return out
}

// notReady is one line for one node: for how long, why, and what to try.
func notReady(n topology.Node, now time.Time) string {
	since := ""
	if !n.StatusSince.IsZero() {
		since = " for " + roughly(now.Sub(n.StatusSince))
	}
	remedies := []string{}
	for _, r := range n.Reasons {
		if remedy := remedyOf(r); remedy != "" && !slices.Contains(remedies, remedy) {
			remedies = append(remedies, remedy)
		}
	}
	return fmt.Sprintf("%s is NotReady%s (%s): %s", n.Name, since, strings.Join(strings.Split(n.Reasons.String(), ","), ", "), strings.ReplaceAll(strings.Join(remedies, "; "), "NODE", n.Name))
}

// remedyOf is the last column of docs/node-states.md. NODE stands for the
// node's name.
func remedyOf(r topology.Reason) string {
	switch r {
	case topology.ReasonUnreachable, topology.ReasonHeartbeatMissed:
		return "check its power, cable and Wi-Fi; `systemctl status piccolo` on NODE"
	case topology.ReasonMemoryPressure:
		return "stop what is not needed on NODE; `piccolo check` there shows the limit"
	case topology.ReasonDiskPressure:
		return "free space on NODE, for example with `podman system prune`"
	case topology.ReasonCPUPressure:
		return "find the cause with `top` on NODE; move work away"
	case topology.ReasonPodmanDown:
		return "`systemctl status podman.socket` on NODE"
	case topology.ReasonReadinessFailed:
		return "`piccolo check` on NODE"
	case topology.ReasonClockSkew:
		return "`timedatectl set-ntp true` on NODE"
	case topology.ReasonCertificateExpired:
		return "see what keeps NODE from reaching a master in its log: `journalctl -u piccolo` there"
	}
	return ""
}

// roughly writes a duration in its largest unit.
func roughly(d time.Duration) string {
	switch d = max(d, 0); {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
}
