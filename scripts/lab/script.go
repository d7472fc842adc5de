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
	"strings"
	"syscall"
	"time"
)

const (
	// Where labs have their state; the script's own default.
	labsDir = "/var/lib/piccolo-lab"
	// The longest lab command is `up` when a Debian must be built first.
	commandTime = 5 * time.Minute
	// How long a command that was told to end may take for that.
	endTime = 5 * time.Second
	// How much of what a failed command said stands in its error, in bytes; the last is the best.
	maxSaid = 2000
)

// Script calls the script `lab` for one lab. It needs no build tag: programs use it as tests do.
type Script struct {
	// Path of the script.
	Path string
	// Name of the lab.
	Name string
	// Binary is the piccolo that boards get when they boot: that of PICCOLO_BIN, or else bin/piccolo, where empty.
	Binary string
}

// Find returns the script of the project that the working directory lies in. It names no lab.
func Find() (Script, error) {
	dir, err := os.Getwd()
	if err != nil {
		return Script{}, fmt.Errorf("find the lab: %w", err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		path := filepath.Join(dir, "scripts/lab/lab")
		if _, err := os.Stat(path); err == nil {
			return Script{Path: path}, nil
		}
	}
	return Script{}, errors.New("find the lab: no directory above this one has scripts/lab/lab: run this inside the project")
}

// Own is the script for lab number n of this process, which EndOrphans of the same owner ends when this process no
// longer can. The owner is a word of a-z.
func (s Script) Own(owner string, n int64) Script {
	s.Name = fmt.Sprintf("%s-%d-%d", owner, os.Getpid(), n)
	return s
}

// EndOrphans takes down the owner's labs whose processes were killed before they could.
func (s Script) EndOrphans(ctx context.Context, owner string) error {
	dirs, err := filepath.Glob(filepath.Join(labsDir, owner+"-*"))
	if err != nil {
		return fmt.Errorf("look for labs of %s: %w", owner, err)
	}
	for _, dir := range dirs {
		s.Name = filepath.Base(dir)
		if !orphaned(s.Name, owner) {
			continue
		}
		if _, err := s.Run(ctx, nil, "down"); err != nil {
			return fmt.Errorf("end the lab %s of a process that is gone: %w", s.Name, err)
		}
	}
	return nil
}

// orphaned reports whether a lab is the owner's, by its name, and the process that it was made for is gone.
func orphaned(name, owner string) bool {
	var pid, n int
	if _, err := fmt.Sscanf(name, owner+"-%d-%d", &pid, &n); err != nil {
		return false
	}
	return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}

// Dir is the lab's state directory.
func (s Script) Dir() string { return filepath.Join(labsDir, s.Name) }

// Error is a command that ended with another exit code than 0.
type Error struct {
	Command string // join tokens left out
	Code    int    // exit code; -1 when it was killed
	Stderr  string // what it said
}

// Error has the last 2000 bytes of what the command said.
func (e *Error) Error() string {
	said := strings.TrimSpace(e.Stderr)
	return fmt.Sprintf("%s: exit code %d: %s", e.Command, e.Code, said[max(0, len(said)-maxSaid):])
}

// Output is what a command said.
type Output struct {
	Out, Err string
	Code     int // exit code
}

// Run calls the script with these arguments, within ctx and five minutes, and returns what it printed; the error of a
// command that ran and failed is an *Error.
func (s Script) Run(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	o, err := s.Output(ctx, stdin, args...)
	if err == nil && o.Code != 0 {
		err = &Error{Command: commandLine(args), Code: o.Code, Stderr: o.Err}
	}
	return o.Out, err
}

// Output is Run for a command that may fail: its error is only that the script could not be run, or not to its end.
func (s Script) Output(ctx context.Context, stdin io.Reader, args ...string) (Output, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, s.Path, args...)
	cmd.Env = append(os.Environ(), "PICCOLO_LAB="+s.Dir())
	if s.Binary != "" {
		cmd.Env = append(cmd.Env, "PICCOLO_BIN="+s.Binary)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &stdout, &stderr
	// A process group of its own: Ctrl-C in the terminal ends the caller, which then ends the lab, and not the script
	// under it; and the end of ctx reaches also what the script has started.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = endTime
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && ctx.Err() != nil {
		err = ctx.Err() // why it was killed says more than that it was
	} else if errors.As(err, &exit) {
		err = nil
	}
	if err != nil {
		return Output{Out: stdout.String(), Err: stderr.String(), Code: -1}, fmt.Errorf("run %s: %w", commandLine(args), err)
	}
	return Output{Out: stdout.String(), Err: stderr.String(), Code: cmd.ProcessState.ExitCode()}, nil
}

// commandLine is a call as errors show it: without join tokens.
func commandLine(args []string) string {
	words := append([]string{"lab"}, args...)
	for i, w := range words {
		if strings.HasPrefix(w, "pic1.") {
			words[i] = "…"
		}
	}
	return strings.Join(words, " ")
}
