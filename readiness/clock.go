package readiness

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func clockLimits(t Thresholds) string {
	return fmt.Sprintf("not more than %s before the build or %d years after it; not more than %s off the master's", shortTime(t.ClockSkew), int(t.ClockHorizon.Hours()/24/365), shortTime(t.ClockSkew))
}

// shortTime writes "5m" for 5 minutes, where Duration.String adds "0s".
func shortTime(d time.Duration) string {
	if d%time.Minute == 0 && d < time.Hour {
		return fmt.Sprintf("%d min", d/time.Minute)
	}
	return d.String()
}

// checkClock never raises a condition: a node whose clock is off still runs
// its containers, and nothing in the cluster is ordered by wall clocks.
func (c *Checker) checkClock(ctx context.Context, _ Gate) finding {
	t := c.opts.Thresholds
	const mend = "set it: timedatectl set-time 'YYYY-MM-DD HH:MM:SS' (UTC: 'timedatectl set-timezone UTC' first), then 'timedatectl set-ntp true' keeps it"
	now, floor := c.probe.now(), c.opts.BuildTime
	said := now.UTC().Format("2006-01-02 15:04:05 UTC")
	if now.Before(floor.Add(-t.ClockSkew)) {
		return fail(mend, "it says %s, but this program was built on %s", said, floor.UTC().Format("2006-01-02"))
	}
	if now.After(floor.Add(t.ClockHorizon)) {
		return fail(mend, "it says %s, %d years after this program was built", said, int(now.Sub(floor).Hours()/24/365))
	}
	if c.opts.MasterTime == nil {
		return ok("%s", said)
	}
	masters, err := c.opts.MasterTime(ctx)
	if err != nil {
		return warn("see the check 'master'", "%s; the master's time is not known: %v", said, err)
	}
	// Asked anew: the question to the master may have taken a while.
	skew := c.probe.now().Sub(masters)
	if skew.Abs() > t.ClockSkew {
		return fail(mend+"; if the master is the wrong one, mend it there", "it says %s, %s %s the master's", said, skew.Abs().Round(time.Second), direction(skew))
	}
	return ok("%s, within %s of the master's", said, shortTime(t.ClockSkew))
}

func direction(skew time.Duration) string {
	if skew < 0 {
		return "behind"
	}
	return "ahead of"
}

// timeServices are process names as /proc/PID/comm shows them, at most 15
// bytes: systemd-timesyncd, chrony, ntpsec and ntp, openntpd.
var timeServices = []string{"systemd-timesyn", "chronyd", "ntpd"}

func (c *Checker) checkTimeService(ctx context.Context, _ Gate) finding {
	if name := c.running(ctx, timeServices); name != "" {
		return ok("%s runs", name)
	}
	if synced, err := c.probe.clockSynced(); err == nil && synced {
		return ok("no service runs here, but the kernel's clock is synchronised")
	}
	for _, dir := range []string{"/usr/lib/systemd/system", "/lib/systemd/system"} {
		if c.exists(filepath.Join(dir, "systemd-timesyncd.service")) {
			return c.withSystemd(warn("systemctl enable --now systemd-timesyncd", "systemd-timesyncd is installed but does not run"), FixTimeService)
		}
	}
	return warn("apt-get install -y systemd-timesyncd", "no time service runs: a board without a clock battery loses its time with its power")
}

// running returns the first of names that a process has, else "".
func (c *Checker) running(ctx context.Context, names []string) string {
	found, err := filepath.Glob(c.path("/proc/[0-9]*/comm"))
	if err != nil {
		return ""
	}
	for _, path := range found {
		if ctx.Err() != nil {
			return ""
		}
		relative, err := filepath.Rel(c.opts.Root, path)
		if err != nil {
			return ""
		}
		if comm := strings.TrimSpace(c.read(relative)); slices.Contains(names, comm) {
			return comm
		}
	}
	return ""
}
