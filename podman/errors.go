package podman

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
)

// ErrDown matches every error that means that Podman cannot be used at the moment.
var ErrDown error = &kind{"podman does not answer", "systemctl status podman.socket podman.service"}

// What can be wrong with Podman as a whole. Each matches ErrDown too.
var (
	// ErrNoSocket: nothing is at the socket's path.
	ErrNoSocket error = &kind{"there is no Podman socket", "systemctl enable --now podman.socket"}
	// ErrRefused: the socket is there and nobody listens, as after a crash.
	ErrRefused error = &kind{"nobody listens on the Podman socket", "systemctl enable --now podman.socket"}
	// ErrDenied: this process may not open the socket.
	ErrDenied error = &kind{"no permission to open the Podman socket", "run piccolo as root, or give its user access to the socket"}
	// ErrTimeout: Podman did not answer in time. It also matches context.DeadlineExceeded.
	ErrTimeout error = &kind{"podman did not answer in time", "systemctl restart podman.service (containers go on running)"}
	// ErrTooOld: Podman is older than 4.0.
	ErrTooOld error = &kind{"podman is too old", "install Podman 4.0 or newer"}
	// ErrNotPodman: something answers on the socket, and it is not Podman.
	ErrNotPodman error = &kind{"this is not Podman", "give the path of Podman's socket with --podman-socket, usually /run/podman/podman.sock"}
)

// What can be wrong with one request while Podman itself answers.
var (
	// ErrNotFound: there is no such container.
	ErrNotFound = errors.New("no such container")
	// ErrRejected: Podman answered with an error of its own, which the text quotes.
	ErrRejected = errors.New("podman reports an error")
	// ErrBadAnswer: the answer is not what the API promises, or larger than 16 MiB.
	ErrBadAnswer = errors.New("podman's answer cannot be read")
)

type kind struct{ text, hint string }

func (k *kind) Error() string        { return k.text }
func (k *kind) Is(target error) bool { return target == ErrDown }

// Hint says what to try against err, or "" if nothing is known.
func Hint(err error) string {
	var k *kind
	if errors.As(err, &k) {
		return k.hint
	}
	return ""
}

// down builds the error for a Podman that cannot be used. cause may be nil.
func down(op string, k, cause error) error {
	if cause == nil {
		return fmt.Errorf("%s: %w; try: %s", op, k, Hint(k))
	}
	return fmt.Errorf("%s: %w (%w); try: %s", op, k, cause, Hint(k))
}

// classify gives the failure err of a request its name. ctx is the context of the caller, without the
// request's own deadline: its end is not Podman's fault.
func classify(ctx context.Context, op string, err error) error {
	var timeout interface{ Timeout() bool }
	switch {
	case ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled):
		return fmt.Errorf("%s: %w", op, context.Canceled)
	case errors.Is(err, ErrBadAnswer), errors.Is(err, ErrDown):
		return fmt.Errorf("%s: %w", op, err)
	case errors.Is(err, fs.ErrNotExist):
		return down(op, ErrNoSocket, err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return down(op, ErrRefused, err)
	case errors.Is(err, fs.ErrPermission):
		return down(op, ErrDenied, err)
	case errors.Is(err, syscall.EAGAIN):
		// connect(2) on a unix socket: the backlog is full, so nobody has accepted for long.
		return down(op, ErrTimeout, err)
	case errors.Is(err, context.DeadlineExceeded):
		return down(op, ErrTimeout, context.DeadlineExceeded)
	case errors.As(err, &timeout) && timeout.Timeout():
		return down(op, ErrTimeout, context.DeadlineExceeded)
	case strings.Contains(err.Error(), "malformed HTTP"):
		return down(op, ErrNotPodman, err)
	default:
		return down(op, ErrDown, err)
	}
}
