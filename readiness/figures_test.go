package readiness

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"piccolo.io/piccolo/topology"
)

// shows replaces a file of the board; "" removes it.
func shows(files map[string]string) func(*Options, *probe) {
	return func(o *Options, _ *probe) {
		for name, text := range files {
			path := filepath.Join(o.Root, name)
			os.Remove(path)
			if text != "" {
				os.MkdirAll(filepath.Dir(path), 0o755)
				os.WriteFile(path, []byte(text), 0o644)
			}
		}
	}
}

func TestFigures(t *testing.T) {
	const e, w, fine = SeverityError, SeverityWarning, SeverityOK
	mem := func(total, available string) func(*Options, *probe) {
		return shows(map[string]string{"proc/meminfo": "MemTotal: " + total + " kB\nMemAvailable: " + available + " kB\n"})
	}
	const v1 = "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n"
	off := "memory 0 1 0\n"
	for _, tt := range []one{
		{"256 MB", "memory_size", mem("243000", "150000"), e, "237 MiB", "gpu_mem=16 in /boot/firmware/config.txt"},
		{"400 MB", "memory_size", mem("400000", "150000"), fine, "390 MiB", ""},
		{"unknown", "memory_size", shows(map[string]string{"proc/meminfo": ""}), w, "not tell", "/proc"},
		{"unknown", "memory_available", shows(map[string]string{"proc/meminfo": ""}), w, "not tell", "/proc"},
		{"little", "memory_available", mem("426068", "40000"), e, "at least 64 MiB", "ps"},
		{"tight", "memory_available", mem("426068", "90000"), w, "87 MiB", "ps"},
		{"busy", "cpu_load", shows(map[string]string{"proc/loadavg": "80.0 80.0 80.0 1/1 1"}), w, "20.00 per core", "top"},
		{"v1 without it", "memory_cgroup", shows(map[string]string{"proc/self/mounts": v1, "proc/cgroups": off, "boot/firmware/cmdline.txt": "rootwait"}), e, "switched off", "/boot/firmware/cmdline.txt"},
		{"before Debian 12", "memory_cgroup", shows(map[string]string{"proc/self/mounts": v1, "proc/cgroups": off, "boot/firmware/cmdline.txt": "", "boot/cmdline.txt": "rootwait"}), e, "switched off", "one line in /boot/cmdline.txt"},
		{"needs the reboot", "memory_cgroup", shows(map[string]string{"proc/self/mounts": v1, "proc/cgroups": off}), e, "switched off", "reboot: /boot/firmware/cmdline.txt has the options already"},
		{"another board", "memory_cgroup", shows(map[string]string{"proc/self/mounts": v1, "proc/cgroups": off, "proc/device-tree/model": ""}), e, "switched off", "GRUB"},
		{"nothing mounted", "memory_cgroup", shows(map[string]string{"proc/self/mounts": "/dev/x / ext4 rw 0 0\n"}), e, "no cgroup file system", "systemd"},
		{"unknown", "kernel_overlay", shows(map[string]string{"proc/filesystems": "nodev\ttmpfs\n"}), e, "no overlay", "CONFIG_OVERLAY_FS"},
		{"built without", "kernel_firewall", shows(map[string]string{"proc/modules": "", "boot/config-6.12.47+rpt-rpi-v8": "# CONFIG_NF_TABLES is not set\n"}), e, "neither nf_tables", "CONFIG_NF_TABLES"},
		{"built in", "kernel_firewall", shows(map[string]string{"proc/modules": "", "boot/config-6.12.47+rpt-rpi-v8": "CONFIG_NF_TABLES=y\n"}), fine, "nf_tables in the kernel", ""},
		{"old", "kernel_firewall", shows(map[string]string{"proc/modules": "ip_tables 1 0 - Live 0x0\n"}), fine, "ip_tables in the kernel", ""},
		{"silent kernel", "kernel_firewall", shows(map[string]string{"proc/modules": ""}), fine, "does not tell", ""},
		{"throttled", "temperature", shows(map[string]string{throttledFile: "8\n"}), w, "throttles", "fan"},
		{"broken sensor", "temperature", shows(map[string]string{"sys/class/thermal/thermal_zone0/temp": "65535000"}), fine, "no temperature", ""},
		{"now", "under_voltage", shows(map[string]string{throttledFile: "50005\n"}), w, "now", "power supply"},
	} {
		tt.run(t)
	}
}

// TestRunningFigures: what raises and what holds a reason while the node runs.
func TestRunningFigures(t *testing.T) {
	load := func(five string) func(*Options, *probe) {
		return shows(map[string]string{"proc/loadavg": "0.1 " + five + " 1.0 1/1 1"})
	}
	mem := func(available string) func(*Options, *probe) {
		return shows(map[string]string{"proc/meminfo": "MemTotal: 426068 kB\nMemAvailable: " + available + " kB\n"})
	}
	for _, tt := range []struct {
		check  string
		change func(*Options, *probe)
		want   Severity
		reason topology.Reason
		hold   bool
	}{
		{"cpu_load", load("128.0"), SeverityError, topology.ReasonCPUPressure, false}, // 4 cores
		{"cpu_load", load("127.9"), SeverityWarning, topology.ReasonCPUPressure, true},
		{"cpu_load", load("64.0"), SeverityOK, "", false},
		{"memory_available", mem("32768"), SeverityError, topology.ReasonMemoryPressure, false},
		{"memory_available", mem("40000"), SeverityWarning, topology.ReasonMemoryPressure, true},
		{"memory_available", mem("60000"), SeverityWarning, "", false},
		{"memory_available", shows(map[string]string{"proc/meminfo": ""}), SeverityWarning, "", true},
		{"podman", podmanSays("3.0.1", nil), SeverityError, topology.ReasonPodmanDown, false},
	} {
		res := find(t, boardChecker(t, "pi-zero-2", tt.change).Run(t.Context(), GateRunning), tt.check)
		if res.Severity != tt.want || res.Condition != tt.reason || res.Hold != tt.hold {
			t.Errorf("%+v\nwant %s %q %v", res, tt.want, tt.reason, tt.hold)
		}
	}
}

// TestMachineSystem runs what the recorder of the other tests leaves out.
func TestMachineSystem(t *testing.T) {
	if out, err := (machineSystem{}).Run(t.Context(), "sh", "-c", "echo out; echo err >&2; exit 3"); err == nil || !strings.Contains(out, "out\nerr") {
		t.Errorf("%q %v", out, err)
	}
}
