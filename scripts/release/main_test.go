package release

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// result is how a command ended.
type result struct {
	code           int
	stdout, stderr string
}

// command is one to be run in dir with these variables beside the
// environment's.
type command struct {
	dir  string
	env  []string
	args []string
}

// run starts the command and waits for it; it fails the test only when the
// command cannot be run at all.
func (c command) run(t *testing.T) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, c.args[0], c.args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = c.dir, &stdout, &stderr
	cmd.Env = append(cmd.Environ(), c.env...)
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("run %s: %v", strings.Join(c.args, " "), err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// must fails the test unless the command succeeds, and returns what it said.
func (c command) must(t *testing.T) string {
	t.Helper()
	r := c.run(t)
	if r.code != 0 {
		t.Fatalf("%s: exit code %d: %s", strings.Join(c.args, " "), r.code, r.stderr)
	}
	return r.stdout
}

// expect fails the test unless text has the part.
func expect(t *testing.T, what, text, part string) {
	t.Helper()
	if !strings.Contains(text, part) {
		t.Errorf("%s: %q is not in: %s", what, part, text)
	}
}

// projectRoot is two directories above this one, where tests run.
func projectRoot(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return root
}
