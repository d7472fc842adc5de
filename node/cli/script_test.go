package cli

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "write what the commands print into testdata/cli")

// TestScripts runs the real command line, as a process of its own, against a
// fake daemon on a socket.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("..", "..", "testdata", "cli"),
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			// A socket's path may have 107 bytes, fewer than a script's directory.
			dir, err := os.MkdirTemp("", "pcl")
			if err != nil {
				return err
			}
			e.Defer(func() { os.RemoveAll(dir) })
			for name, f := range map[string]*fakeServer{"live": newFakeServer(), "stale": newFakeServer()} {
				f.stale = name == "stale"
				stop, err := f.serve(filepath.Join(dir, name, "piccolo.sock"))
				if err != nil {
					return err
				}
				e.Defer(stop)
			}
			e.Setenv("LIVE", filepath.Join(dir, "live"))
			e.Setenv("STALE", filepath.Join(dir, "stale"))
			e.Setenv("PICCOLO_RUN_DIR", filepath.Join(dir, "live"))
			e.Setenv("PICCOLO_DATA_DIR", filepath.Join(e.WorkDir, "data"))
			e.Setenv("PICCOLO_CONFIG", filepath.Join(e.WorkDir, "piccolo.yaml"))
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("XDG_CONFIG_HOME", "")
			e.Setenv("TZ", "UTC")
			return os.WriteFile(filepath.Join(e.WorkDir, "piccolo.yaml"), []byte("# nothing\n"), 0o600)
		},
	})
}
