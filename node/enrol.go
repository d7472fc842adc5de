package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"time"

	"github.com/cenkalti/backoff/v5"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/api/client"
	"piccolo.io/piccolo/node/pki"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/readiness"
	"piccolo.io/piccolo/topology"
)

const (
	// registerTimeout bounds one request to be let in.
	registerTimeout = 10 * time.Second
	// registerPatience is how long a master that was reached a moment ago may
	// be away before it has said that an administrator decides.
	registerPatience = 30 * time.Second
)

// enrol has the master let this board in, and keeps what it gives.
func (e *enrolment) enrol(ctx context.Context, report readiness.Report) (_ workload.Admission, err error) {
	identity, err := e.key()
	if err != nil {
		return workload.Admission{}, err
	}
	defer func() {
		switch {
		case err == nil:
		case e.known:
			err = errors.Join(err, e.dir.clear(pki.NodeKeyFile))
		default:
			err = errors.Join(err, e.dir.clear())
		}
	}()
	a, err := e.register(ctx, identity, report)
	if err != nil {
		return a, err
	}
	return a, e.keep(ctx, identity, a)
}

// key is that of an earlier join that did not reach its end, or a new one.
// What else that join left is removed.
func (e *enrolment) key() (*pki.Identity, error) {
	if err := e.dir.clear(pki.NodeKeyFile); err != nil {
		return nil, err
	}
	identity, err := pki.LoadIdentity(e.dir.path)
	switch {
	case err == nil:
		e.known = true
		return identity, nil
	case errors.Is(err, pki.ErrBadKey): // nobody can prove to be its owner
		err = e.dir.clear()
	case errors.Is(err, fs.ErrNotExist):
		err = nil
	}
	if err != nil {
		return nil, err
	}
	return pki.CreateKey(e.dir.path)
}

// register asks to be let in, waits while an administrator decides, and
// outlasts a master that restarts meanwhile.
func (e *enrolment) register(ctx context.Context, identity *pki.Identity, report readiness.Report) (workload.Admission, error) {
	e.m.ID = identity.ID()
	waiting, began := false, time.Now()
	link := &masterLink{address: e.o.Master, config: e.tls}
	defer func() {
		if err := link.close(); err != nil {
			e.o.Logger.Debug("close connection", "error", err)
		}
	}()
	wait := &backoff.ExponentialBackOff{InitialInterval: 500 * time.Millisecond, RandomizationFactor: 0.5, Multiplier: 1.5, MaxInterval: 10 * time.Second}
	a, err := backoff.Retry(ctx, func() (workload.Admission, error) {
		a, err := e.ask(ctx, link, identity, report)
		switch {
		case err == nil && a.Status == topology.StatusPending:
			if !waiting {
				e.o.Progress("waiting for an administrator: `piccolo node approve "+e.m.Name+"` on a master", true)
			}
			waiting = true
			return a, &backoff.RetryAfterError{Duration: max(a.RetryAfter, time.Second)}
		case err == nil:
			return a, nil
		case transient(err) && (waiting || time.Since(began) < registerPatience):
			e.o.Progress("the master does not answer; trying again", false)
			return a, errors.Join(err, link.close())
		}
		return a, backoff.Permanent(err)
	}, backoff.WithBackOff(wait), backoff.WithMaxElapsedTime(0))
	if err != nil && waiting && ctx.Err() != nil {
		return a, fmt.Errorf("wait for approval: %w; the request stands, and `piccolo join` again goes on with it", ctx.Err())
	}
	return a, err
}

// ask sends the registration once. It takes note of whether the master may
// know this board's key from then on.
func (e *enrolment) ask(ctx context.Context, link *masterLink, identity *pki.Identity, report readiness.Report) (workload.Admission, error) {
	ctx, cancel := context.WithTimeout(ctx, registerTimeout)
	defer cancel()
	conn, err := link.get(ctx)
	if err != nil {
		return workload.Admission{}, err
	}
	e.m.Address = conn.Own
	if e.m.Fixed {
		e.m.Address = e.o.Advertise.Addr().String()
	}
	a, err := conn.Register(ctx, identity, e.registration(ctx, report))
	switch {
	case errors.Is(err, topology.ErrRemoved):
		e.known = false
		return a, &api.Error{Kind: api.KindDenied, Message: err.Error(), Err: topology.ErrRemoved,
			Hint: "the key of this board is deleted: `piccolo join` again asks as a new node"}
	case err == nil || !refused(err):
		e.known = true
	}
	return a, err
}

// refused reports whether a master has answered no, and made no record.
func refused(err error) bool {
	var e *api.Error
	if !errors.As(err, &e) {
		return false
	}
	return e.Kind != api.KindUnavailable && e.Kind != api.KindTooMany && e.Kind != api.KindInternal
}

// transient reports whether a master that was reached before may answer later.
func transient(err error) bool {
	var answer *api.Error
	if errors.As(err, &answer) {
		return answer.Kind == api.KindUnavailable || answer.Kind == api.KindTooMany
	}
	var network *net.OpError
	// One that stops in the middle of a handshake does not look like a master.
	return errors.As(err, &network) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, io.EOF) || errors.Is(err, pki.ErrNotPiccolo)
}

// masterLink is a connection to a master that is made when it is needed.
type masterLink struct {
	address string
	config  *tls.Config
	open    *client.Agent
}

func (l *masterLink) get(ctx context.Context) (_ *client.Agent, err error) {
	if l.open == nil {
		l.open, err = client.DialAgent(ctx, l.address, l.config.Clone())
	}
	return l.open, err
}

func (l *masterLink) close() error {
	if l.open == nil {
		return nil
	}
	err := l.open.Close()
	l.open = nil
	return err
}
