package readiness

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// checkMemoryCgroup looks for the memory controller where containers would
// find it. /proc/cgroups isn't enough: since Linux 6.12 it may leave out the
// controllers of v2, so it only explains what is missing.
func (c *Checker) checkMemoryCgroup(context.Context, Gate) finding {
	version, mounted := c.memoryController()
	if version != "" {
		return ok("memory controller on (cgroup %s)", version)
	}
	if !mounted {
		return fail("boot with systemd, or mount the cgroup file systems", "no cgroup file system is mounted")
	}
	known, enabled := parseCgroups(c.read("/proc/cgroups"))
	cmdline := c.read("/proc/cmdline")
	if known && enabled && !memoryDisabled(cmdline) {
		return fail("let systemd mount it: remove systemd.legacy_systemd_cgroup_controller and similar options from the kernel's command line, then reboot",
			"the kernel has the memory cgroup, but it is neither mounted (v1) nor in cgroup.controllers (v2)")
	}
	if c.raspberry() == "" {
		return fail("remove cgroup_disable=memory from the kernel's command line (GRUB: GRUB_CMDLINE_LINUX in /etc/default/grub, then update-grub), add "+cgroupOptions+" if it was not there, and reboot",
			"the memory cgroup is switched off")
	}
	return c.mendRaspberry()
}

// mendRaspberry tells the exact edit for a Raspberry Pi, whose firmware puts
// cgroup_disable=memory in front of the command line.
func (c *Checker) mendRaspberry() finding {
	file := c.bootFile("cmdline.txt")
	f := fail(fmt.Sprintf("add '%s' to the end of the one line in %s, then reboot", cgroupOptions, file),
		"the memory cgroup is switched off (Raspberry Pi's default)")
	f.reboot = true
	edited, err := EnableMemoryCgroup(c.read(file))
	switch {
	case err != nil:
		f.mend += fmt.Sprintf(" (by hand: %v)", err)
	case edited == c.read(file):
		f.mend = "reboot: " + file + " has the options already. If that is done, the kernel was booted from another partition"
	default:
		f.fix = FixMemoryCgroup
	}
	return f
}

// bootFile returns where the Raspberry Pi's firmware reads the file:
// /boot/firmware since Debian 12, /boot before. Debian 12 leaves a file of the
// same name in /boot that only says that it has moved.
func (c *Checker) bootFile(name string) string {
	if path := filepath.Join("/boot/firmware", name); c.exists(path) || !c.exists(filepath.Join("/boot", name)) {
		return path
	}
	return filepath.Join("/boot", name)
}

// memoryController returns "v1" or "v2" if a mounted hierarchy has it, and
// whether there is any hierarchy.
func (c *Checker) memoryController() (version string, mounted bool) {
	for _, m := range parseCgroupMounts(c.read("/proc/self/mounts")) {
		mounted = true
		if !m.v2 && slices.Contains(m.options, "memory") {
			return "v1", true
		}
		if m.v2 && slices.Contains(strings.Fields(c.read(filepath.Join(m.point, "cgroup.controllers"))), "memory") {
			return "v2", true
		}
	}
	return "", mounted
}

// cgroupMount is one mounted hierarchy.
type cgroupMount struct {
	point   string
	v2      bool
	options []string
}

// parseCgroupMounts reads the form of /proc/self/mounts (fstab(5)).
func parseCgroupMounts(text string) []cgroupMount {
	var out []cgroupMount
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 4 || (f[2] != "cgroup" && f[2] != "cgroup2") {
			continue
		}
		out = append(out, cgroupMount{point: f[1], v2: f[2] == "cgroup2", options: strings.Split(f[3], ",")})
	}
	return out
}

// parseCgroups reads the memory line of /proc/cgroups: name, hierarchy,
// number of groups, enabled.
func parseCgroups(text string) (known, enabled bool) {
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) == 4 && f[0] == "memory" {
			return true, f[3] == "1"
		}
	}
	return false, false
}
