package api

import (
	"context"
	"errors"
	"fmt"

	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/topology"
)

// Kind is what an error means to whoever made the call.
type Kind string

const (
	// KindInvalid: the request itself is wrong and was not carried out.
	KindInvalid Kind = "invalid"
	// KindNotFound: what the request names does not exist.
	KindNotFound Kind = "not-found"
	// KindConflict: the request collides with what is there.
	KindConflict Kind = "conflict"
	// KindUnauthenticated: nobody known made the request.
	KindUnauthenticated Kind = "unauthenticated"
	// KindDenied: whoever made the request may not do that.
	KindDenied Kind = "denied"
	// KindUnavailable: it cannot be done now; later it may.
	KindUnavailable Kind = "unavailable"
	// KindTooLarge: the request is over a stated bound.
	KindTooLarge Kind = "too-large"
	// KindTooMany: the caller asks more often than allowed.
	KindTooMany Kind = "too-many-requests"
	// KindInternal: a fault of Piccolo itself.
	KindInternal Kind = "internal"
)

// Codes is how one kind of error appears on each side of the API.
type Codes struct {
	Kind Kind
	// GRPC is the number of the status code (google.golang.org/grpc/codes).
	GRPC uint32
	// HTTP is the status of the answer.
	HTTP int
	// Exit is the exit code of the command line.
	Exit int
	// Title is the problem document's title (RFC 9457).
	Title string
}

// Kinds returns the one table from which every adapter takes its codes.
func Kinds() []Codes {
	return []Codes{
		{KindInvalid, 3, 400, 2, "The request is not valid"},
		{KindNotFound, 5, 404, 3, "Not found"},
		{KindConflict, 9, 409, 4, "The request conflicts with the present state"},
		{KindUnauthenticated, 16, 401, 6, "A credential is needed"},
		{KindDenied, 7, 403, 6, "Not allowed"},
		{KindUnavailable, 14, 503, 5, "Not available now"},
		{KindTooLarge, 11, 413, 2, "The request is too large"},
		{KindTooMany, 8, 429, 5, "Too many requests"},
		{KindInternal, 13, 500, 1, "Internal error"},
	}
}

// Codes returns the line of the table for k; an unknown kind is internal.
func (k Kind) Codes() Codes {
	table := Kinds()
	for _, c := range table {
		if c.Kind == k {
			return c
		}
	}
	return table[len(table)-1]
}

// Error is what a person is told: what was being done to what and why it
// failed (Message), and what to try (Hint).
type Error struct {
	Kind    Kind
	Message string
	Hint    string
	// Err is the cause, for logs and errors.Is.
	Err error
}

// Error returns the message and, in parentheses, the hint.
func (e *Error) Error() string {
	if e.Hint == "" {
		return e.Message
	}
	return e.Message + " (" + e.Hint + ")"
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Invalidf makes an error of KindInvalid.
func Invalidf(format string, args ...any) *Error { return newError(KindInvalid, format, args...) }

// NotFoundf makes an error of KindNotFound.
func NotFoundf(format string, args ...any) *Error { return newError(KindNotFound, format, args...) }

// Conflictf makes an error of KindConflict.
func Conflictf(format string, args ...any) *Error { return newError(KindConflict, format, args...) }

// Unavailablef makes an error of KindUnavailable.
func Unavailablef(format string, args ...any) *Error {
	return newError(KindUnavailable, format, args...)
}

func newError(k Kind, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: k, Message: err.Error(), Err: errors.Unwrap(err)}
}

// WithHint returns e with the hint set.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// hinter is an error of a room that knows what to try.
type hinter interface{ Hint() string }

// Classify turns any error into the one that a person sees. It returns nil
// for nil and an *Error in the chain as it is.
func Classify(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	e = &Error{Kind: kindOf(err), Message: err.Error(), Err: err}
	var h hinter
	if errors.As(err, &h) {
		e.Hint = h.Hint()
	}
	return e
}

func kindOf(err error) Kind {
	for _, c := range []struct {
		target error
		kind   Kind
	}{
		{topology.ErrIdentityInUse, KindConflict},
		{topology.ErrClusterFull, KindConflict},
		{topology.ErrTooOften, KindTooMany},
		{topology.ErrNeeded, KindConflict},
		{topology.ErrTransition, KindConflict},
		{topology.ErrInvalid, KindInvalid},
		{topology.ErrRemoved, KindDenied},
		{store.ErrNotFound, KindNotFound},
		{store.ErrExists, KindConflict},
		{store.ErrConflict, KindConflict},
		{store.ErrInvalid, KindInvalid},
		{store.ErrTooLarge, KindTooLarge},
		{store.ErrFull, KindUnavailable},
		{store.ErrDiskFull, KindUnavailable},
		{store.ErrUnreadable, KindInternal},
		{store.ErrDamaged, KindInternal},
		{store.ErrNoQuorum, KindUnavailable},
		{store.ErrClosed, KindUnavailable},
		{auth.ErrUnauthenticated, KindUnauthenticated},
		{auth.ErrDenied, KindDenied},
		{auth.ErrTokenUnknown, KindDenied},
		{auth.ErrTokenExpired, KindDenied},
		{auth.ErrTokenRole, KindDenied},
		{context.DeadlineExceeded, KindUnavailable},
		{context.Canceled, KindUnavailable},
	} {
		if errors.Is(err, c.target) {
			return c.kind
		}
	}
	return KindInternal
}
