package unit

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/coreos/go-systemd/v22/util"
	"github.com/google/renameio/v2"
)

// Name of the service.
const Name = "piccolo.service"

// DefaultProgram is the path that the service file names.
const DefaultProgram = "/usr/local/bin/piccolo"

//go:embed piccolo.service
var service []byte

// Booted reports whether systemd is the machine's init, as sd_booted(3) does.
func Booted() bool { return util.IsRunningSystemd() }

// Manager is the part of systemd that this package needs.
type Manager interface {
	// Reload makes systemd read its unit files again.
	Reload(ctx context.Context) error
	// Enable lets the unit start at boot, or no longer.
	Enable(ctx context.Context, unit string, on bool) error
	// Start and Stop wait until the job is done.
	Start(ctx context.Context, unit string) error
	Stop(ctx context.Context, unit string) error
	// State is the unit's ActiveState: active, activating, inactive, failed …
	State(ctx context.Context, unit string) (string, error)
}

// Options of a Unit.
type Options struct {
	// Program is the absolute path of this binary; DefaultProgram where empty.
	Program string
	// Config, DataDir, RunDir and PodmanSocket are the node's, absolute; an
	// empty one is the default of the service file.
	Config, DataDir, RunDir, PodmanSocket string
	// Root is where /etc, /usr/lib and /lib are looked for; "/" where empty.
	Root string
	// Manager is systemd; its D-Bus socket on this machine where nil.
	Manager Manager
}

func (o Options) validate() error {
	for _, f := range []struct{ name, path string }{
		{"Program", o.Program}, {"Config", o.Config}, {"DataDir", o.DataDir}, {"RunDir", o.RunDir},
		{"PodmanSocket", o.PodmanSocket}, {"Root", o.Root},
	} {
		if f.path != "" && !filepath.IsAbs(f.path) {
			return fmt.Errorf("%s: %q is not an absolute path", f.name, f.path)
		}
	}
	return nil
}

// Unit is piccolo.service on this machine.
type Unit struct{ opts Options }

// New checks the options and touches nothing.
func New(o Options) (*Unit, error) {
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("make unit: %w", err)
	}
	if o.Program == "" {
		o.Program = DefaultProgram
	}
	if o.Root == "" {
		o.Root = "/"
	}
	if o.Manager == nil {
		o.Manager = machineManager{}
	}
	return &Unit{opts: o}, nil
}

// Running reports whether the service runs or is about to.
func (u *Unit) Running(ctx context.Context) (bool, error) {
	state, err := u.opts.Manager.State(ctx, Name)
	if err != nil {
		return false, fmt.Errorf("ask systemd for %s: %w", Name, err)
	}
	return state == "active" || state == "activating" || state == "reloading", nil
}

// Install writes the service file, unless a package brought one, and the
// drop-in where one is needed, and lets the service start at boot. Doing it
// again changes nothing.
func (u *Unit) Install(ctx context.Context) error {
	packaged, err := u.packaged()
	if err != nil {
		return fmt.Errorf("install %s: %w", Name, err)
	}
	if !packaged {
		if err := write(u.path(), service); err != nil {
			return fmt.Errorf("install %s: %w", Name, err)
		}
	}
	if err := u.writeDropIn(); err != nil {
		return fmt.Errorf("install %s: %w", Name, err)
	}
	return u.enable(ctx, true)
}

// Start starts the service and waits until the daemon serves.
func (u *Unit) Start(ctx context.Context) error {
	if err := u.opts.Manager.Start(ctx, Name); err != nil {
		return fmt.Errorf("start %s: %w (look with: journalctl -u piccolo -n 50)", Name, err)
	}
	return nil
}

// Disable stops the service and keeps it from starting at boot. Its files
// stay. Where it was never installed it does nothing.
func (u *Unit) Disable(ctx context.Context) error {
	packaged, err := u.packaged()
	if err != nil {
		return fmt.Errorf("stop %s: %w", Name, err)
	}
	if _, err := os.Stat(u.path()); errors.Is(err, fs.ErrNotExist) && !packaged {
		return nil
	}
	if err := u.opts.Manager.Stop(ctx, Name); err != nil {
		return fmt.Errorf("stop %s: %w", Name, err)
	}
	return u.enable(ctx, false)
}

// enable also makes systemd read the files again, after the last change.
func (u *Unit) enable(ctx context.Context, on bool) error {
	what := "disable"
	if on {
		what = "enable"
	}
	if err := u.opts.Manager.Enable(ctx, Name, on); err != nil {
		return fmt.Errorf("%s %s: %w", what, Name, err)
	}
	if err := u.opts.Manager.Reload(ctx); err != nil {
		return fmt.Errorf("%s %s: reload systemd: %w", what, Name, err)
	}
	return nil
}

func (u *Unit) path() string { return filepath.Join(u.opts.Root, "etc/systemd/system", Name) }

// packaged reports whether the service file is where packages put it.
func (u *Unit) packaged() (bool, error) {
	for _, dir := range []string{"usr/lib/systemd/system", "lib/systemd/system"} {
		_, err := os.Stat(filepath.Join(u.opts.Root, dir, Name))
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	return false, nil
}

// write replaces a file as a whole, unless it says the same already.
func write(path string, text []byte) error {
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, text) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return renameio.WriteFile(path, text, 0o644)
}
