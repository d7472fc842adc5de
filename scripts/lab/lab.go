//go:build lab

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const (
	// Where labs of tests have their state; the script's own default.
	labsDir = "/var/lib/piccolo-lab"
	// The longest lab command is `up` when a Debian must be built first.
	commandTime = 5 * time.Minute
)

// Options say what kind of boards to start. The zero value is boards of this machine's system on a bridge.
type Options struct {
	Base   string // "host" (default), "bookworm" or "trixie"
	Switch string // "bridge" (default), or "tap", which can delay
	DataMB int    // size of the data disk, at least 16; default 2048
}

func (o Options) args() []string {
	var args []string
	if o.Base != "" {
		args = append(args, "--base", o.Base)
	}
	if o.Switch != "" {
		args = append(args, "--switch", o.Switch)
	}
	if o.DataMB != 0 {
		args = append(args, "--data-mb", strconv.Itoa(o.DataMB))
	}
	return args
}

// Lab is a lab of one test. Unless said otherwise a method that fails ends the test.
type Lab struct {
	t      testing.TB
	script string
	dir    string
	boards []*Board
}

// Board is one host of a lab, called board1, board2, and so on.
type Board struct {
	Name string
	lab  *Lab
}

// Error is a command that ended with another exit code than 0.
type Error struct {
	Command string
	Code    int    // exit code; -1 when it was killed
	Stderr  string // what it said
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s: exit code %d: %s", e.Command, e.Code, strings.TrimSpace(e.Stderr))
}

var labs atomic.Int64

// Up starts a lab that ends with the test. The piccolo binary of PICCOLO_BIN, or else bin/piccolo, is on its boards.
func Up(t testing.TB, boards int, o Options) *Lab {
	t.Helper()
	l := New(t)
	l.mustRun(append([]string{"up", strconv.Itoa(boards)}, o.args()...)...)
	for i := range boards {
		l.boards = append(l.boards, &Board{Name: fmt.Sprintf("board%d", i+1), lab: l})
	}
	return l
}

// New names a lab for the test without starting it; it ends with the test all the same.
func New(t testing.TB) *Lab {
	t.Helper()
	root, err := projectRoot()
	if err != nil {
		t.Fatalf("find the lab: %v", err)
	}
	l := &Lab{
		t:      t,
		script: filepath.Join(root, "scripts/lab/lab"),
		dir:    filepath.Join(labsDir, fmt.Sprintf("test-%d-%d", os.Getpid(), labs.Add(1))),
	}
	l.endOrphans()
	t.Cleanup(l.Down)
	return l
}

// endOrphans takes down the labs of test processes that were killed before they could.
func (l *Lab) endOrphans() {
	dirs, _ := filepath.Glob(filepath.Join(labsDir, "test-*-*"))
	for _, dir := range dirs {
		var pid, n int
		if _, err := fmt.Sscanf(filepath.Base(dir), "test-%d-%d", &pid, &n); err != nil {
			continue
		}
		if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			orphan := &Lab{t: l.t, script: l.script, dir: dir}
			orphan.Down()
		}
	}
}

func projectRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "scripts/lab/lab")); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("no directory above this one has scripts/lab/lab")
}

// Output is what a command said on a board.
type Output struct {
	Out, Err string
	Code     int // exit code
}

// Run calls the script with these arguments, within ctx, and returns what it printed; its error is an *Error.
func (l *Lab) Run(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	o, err := l.run(ctx, stdin, args...)
	if err == nil && o.Code != 0 {
		err = &Error{Command: "lab " + strings.Join(args, " "), Code: o.Code, Stderr: o.Err}
	}
	return o.Out, err
}

// run fails only where the script itself could not be run.
func (l *Lab) run(ctx context.Context, stdin io.Reader, args ...string) (Output, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, l.script, args...)
	cmd.Env = append(os.Environ(), "PICCOLO_LAB="+l.dir)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &stdout, &stderr
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return Output{Out: stdout.String()}, fmt.Errorf("run lab %s: %w", strings.Join(args, " "), err)
	}
	return Output{Out: stdout.String(), Err: stderr.String(), Code: cmd.ProcessState.ExitCode()}, nil
}

func (l *Lab) mustRun(args ...string) string {
	l.t.Helper()
	out, err := l.Run(l.t.Context(), nil, args...)
	if err != nil {
		l.t.Fatal(err)
	}
	return out
}

// Down ends the lab; a second time it does nothing. A cleanup may call it: it outlives the test's context.
func (l *Lab) Down() {
	l.t.Helper()
	if _, err := l.Run(context.Background(), nil, "down"); err != nil {
		l.t.Error(err)
	}
}

// Dir is the lab's state directory.
func (l *Lab) Dir() string { return l.dir }

// Board is board number n, from 1.
func (l *Lab) Board(n int) *Board { return l.boards[n-1] }

// Switch is the host of its own beside the boards, at 10.77.0.1, with this machine's files. Only its Exec methods work.
func (l *Lab) Switch() *Board { return &Board{Name: "switch", lab: l} }

// With is the same lab for a subtest: what fails there fails t. It still ends with the test that started it.
func (l *Lab) With(t testing.TB) *Lab {
	sub := &Lab{t: t, script: l.script, dir: l.dir}
	for _, b := range l.boards {
		sub.boards = append(sub.boards, &Board{Name: b.Name, lab: sub})
	}
	return sub
}

// Boards are all boards in their order.
func (l *Lab) Boards() []*Board { return l.boards }

// Add starts one more board.
func (l *Lab) Add(o Options) *Board {
	l.t.Helper()
	b := &Board{Name: strings.TrimSpace(l.mustRun(append([]string{"add"}, o.args()...)...)), lab: l}
	l.boards = append(l.boards, b)
	return b
}

// Cut lets no packet pass between two boards.
func (l *Lab) Cut(a, b *Board) {
	l.t.Helper()
	l.mustRun("cut", a.Name, b.Name)
}

// CutOneWay lets no packet pass from one board to the other.
func (l *Lab) CutOneWay(from, to *Board) {
	l.t.Helper()
	l.mustRun("cut", from.Name, to.Name, "--one-way")
}

// Heal ends every cut, loss and delay.
func (l *Lab) Heal() {
	l.t.Helper()
	l.mustRun("heal")
}
