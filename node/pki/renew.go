package pki

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v5"
)

const (
	// longestSleep is after how long the renewer looks at the clock again: a
	// clock that was stepped shifts the due time, and a timer does not notice.
	longestSleep = time.Hour
	// defaultRenewTimeout bounds one attempt.
	defaultRenewTimeout = 30 * time.Second
)

// RenewFunc gets a new certificate for a request in DER, and returns its chain
// in PEM. It asks a master, or on a master the CA itself.
type RenewFunc func(ctx context.Context, csr []byte) (chainPEM []byte, err error)

// RenewerOptions says what a Renewer works with.
type RenewerOptions struct {
	Source *Source
	Clock  *Clock
	Renew  RenewFunc
	// Timeout bounds one attempt; default 30 s.
	Timeout time.Duration
	// Logger; default none.
	Logger *slog.Logger
}

func (o *RenewerOptions) validate() error {
	switch {
	case o.Source == nil:
		return errors.New("option Source is missing")
	case o.Clock == nil:
		return errors.New("option Clock is missing")
	case o.Renew == nil:
		return errors.New("option Renew is missing")
	case o.Timeout < 0:
		return fmt.Errorf("option Timeout is %v, it must not be negative", o.Timeout)
	}
	if o.Timeout == 0 {
		o.Timeout = defaultRenewTimeout
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Renewer replaces a node's certificate at two thirds of its life.
type Renewer struct {
	o    RenewerOptions
	kick chan struct{}
}

// NewRenewer checks the options and starts nothing.
func NewRenewer(o RenewerOptions) (*Renewer, error) {
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("prepare renewal of certificate: %w", err)
	}
	return &Renewer{o: o, kick: make(chan struct{}, 1)}, nil
}

// Kick asks for a renewal now: the node's addresses have changed, or a peer
// called its certificate expired. It never blocks; several kicks that wait are
// one.
func (r *Renewer) Kick() {
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// Run renews until the context ends, and then returns nil. A failed attempt is
// repeated with growing, random pauses of at most a tenth of the certificate's
// life and one hour.
func (r *Renewer) Run(ctx context.Context) error {
	var next gate
	pause := r.pauses()
	for {
		forced, err := r.wait(ctx, next)
		if err != nil {
			return nil
		}
		select { // kicks up to here are served by this attempt
		case <-r.kick:
		default:
		}
		err = r.once(ctx)
		if ctx.Err() != nil {
			return nil
		}
		leaf := r.o.Source.Current()
		if err != nil {
			d := pause.NextBackOff()
			next = gate{due: time.Now().Add(d), kick: time.Now().Add(d)}
			r.o.Logger.Warn("certificate was not renewed", "error", err, "retry_in", d, "not_after", leaf.NotAfter)
			if forced {
				r.Kick()
			}
			continue
		}
		if err := r.o.Clock.Save(); err != nil {
			r.o.Logger.Warn("time of renewal was not kept", "error", err)
		}
		pause = r.pauses()
		next = gate{due: time.Now().Add(life(leaf) / 3), kick: time.Now().Add(pause.InitialInterval)}
		r.o.Logger.Info("certificate renewed", "serial", serialHex(leaf), "not_after", leaf.NotAfter, "asked_for", forced)
	}
}

// gate is when the next attempt may be made at the earliest, in monotonic time
// so that no step of the clock shifts it. Without it a clock that runs far
// ahead would renew again and again: by such a clock each new certificate is
// due at once.
type gate struct {
	due, kick time.Time
}

// wait returns when a renewal is due or asked for and its gate is open, or
// with the context's error.
func (r *Renewer) wait(ctx context.Context, next gate) (forced bool, err error) {
	kick := r.kick
	for {
		d := max(r.untilDue(), time.Until(next.due))
		if forced {
			d = min(d, time.Until(next.kick))
		}
		if d <= 0 {
			return forced, ctx.Err()
		}
		timer := time.NewTimer(min(d, longestSleep))
		select {
		case <-ctx.Done():
			timer.Stop()
			return false, ctx.Err()
		case <-kick:
			timer.Stop()
			forced, kick = true, nil
		case <-timer.C:
		}
	}
}

// untilDue is computed anew from the clock at each look.
func (r *Renewer) untilDue() time.Duration {
	leaf := r.o.Source.Current()
	if leaf.NotAfter.IsZero() {
		return longestSleep // a lost one comes back with the next connection
	}
	due := leaf.NotBefore.Add(life(leaf) * 2 / 3)
	return due.Sub(r.o.Clock.Now())
}

func life(c *x509.Certificate) time.Duration { return c.NotAfter.Sub(c.NotBefore) }

func (r *Renewer) once(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.o.Timeout)
	defer cancel()
	csr, err := r.o.Source.identity.CSR()
	if err != nil {
		return fmt.Errorf("renew certificate: %w", err)
	}
	chain, err := r.o.Renew(ctx, csr)
	if err != nil {
		return fmt.Errorf("renew certificate: %w", err)
	}
	if err := r.o.Source.Replace(chain); err != nil {
		return fmt.Errorf("renew certificate: %w", err)
	}
	return nil
}

func (r *Renewer) pauses() *backoff.ExponentialBackOff {
	l := life(r.o.Source.Current())
	if l == 0 {
		l = DefaultLifetime // a lost one says nothing of its own
	}
	b := backoff.NewExponentialBackOff()
	b.InitialInterval = min(max(l/100, time.Second/2), time.Minute)
	b.MaxInterval = min(max(l/10, b.InitialInterval), time.Hour)
	b.RandomizationFactor = 0.5
	b.Reset()
	return b
}
