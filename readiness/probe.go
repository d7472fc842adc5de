package readiness

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/shirou/gopsutil/v3/common"
	"github.com/shirou/gopsutil/v3/disk"
	"golang.org/x/sys/unix"
)

// probe is what the checks ask of the running kernel and can't read from a
// file below Options.Root. Tests replace single fields of it.
type probe struct {
	now      func() time.Time
	hostname func() (string, error)
	// machine is 'uname -m'.
	machine func() (string, error)
	// clockSynced says whether the kernel's clock is being disciplined.
	clockSynced func() (bool, error)
	usage       func(ctx context.Context, path string) (*disk.UsageStat, error)
	readOnly    func(path string) (bool, error)
	// fsync measures small safe writes in dir.
	fsync func(ctx context.Context, dir string) ([]time.Duration, error)
	// pageSize is the kernel's, in bytes.
	pageSize int
	// goarch and goarm are what this program was built for.
	goarch, goarm string
}

// machineProbe asks the machine itself.
func machineProbe() probe {
	return probe{
		now: time.Now, hostname: os.Hostname, machine: unameMachine, clockSynced: kernelClockSynced,
		usage: disk.UsageWithContext, readOnly: mountedReadOnly, fsync: timeWrites,
		pageSize: os.Getpagesize(), goarch: runtime.GOARCH, goarm: buildSetting("GOARM"),
	}
}

func unameMachine() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", err
	}
	return unix.ByteSliceToString(u.Machine[:]), nil
}

// kernelClockSynced reads the kernel's clock state and changes nothing.
func kernelClockSynced() (bool, error) {
	state, err := unix.Adjtimex(&unix.Timex{})
	return err == nil && state != unix.TIME_ERROR, err
}

func mountedReadOnly(path string) (bool, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return false, err
	}
	return int64(s.Flags)&unix.ST_RDONLY != 0, nil
}

// buildSetting returns a setting of the build, such as GOARM's "6".
func buildSetting(key string) string {
	info, found := debug.ReadBuildInfo()
	if !found {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == key {
			value, _, _ := strings.Cut(s.Value, ",") // "6,softfloat"
			return value
		}
	}
	return ""
}

// maxFile bounds what is read of one file; the largest of them, the list of
// a kernel's modules, has about 1 MiB.
const maxFile = 4 * MiB

// read returns the text of a file below Root, or "" if it can't be read: what
// a kernel doesn't show, it doesn't have.
func (c *Checker) read(name string) string {
	f, err := os.Open(c.path(name))
	if err != nil {
		return ""
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return ""
	}
	return string(data)
}

// exists reports whether name is there, below Root.
func (c *Checker) exists(name string) bool {
	_, err := os.Stat(c.path(name))
	return err == nil
}

// program reports whether a program is installed where root's PATH looks.
func (c *Checker) program(name string) bool {
	for _, dir := range []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"} {
		if c.exists(filepath.Join(dir, name)) {
			return true
		}
	}
	return false
}

// env points gopsutil to Root.
func (c *Checker) env(ctx context.Context) context.Context {
	return context.WithValue(ctx, common.EnvKey, common.EnvMap{
		common.HostProcEnvKey: c.path("/proc"),
		common.HostSysEnvKey:  c.path("/sys"),
	})
}

// raspberry returns the board's model if it is a Raspberry Pi, else "".
func (c *Checker) raspberry() string {
	model := strings.TrimRight(c.read("/proc/device-tree/model"), "\x00\n")
	if !strings.HasPrefix(model, "Raspberry Pi") {
		return ""
	}
	return model
}
