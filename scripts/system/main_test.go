//go:build lab

package system

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"go.uber.org/goleak"
)

// TestMain builds the binary that the boards get, unless PICCOLO_BIN names
// another. go's own cache knows whether there is anything to do.
func TestMain(m *testing.M) {
	if os.Getenv("PICCOLO_BIN") == "" {
		build := exec.Command("make", "--no-print-directory", "-C", "../..", "build")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build piccolo: %v\n%s", err, out)
			os.Exit(1)
		}
	}
	goleak.VerifyTestMain(m)
}
