package readiness

import (
	"context"
	"fmt"
	"time"

	"piccolo.io/piccolo/topology"
)

// finding is what a check itself says; the table makes a Result of it.
type finding struct {
	severity Severity
	found    string
	mend     string
	fix      FixID
	reboot   bool
	// reason and zone count at GateRunning only. zoneHold without a reason
	// means that nothing is known: all the check's reasons stay as they were.
	reason topology.Reason
	zone   zone
}

func ok(format string, args ...any) finding {
	return finding{severity: SeverityOK, found: fmt.Sprintf(format, args...)}
}

// skip is the finding of a check that had nothing to look at.
func skip(format string, args ...any) finding {
	return finding{severity: SeveritySkipped, found: fmt.Sprintf(format, args...)}
}

func warn(mend, format string, args ...any) finding {
	return finding{severity: SeverityWarning, found: fmt.Sprintf(format, args...), mend: mend}
}

func fail(mend, format string, args ...any) finding {
	return finding{severity: SeverityError, found: fmt.Sprintf(format, args...), mend: mend}
}

// with returns f with a remedy that Fix can apply.
func (f finding) with(fix FixID) finding { f.fix = fix; return f }

// raising returns f with a condition. What holds or raises one is at least a
// warning.
func (f finding) raising(reason topology.Reason, z zone) finding {
	f.reason, f.zone = reason, z
	return f
}

// spec is one row of the table of checks.
type spec struct {
	name string
	// asks is what the check asks, limits what it compares with and remedy
	// what to do, all for docs/readiness.md.
	asks   string
	limits func(Thresholds) string
	remedy string
	// join, start and running are the worst severity at that gate; empty
	// where the gate does not run the check.
	join, start, running Severity
	// reasons are what the check may raise at GateRunning.
	reasons topology.Reasons
	// hangRaises: no answer is as bad as a bad answer (Podman). Otherwise no
	// answer leaves the conditions as they are.
	hangRaises bool
	timeout    time.Duration
	run        func(*Checker, context.Context, Gate) finding
}

// limit returns the worst severity at gate, or "" where it isn't run.
func (s spec) limit(gate Gate) Severity {
	switch gate {
	case GateJoin:
		return s.join
	case GateStart:
		return s.start
	case GateRunning:
		return s.running
	}
	return ""
}

// result turns a finding into what the gate reports.
func (s spec) result(gate Gate, f finding) Result {
	r := Result{
		Check: s.name, Severity: f.severity.atMost(s.limit(gate)),
		Found: f.found, Mend: f.mend, Fix: f.fix, RebootNeeded: f.reboot,
	}
	if gate != GateRunning || f.zone == zoneClear {
		return r
	}
	r.Condition, r.Hold = f.reason, f.zone == zoneHold
	if r.Hold {
		r.Severity = SeverityWarning
	}
	return r
}

// hung is the finding of a check that gave no answer.
func (s spec) hung(after time.Duration, why string) finding {
	mend := "look for a dying disk or a dead network mount with 'dmesg | tail' and run 'piccolo check' again"
	if s.hangRaises {
		mend = podmanHangs
	}
	f := fail(mend, "no answer after %s: %s", after.Round(time.Millisecond), why)
	switch {
	case len(s.reasons) == 0:
		return f
	case s.hangRaises:
		return f.raising(s.reasons[0], zoneOver)
	}
	return f.raising("", zoneHold)
}

// coveredBy returns the reasons that the named check may raise.
func coveredBy(check string) topology.Reasons {
	for _, s := range table() {
		if s.name == check {
			return s.reasons
		}
	}
	return nil
}

const (
	quick = 2 * time.Second // reads a few files of the kernel
	slow  = 4 * time.Second // asks a disk, a daemon or another board
)

