package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"syscall"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/pki"
)

// refusal is the error that an answer carries, and whether to ask again.
func (c *HTTP) refusal(res *http.Response) (repeat, error) {
	text, err := io.ReadAll(io.LimitReader(res.Body, maxProblem))
	media, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	var p api.Problem
	if err != nil || media != api.ProblemType || json.Unmarshal(text, &p) != nil {
		return repeat{}, c.notPiccolo(fmt.Errorf("it answered %s", res.Status))
	}
	p.Status = res.StatusCode
	again := repeat{worth: res.StatusCode == http.StatusTooManyRequests || res.StatusCode == http.StatusServiceUnavailable}
	if n, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && n > 0 {
		again.after = n
	}
	return again, p.Err()
}

// notPiccolo is for an answer that no Piccolo gives.
func (c *HTTP) notPiccolo(cause error) error {
	return &api.Error{Kind: api.KindUnavailable, Message: fmt.Sprintf("ask %s: this does not look like a piccolo of this version: %v", c.name, cause),
		Hint: "is it the address of a piccolo master?", Err: cause}
}

// broken reports whether a connection that stood was lost, so that another
// one may carry the same request.
func broken(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// explain turns a failure to reach the server into words and a kind.
func (c *HTTP) explain(ctx context.Context, err error) error {
	// The caller's own end is not the server's fault.
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err // without the method and a made-up URL
	}
	err = pki.Explain(err)
	if e := c.explainSocket(err); e != nil {
		return e
	}
	e := &api.Error{Kind: api.KindUnavailable, Message: fmt.Sprintf("ask %s: %v", c.name, err), Err: err,
		Hint: "is the address right, and does piccolo run there?"}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		e.Message = fmt.Sprintf("ask %s: no answer in time", c.name)
		e.Hint = "try again; on the machine itself, `journalctl -u piccolo` shows what it is doing"
	case errors.Is(err, pki.ErrOtherCluster), errors.Is(err, pki.ErrWrongFingerprint):
		e.Kind = api.KindDenied
		e.Hint = "the server is not of the cluster that was pinned: if the cluster was made anew, log in again; if not, somebody else answers there"
	case errors.Is(err, pki.ErrNotAMaster), errors.Is(err, pki.ErrExpired), errors.Is(err, pki.ErrRevoked), errors.Is(err, pki.ErrBadCertificate):
		e.Kind, e.Hint = api.KindDenied, ""
	case errors.Is(err, pki.ErrNotPiccolo):
		e.Hint = "is it the address of a piccolo master? Masters listen on port 7443"
	case errors.Is(err, pki.ErrClock):
		e.Hint = ""
	}
	return e
}

// explainSocket returns nil for what has nothing to do with the local socket.
func (c *HTTP) explainSocket(err error) error {
	if c.o.Socket == "" {
		return nil
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return &api.Error{Kind: api.KindUnavailable, Message: fmt.Sprintf("no piccolo daemon answers on this machine (%s)", c.o.Socket),
			Hint: "is piccolo running? `systemctl status piccolo`", Err: err}
	case errors.Is(err, fs.ErrPermission):
		return &api.Error{Kind: api.KindDenied, Message: fmt.Sprintf("the daemon's socket %s is for root only", c.o.Socket),
			Hint: "use sudo, or `piccolo login` to a master", Err: err}
	}
	return nil
}
