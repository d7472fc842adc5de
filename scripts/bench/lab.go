package main

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

// labsDir is where the lab's script keeps the labs.
const labsDir = "/var/lib/piccolo-lab"

// labTime bounds one command of the lab. The longest starts all boards.
const labTime = 3 * time.Minute

// lab is a lab of this process's own, by the lab's script.
type lab struct {
	script, name, binary string
}

// command runs in a process group of its own: Ctrl-C in the terminal ends
// this program, which then ends the lab, and not the script under it.
func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// run calls the lab's script and returns what it printed.
func (l lab) run(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, labTime)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := command(ctx, l.script, args...)
	cmd.Env = append(os.Environ(), "PICCOLO_LAB="+l.name, "PICCOLO_BIN="+l.binary)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		said := []byte(strings.TrimSpace(stderr.String()))
		return "", fmt.Errorf("lab %s: %w: %s", redact(args), err, said[max(0, len(said)-2000):])
	}
	return stdout.String(), nil
}

// redact keeps join tokens out of errors.
func redact(args []string) string {
	words := append([]string(nil), args...)
	for i, w := range words {
		if strings.HasPrefix(w, "pic1.") {
			words[i] = "…"
		}
	}
	return strings.Join(words, " ")
}

// endOrphans takes down labs of earlier runs that were killed.
func (l lab) endOrphans(ctx context.Context) error {
	dirs, err := filepath.Glob(filepath.Join(labsDir, "bench-*"))
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		var pid int
		if _, err := fmt.Sscanf(filepath.Base(dir), "bench-%d", &pid); err != nil || !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			continue
		}
		l.name = filepath.Base(dir)
		if _, err := l.run(ctx, "down"); err != nil {
			return err
		}
	}
	return nil
}

// cables pulls and puts back cables without the start of a program in the
// measured time: an `ip` that waits for its next line.
type cables struct {
	cmd *exec.Cmd
	in  io.WriteCloser
}

func (l lab) cables(ctx context.Context) (*cables, error) {
	// Its end is the end of its input.
	cmd := command(context.WithoutCancel(ctx), "ip", "-netns", "pl-"+l.name+"-sw", "-force", "-batch", "-")
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start ip: %w", err)
	}
	return &cables{cmd, in}, nil
}

// set pulls a board's cable ("down") or puts it back ("up"), at the switch.
func (c *cables) set(board, state string) error {
	_, err := fmt.Fprintf(c.in, "link set %s %s\n", board, state)
	return err
}

func (c *cables) close() error {
	return errors.Join(c.in.Close(), c.cmd.Wait())
}
