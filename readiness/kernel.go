package readiness

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"path/filepath"
	"slices"
	"strings"
)

// feature is how a kernel has something.
type feature int

const (
	featureUnknown feature = iota
	featureAbsent
	featureModule // as a module that isn't loaded
	featureOn
)

func (c *Checker) checkOverlay(context.Context, Gate) finding {
	if hasFilesystem(c.read("/proc/filesystems"), "overlay") {
		return ok("overlay is there")
	}
	if c.module("overlay", "CONFIG_OVERLAY_FS") == featureModule {
		return warn("modprobe overlay", "overlay is a module that is not loaded").with(FixLoadOverlay)
	}
	return fail("boot a kernel with CONFIG_OVERLAY_FS, such as your distribution's; without it every container is a full copy of its image",
		"the kernel has no overlay file system")
}

// hasFilesystem reads the form of /proc/filesystems: "nodev\toverlay".
func hasFilesystem(text, name string) bool {
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) > 0 && f[len(f)-1] == name {
			return true
		}
	}
	return false
}

func (c *Checker) checkFirewall(context.Context, Gate) finding {
	nft, iptables := c.module("nf_tables", "CONFIG_NF_TABLES"), c.module("ip_tables", "CONFIG_IP_NF_IPTABLES")
	var tools []string
	for _, tool := range []string{"nft", "iptables"} {
		if c.program(tool) {
			tools = append(tools, tool)
		}
	}
	switch {
	case nft == featureAbsent && iptables == featureAbsent:
		return fail("boot a kernel with CONFIG_NF_TABLES, such as your distribution's", "the kernel has neither nf_tables nor ip_tables; only containers with the host's network would work")
	case len(tools) == 0:
		return fail("apt-get install -y nftables iptables", "neither nft nor iptables is installed; Podman can't set up container networks")
	case nft <= featureAbsent && iptables <= featureAbsent:
		return ok("%s installed; the kernel does not tell what it has", strings.Join(tools, " and "))
	case nft > featureAbsent:
		return ok("nf_tables in the kernel, %s installed", strings.Join(tools, " and "))
	}
	return ok("ip_tables in the kernel, %s installed", strings.Join(tools, " and "))
}

// module looks for a feature among the loaded modules, in the lists of what
// is built in and what can be loaded, and in the kernel's configuration.
func (c *Checker) module(name, config string) feature {
	for line := range strings.Lines(c.read("/proc/modules")) {
		if f := strings.Fields(line); len(f) > 0 && f[0] == name {
			return featureOn
		}
	}
	release := strings.TrimSpace(c.read("/proc/sys/kernel/osrelease"))
	known := false
	for _, dir := range []string{"/lib/modules", "/usr/lib/modules"} {
		builtin := c.read(filepath.Join(dir, release, "modules.builtin"))
		if listsModule(builtin, name) {
			return featureOn
		}
		loadable := c.read(filepath.Join(dir, release, "modules.dep"))
		if listsModule(loadable, name) {
			return featureModule
		}
		known = known || (builtin != "" && loadable != "")
	}
	for _, text := range []string{gunzip(c.read("/proc/config.gz")), c.read("/boot/config-" + release)} {
		if text == "" {
			continue
		}
		if slices.Contains(strings.Split(text, "\n"), config+"=y") {
			return featureOn
		}
		known = true
	}
	if known {
		return featureAbsent
	}
	return featureUnknown
}

// listsModule reads modules.dep ("path/name.ko.xz: needs…") and
// modules.builtin ("path/name.ko").
func listsModule(text, name string) bool {
	for line := range strings.Lines(text) {
		file, _, _ := strings.Cut(strings.TrimSpace(line), ":")
		base, _, found := strings.Cut(filepath.Base(file), ".ko")
		if found && strings.ReplaceAll(base, "-", "_") == name {
			return true
		}
	}
	return false
}

func gunzip(text string) string {
	z, err := gzip.NewReader(bytes.NewReader([]byte(text)))
	if err != nil {
		return ""
	}
	out, err := io.ReadAll(io.LimitReader(z, maxFile))
	if err != nil {
		return ""
	}
	return string(out)
}
