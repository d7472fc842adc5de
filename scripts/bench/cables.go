package main

import (
	"errors"
	"fmt"
	"io"
	"os/exec"
	"syscall"
)

// cables pulls and puts back cables without the start of a program in the
// measured time: an `ip` that waits for its next line.
type cables struct {
	cmd *exec.Cmd
	in  io.WriteCloser
}

// openCables works in the network namespace of a lab's switch.
func openCables(namespace string) (*cables, error) {
	// Its end is the end of its input, and not Ctrl-C in the terminal.
	cmd := exec.Command("ip", "-netns", namespace, "-force", "-batch", "-")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
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
