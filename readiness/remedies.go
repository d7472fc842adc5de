package readiness

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
)

// System is all that Fix does to the machine, so that a test can look on.
type System interface {
	// Run runs a program and returns what it printed.
	Run(ctx context.Context, name string, args ...string) (output string, err error)
	// WriteFile replaces a file in one step, safe against a power cut. perm
	// counts for a new file only.
	WriteFile(path string, data []byte, perm fs.FileMode) error
	// MkdirAll makes a directory with mode perm, and its parents with 0755.
	MkdirAll(path string, perm fs.FileMode) error
	// Chmod changes the mode of path.
	Chmod(path string, perm fs.FileMode) error
}

// machineSystem is the machine itself.
type machineSystem struct{}

func (machineSystem) Run(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (machineSystem) WriteFile(path string, data []byte, perm fs.FileMode) error {
	dir := filepath.Dir(path)
	// The new file must lie beside the old one: /boot/firmware is a file
	// system of its own.
	if err := renameio.WriteFile(path, data, perm, renameio.WithTempDir(dir)); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func (machineSystem) MkdirAll(path string, perm fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.Mkdir(path, perm)
}

func (machineSystem) Chmod(path string, perm fs.FileMode) error { return os.Chmod(path, perm) }

// command returns a remedy that is one idempotent command.
func (c *Checker) command(name string, args ...string) func(context.Context) (string, bool, error) {
	line := strings.Join(append([]string{name}, args...), " ")
	return func(ctx context.Context) (string, bool, error) {
		if out, err := c.opts.System.Run(ctx, name, args...); err != nil {
			return "", false, fmt.Errorf("run '%s': %w: %s", line, err, out)
		}
		return line, true, nil
	}
}

// backupSuffix is the name of what was there before the first edit.
const backupSuffix = ".before-piccolo"

func (c *Checker) fixMemoryCgroup(context.Context) (string, bool, error) {
	file := c.bootFile("cmdline.txt")
	path := c.path(file)
	old, err := os.ReadFile(path)
	if err != nil {
		return "", false, fmt.Errorf("edit the kernel's command line: %w", err)
	}
	edited, err := EnableMemoryCgroup(string(old))
	if err != nil {
		return "", false, fmt.Errorf("edit %s: %w", file, err)
	}
	if edited == string(old) {
		return file + " has the options already; reboot", false, nil
	}
	backup := path + backupSuffix
	if _, err := os.Stat(backup); errors.Is(err, fs.ErrNotExist) {
		if err := c.opts.System.WriteFile(backup, old, 0o644); err != nil {
			return "", false, fmt.Errorf("keep a copy of %s: %w", file, err)
		}
	}
	if err := c.opts.System.WriteFile(path, []byte(edited), 0o644); err != nil {
		return "", false, fmt.Errorf("edit %s: %w", file, err)
	}
	return fmt.Sprintf("%s has '%s' now, the old file is %s%s; reboot", file, cgroupOptions, file, backupSuffix), true, nil
}

func (c *Checker) fixCreateDataDir(context.Context) (string, bool, error) {
	err := c.opts.System.MkdirAll(c.opts.DataDir, 0o700)
	switch {
	case errors.Is(err, fs.ErrExist):
		return c.opts.DataDir + " is there already", false, nil
	case err != nil:
		return "", false, fmt.Errorf("make the data directory: %w", err)
	}
	return "made " + c.opts.DataDir + ", mode 0700", true, nil
}

func (c *Checker) fixRestrictDataDir(context.Context) (string, bool, error) {
	info, err := os.Stat(c.opts.DataDir)
	if err != nil {
		return "", false, fmt.Errorf("restrict the data directory: %w", err)
	}
	if !info.IsDir() {
		return "", false, fmt.Errorf("restrict the data directory: %s is not a directory", c.opts.DataDir)
	}
	if info.Mode().Perm() == 0o700 {
		return c.opts.DataDir + " has mode 0700 already", false, nil
	}
	if err := c.opts.System.Chmod(c.opts.DataDir, 0o700); err != nil {
		return "", false, fmt.Errorf("restrict the data directory: %w", err)
	}
	return "gave " + c.opts.DataDir + " mode 0700", true, nil
}

// modulesFile makes systemd-modules-load(8) load overlay at boot.
const modulesFile = "/etc/modules-load.d/piccolo.conf"

func (c *Checker) fixLoadOverlay(ctx context.Context) (string, bool, error) {
	detail, _, err := c.command("modprobe", "overlay")(ctx)
	if err != nil {
		return "", false, err
	}
	if c.read(modulesFile) == "overlay\n" || !c.exists(filepath.Dir(modulesFile)) {
		return detail, true, nil
	}
	if err := c.opts.System.WriteFile(c.path(modulesFile), []byte("overlay\n"), 0o644); err != nil {
		return "", false, fmt.Errorf("load overlay at boot: %w", err)
	}
	return detail + "; " + modulesFile + " does it at every boot", true, nil
}