// table returns all checks in the order of the report. It is the only place
// that says which gate runs what, and how bad it can get there.
func table() []spec {
	const e, w = SeverityError, SeverityWarning
	fixed := func(s string) func(Thresholds) string { return func(Thresholds) string { return s } }
	disk := topology.Reasons{topology.ReasonDiskPressure, topology.ReasonReadinessFailed}
	return []spec{
		{name: "architecture", join: e, start: w, timeout: quick, run: (*Checker).checkArchitecture, limits: fixed("binary, kernel and userland of one kind; page size 4 to 64 KiB"),
			asks: "Does the binary suit the processor, the page size and the userland?", remedy: "install the tarball for this board"},
		{name: "memory_size", join: e, start: w, timeout: quick, run: (*Checker).checkMemorySize, limits: memorySizeLimits,
			asks: "Has the board the 512 MB it needs?", remedy: "a smaller `gpu_mem` in `config.txt`, or a larger board"},
		{name: "memory_available", join: e, start: w, running: e, reasons: topology.Reasons{topology.ReasonMemoryPressure}, timeout: quick, run: (*Checker).checkMemoryAvailable, limits: memoryLimits,
			asks: "Is memory left for the agent and Podman?", remedy: "stop what isn't needed"},
		{name: "cpu_load", join: w, start: w, running: e, reasons: topology.Reasons{topology.ReasonCPUPressure}, timeout: quick, run: (*Checker).checkLoad, limits: loadLimits,
			asks: "Is the processor, or what waits for the disk, overloaded?", remedy: "find it with `top`; move work to another node"},
		{name: "data_directory", join: e, start: w, timeout: quick, run: (*Checker).checkDataDir, limits: fixed("a directory, mode 0700, owned by the user who runs piccolo"),
			asks: "Is the data directory there, private and ours?", remedy: "`piccolo check --fix`"},
		{name: "data_disk", join: e, start: w, running: e, reasons: disk, timeout: quick, run: (*Checker).checkDataDisk, limits: dataDiskLimits,
			asks: "Has the data directory's file system space and inodes, and can it be written?", remedy: "free space; check the card"},
		{name: "podman_disk", join: e, start: w, running: e, reasons: disk, timeout: quick, run: (*Checker).checkPodmanDisk, limits: podmanDiskLimits,
			asks: "The same for Podman's storage", remedy: "`podman system prune`"},
		{name: "fsync_latency", join: w, start: w, timeout: slow, run: (*Checker).checkFsync, limits: fsyncLimits,
			asks: "How long does a small safe write take?", remedy: "a better card (A2) or an SSD"},
		{name: "podman", join: e, start: w, running: e, reasons: topology.Reasons{topology.ReasonPodmanDown}, hangRaises: true, timeout: slow, run: (*Checker).checkPodman, limits: fixed(fmt.Sprintf("Podman ≥ %d.0, its socket answers", minPodman)),
			asks: "Is Podman there, new enough and answering?", remedy: "`apt-get install -y podman`; `systemctl enable --now podman.socket`"},
		{name: "memory_cgroup", join: e, start: w, timeout: quick, run: (*Checker).checkMemoryCgroup, limits: fixed("the memory controller is on (cgroup v1 or v2)"),
			asks: "Can the kernel limit a container's memory?", remedy: "`" + cgroupOptions + "` on the one line of `cmdline.txt`, then reboot; `piccolo check --fix` does it"},
		{name: "kernel_overlay", join: e, start: w, timeout: quick, run: (*Checker).checkOverlay, limits: fixed("overlay in `/proc/filesystems`, or loadable"),
			asks: "Does the kernel have the overlay file system?", remedy: "`modprobe overlay`"},
		{name: "kernel_firewall", join: e, start: w, timeout: quick, run: (*Checker).checkFirewall, limits: fixed("nf_tables or ip_tables in the kernel, `nft` or `iptables` installed"),
			asks: "Can Podman set up container networks?", remedy: "`apt-get install -y nftables iptables`"},
		{name: "clock", join: e, start: w, running: w, timeout: slow, run: (*Checker).checkClock, limits: clockLimits,
			asks: "Is the clock plausible?", remedy: "`timedatectl set-time`, then a time service"},
		{name: "time_service", join: w, start: w, timeout: quick, run: (*Checker).checkTimeService, limits: fixed("timesyncd, chrony, ntpsec or openntpd runs, or the kernel's clock is synchronised"),
			asks: "Does something keep the clock right?", remedy: "`systemctl enable --now systemd-timesyncd`"},
		{name: "hostname", join: e, start: w, timeout: slow, run: (*Checker).checkHostname, limits: fixed(fmt.Sprintf("RFC 1123, at most %d characters, not localhost, not another node's", topology.MaxNameLength)),
			asks: "Is the name valid and the only one of its kind?", remedy: "`hostnamectl set-hostname NAME`, or `--name`"},
		{name: "ports", join: e, start: w, timeout: quick, run: (*Checker).checkPorts, limits: fixed("each port can be bound"),
			asks: "Are the node's ports free?", remedy: "stop what holds it, or choose another port"},
		{name: "master", join: e, start: w, timeout: slow, run: (*Checker).checkMaster, limits: fixed(fmt.Sprintf("a TCP connection within %s", dialTimeout)),
			asks: "Does the master's API port (7443) answer?", remedy: "check address, network and firewall"},
		{name: "gossip", join: w, start: w, timeout: slow, run: (*Checker).checkGossip, limits: fixed(fmt.Sprintf("an answer by UDP within %s", dialTimeout)),
			asks: "Does gossip (7946) pass by UDP?", remedy: "open 7946 tcp and udp both ways"},
		{name: "temperature", join: w, start: w, running: w, timeout: quick, run: (*Checker).checkTemperature, limits: temperatureLimits,
			asks: "Is the board too hot?", remedy: "heat sink, fan, air"},
		{name: "under_voltage", join: w, start: w, running: w, timeout: quick, run: (*Checker).checkVoltage, limits: fixed("no alarm now or since boot"),
			asks: "Does the power supply hold its voltage?", remedy: "the board's own power supply and a short cable"},
	}
}
