package unit

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeManager writes down what is asked of systemd.
type fakeManager struct {
	did   []string
	state string
	fail  string
}

func (f *fakeManager) do(what string) error {
	f.did = append(f.did, what)
	if what == f.fail {
		return errors.New("no")
	}
	return nil
}

func (f *fakeManager) Reload(context.Context) error { return f.do("reload") }
func (f *fakeManager) Enable(_ context.Context, unit string, on bool) error {
	if on {
		return f.do("enable " + unit)
	}
	return f.do("disable " + unit)
}
func (f *fakeManager) Start(_ context.Context, unit string) error { return f.do("start " + unit) }
func (f *fakeManager) Stop(_ context.Context, unit string) error  { return f.do("stop " + unit) }
func (f *fakeManager) State(context.Context, string) (string, error) {
	return f.state, f.do("state")
}

func newUnit(t *testing.T, o Options) (*Unit, *fakeManager, string) {
	t.Helper()
	f := &fakeManager{state: "inactive"}
	o.Manager, o.Root = f, t.TempDir()
	u, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return u, f, filepath.Join(o.Root, "etc/systemd/system/piccolo.service")
}

func TestInstallTwiceChangesNothing(t *testing.T) {
	u, f, path := newUnit(t, Options{})
	if err := u.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
		t.Errorf("the file was written again: %v", err)
	}
	if _, err := os.Stat(path + ".d"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is a drop-in: %v", err)
	}
	if want := []string{"enable piccolo.service", "reload", "enable piccolo.service", "reload"}; !slices.Equal(f.did, want) {
		t.Errorf("%q", f.did)
	}
	if text, err := os.ReadFile(path); err != nil || !bytes.Equal(text, service) {
		t.Errorf("%v: %s", err, text)
	}
}

func TestInstallLeavesAPackagesFile(t *testing.T) {
	u, _, path := newUnit(t, Options{})
	packaged := filepath.Join(u.opts.Root, "usr/lib/systemd/system", Name)
	if err := os.MkdirAll(filepath.Dir(packaged), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(packaged, []byte("[Unit]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := u.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it was hidden by a second file: %v", err)
	}
}

func TestDropIn(t *testing.T) {
	for _, tc := range []struct {
		name string
		o    Options
		want []string
	}{
		{"defaults", Options{Program: DefaultProgram, Config: defaultConfig, DataDir: defaultDataDir, RunDir: defaultRunDir, PodmanSocket: "/run/podman/podman.sock"}, nil},
		{"nothing", Options{}, nil},
		{"program", Options{Program: "/opt/my piccolo/bin"}, []string{"ExecStart=", `ExecStart="/opt/my piccolo/bin" run`}},
		{"dollar and percent", Options{Program: "/opt/$x%h"}, []string{"ExecStart=", `ExecStart="/opt/$$x%%h" run`}},
		{"config", Options{Config: "/srv/p.yaml"}, []string{`Environment="PICCOLO_CONFIG=/srv/p.yaml"`}},
		{"data elsewhere", Options{DataDir: "/srv/p1"}, []string{`ReadWritePaths="/srv/p1"`}},
		{"data that systemd makes", Options{DataDir: "/var/lib/p1"}, []string{`StateDirectory="p1"`}},
		{"run dir that systemd makes", Options{RunDir: "/run/p1"}, []string{`RuntimeDirectory="p1"`}},
		{"rootless Podman", Options{PodmanSocket: "/run/user/1000/podman/podman.sock"}, []string{"ProtectHome=no"}},
		{"home", Options{DataDir: "/home/pi/data"}, []string{`ReadWritePaths="/home/pi/data"`, "ProtectHome=no"}},
		{"not home", Options{DataDir: "/homely"}, []string{`ReadWritePaths="/homely"`}},
		{"tmp", Options{DataDir: "/tmp/d"}, []string{`ReadWritePaths="/tmp/d"`, "PrivateTmp=no"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			want := ""
			if tc.want != nil {
				want = "# Written by piccolo init or join.\n[Service]\n" + strings.Join(tc.want, "\n") + "\n"
			}
			if got := tc.o.DropIn(); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
}

func TestDropInComesAndGoes(t *testing.T) {
	u, _, path := newUnit(t, Options{DataDir: "/srv/p1"})
	if err := u.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(u.opts.Root, "srv/p1")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the data directory: %v, %v", info, err)
	}
	dropIn := filepath.Join(path+".d", "machine.conf")
	if _, err := os.Stat(dropIn); err != nil {
		t.Fatal(err)
	}
	u.opts.DataDir = ""
	if err := u.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dropIn); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an old drop-in stays: %v", err)
	}
}

// A path, whatever is in it, never becomes a directive of its own.
func TestDropInStaysOnItsLines(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		path := "/" + rapid.String().Draw(t, "path")
		text := Options{Program: path, Config: path, DataDir: path, RunDir: path}.DropIn()
		for _, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n")[2:] {
			key, value, ok := strings.Cut(line, "=")
			if !ok || !slices.Contains([]string{"ExecStart", "Environment", "ReadWritePaths", "StateDirectory", "RuntimeDirectory", "ProtectHome", "PrivateTmp"}, key) {
				t.Fatalf("line %q", line)
			}
			if strings.HasPrefix(value, `"`) && !strings.HasSuffix(strings.TrimSuffix(value, " run"), `"`) {
				t.Fatalf("line %q ends in the middle of a word", line)
			}
		}
	})
}

func TestDisable(t *testing.T) {
	u, f, _ := newUnit(t, Options{})
	if err := u.Disable(t.Context()); err != nil || len(f.did) > 0 {
		t.Fatalf("never installed: %v, %q", err, f.did)
	}
	if err := u.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.did = nil
	if err := u.Disable(t.Context()); err != nil || !slices.Equal(f.did, []string{"stop piccolo.service", "disable piccolo.service", "reload"}) {
		t.Errorf("%v, %q", err, f.did)
	}
}

func TestErrorsSayWhatWasDone(t *testing.T) {
	u, f, _ := newUnit(t, Options{})
	f.fail = "start piccolo.service"
	if err := u.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "start piccolo.service: no (look with: journalctl") {
		t.Error(err)
	}
	f.fail = "enable piccolo.service"
	if err := u.Install(t.Context()); err == nil || !strings.Contains(err.Error(), "enable piccolo.service: no") {
		t.Error(err)
	}
	if _, err := New(Options{DataDir: "here"}); err == nil || !strings.Contains(err.Error(), `DataDir: "here" is not an absolute path`) {
		t.Error(err)
	}
	for state, want := range map[string]bool{"active": true, "activating": true, "failed": false, "inactive": false} {
		f.state = state
		if got, err := u.Running(t.Context()); err != nil || got != want {
			t.Errorf("%s: %v, %v", state, got, err)
		}
	}
}
