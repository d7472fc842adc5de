package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"

	"piccolo.io/piccolo/node"
	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/node/pki"
	"piccolo.io/piccolo/readiness"
	"piccolo.io/piccolo/topology"
)

// classify is api.Classify with the sentinels of the node as a whole.
func classify(err error) *api.Error {
	var known *api.Error
	if errors.As(err, &known) {
		return known
	}
	if errors.Is(err, auth.ErrBadToken) {
		return badToken(err)
	}
	for _, s := range causes() {
		if errors.Is(err, s.target) {
			e := api.Error{Kind: s.kind, Message: err.Error(), Hint: s.hint, Err: err}
			var h interface{ Hint() string }
			if errors.As(err, &h) && h.Hint() != "" {
				e.Hint = h.Hint()
			}
			return &e
		}
	}
	if network(err) {
		return &api.Error{Kind: api.KindUnavailable, Message: err.Error(), Hint: "is the address right, and does a master run there?", Err: err}
	}
	return api.Classify(err)
}

// badToken tells what is wrong with a token's text, and once that it is wrong.
func badToken(err error) *api.Error {
	e := &api.Error{Kind: api.KindInvalid, Message: strings.Replace(err.Error(), auth.ErrBadToken.Error()+": ", "", 1), Err: err}
	if errors.Is(err, auth.ErrTokenKind) {
		return e.WithHint("`piccolo token create` on a master makes a join token; an API token is for `piccolo login`")
	}
	return e.WithHint("copy the token again, as a whole; `piccolo token create` on a master makes another")
}

// badAPIToken is badToken for a login.
func badAPIToken(err error) *api.Error {
	return badToken(err).WithHint("copy it again, as a whole; the first one is in admin.token in the first master's data directory")
}

// network reports whether err came from the network. net.Error does not tell:
// every error of the system matches it, that of a file too.
func network(err error) bool {
	var op *net.OpError
	var dns *net.DNSError
	return errors.As(err, &op) || errors.As(err, &dns) || errors.Is(err, context.DeadlineExceeded)
}

// cause is a sentinel of a room below, with what it means to a person.
type cause struct {
	target error
	kind   api.Kind
	hint   string
}

func causes() []cause {
	const check = "`piccolo check` shows every check, `piccolo check --fix` mends what is safe"
	return []cause{
		{node.ErrMember, api.KindConflict, "`piccolo status` shows it; `piccolo leave` and `piccolo reset` take this machine out of it"},
		{node.ErrLocked, api.KindConflict, ""},
		{node.ErrNotMember, api.KindNotFound, ""},
		{node.ErrNotReady, api.KindUnavailable, check},
		{readiness.ErrNotReady, api.KindUnavailable, check},
		{pki.ErrWrongFingerprint, api.KindDenied, "the token belongs to another cluster than the one at this address"},
		{pki.ErrOtherCluster, api.KindDenied, "the credential belongs to another cluster than the one at this address"},
		{pki.ErrRevoked, api.KindDenied, "this node was removed; `piccolo reset` and join anew"},
		{pki.ErrNotAMaster, api.KindUnavailable, "give the address of a master"},
		{pki.ErrNotPiccolo, api.KindUnavailable, "is the address right? Masters listen on port 7443"},
		{pki.ErrClock, api.KindUnavailable, "set the clock: timedatectl set-ntp true"},
		{pki.ErrExpired, api.KindUnavailable, ""},
		{fs.ErrPermission, api.KindDenied, "run this as root"},
		{topology.ErrInvalid, api.KindInvalid, ""},
	}
}

// exitInterrupted is what shells call a program that SIGINT ended.
const exitInterrupted = 130

// interrupted tells what a person broke off with Ctrl-C.
func (a *app) interrupted(err error) int {
	e := *classify(err)
	e.Message = strings.ReplaceAll(e.Message, context.Canceled.Error(), "interrupted")
	a.fail(&e)
	return exitInterrupted
}

// fail tells an error on stderr and returns the exit code.
func (a *app) fail(err error) int {
	var silent exitCode
	if errors.As(err, &silent) {
		return int(silent)
	}
	e := classify(err)
	codes := e.Kind.Codes()
	if a.format() == "json" {
		_ = writeJSON(a.streams.Err, api.ProblemOf(e, 0, ""))
		return codes.Exit
	}
	a.say("Error: %s", plainLines(e.Message))
	if e.Hint != "" {
		a.say("Hint: %s", plainLines(e.Hint))
	}
	return codes.Exit
}

// exitCode ends a command that has said all there is to say.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

// plainLines is plain for a message of several lines.
func plainLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = plain(lines[i])
	}
	return strings.Join(lines, "\n")
}
