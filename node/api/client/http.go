package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/node/pki"
)

const (
	// maxAnswer bounds what is read of one answer, in bytes.
	maxAnswer = 32 << 20
	// maxProblem bounds what is read of an error.
	maxProblem = 64 << 10
	// getTries is how often a GET is sent when the server is there but cannot
	// answer it just now.
	getTries = 3
)

// HTTPOptions of an HTTP client. Exactly one of Socket and Server is needed.
type HTTPOptions struct {
	// Socket is the path of the local socket of a daemon on this machine.
	Socket string
	// Server is a master's URL, https://host:port.
	Server string
	// TLS is needed with Server: pki.ClientTLS, or pki.EnrolTLS where only
	// the CA's fingerprint is known. It may hold a client certificate.
	TLS *tls.Config
	// Token is an API token; empty for none.
	Token auth.Secret
	// Timeout of one call, its repetitions included; not of Watch. Default
	// 15 s: a list with figures waits up to 5 s for the nodes.
	Timeout time.Duration
	// Silence is how long a watch stream may say nothing before it counts as
	// lost. Default 40 s; the server gives a sign of life every 15 s.
	Silence time.Duration
}

func (o *HTTPOptions) validate() error {
	if o.Timeout == 0 {
		o.Timeout = 15 * time.Second
	}
	if o.Silence == 0 {
		o.Silence = 40 * time.Second
	}
	switch {
	case (o.Socket == "") == (o.Server == ""):
		return errors.New("client: exactly one of Socket and Server is needed")
	case o.Timeout < 0 || o.Silence < 0:
		return errors.New("client: Timeout and Silence must not be negative")
	case o.Server == "":
		return nil
	case o.TLS == nil:
		return errors.New("client: Server needs TLS")
	}
	u, err := url.Parse(o.Server)
	if err != nil || u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil || u.Fragment != "" {
		return api.Invalidf("server %.100q is not valid", o.Server).WithHint("write it as https://10.0.0.1:7443")
	}
	return nil
}

// HTTP talks to one server over REST. Its errors are *api.Error, but for the
// cancellation of the caller's context. Its methods may be called by many
// goroutines at once.
type HTTP struct {
	o HTTPOptions
	// name is how errors call the server, base what URLs begin with.
	name, base string
	http       *http.Client
	transport  *http.Transport
}

// NewHTTP checks the options. It connects to nothing.
func NewHTTP(o HTTPOptions) (*HTTP, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	t := &http.Transport{
		MaxIdleConnsPerHost:   4,
		IdleConnTimeout:       30 * time.Second,
		ResponseHeaderTimeout: o.Timeout,
	}
	c := &HTTP{o: o, transport: t}
	if o.Socket != "" {
		c.name, c.base = "the daemon at "+o.Socket, "http://piccolo"
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", o.Socket)
		}
	} else {
		c.name = strings.TrimRight(o.Server, "/")
		c.base = c.name
		// HTTP/1.1, because the transport of HTTP/2 forgets why a connection
		// ended: that the server refused the certificate, for one.
		config := o.TLS.Clone()
		config.NextProtos = []string{"http/1.1"}
		t.DialTLSContext = func(ctx context.Context, _, address string) (net.Conn, error) { return pki.Dial(ctx, address, config) }
	}
	c.http = &http.Client{
		Transport: t,
		// The API never redirects, and a token must not follow to elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// Close lets idle connections go.
func (c *HTTP) Close() { c.transport.CloseIdleConnections() }

// Do makes one call: path with its query, in as the JSON body where it is not
// nil, and the answer into out where that is not nil. The time is that of the
// last word from a master where the answer is not live. Only GETs are
// repeated, and only when the server asked for it or the connection broke.
func (c *HTTP) Do(ctx context.Context, method, path string, in, out any) (*time.Time, error) {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return nil, api.Invalidf("write the request: %w", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	tries := uint(1)
	if method == http.MethodGet {
		tries = getTries
	}
	var last error
	wait := &backoff.ExponentialBackOff{InitialInterval: 100 * time.Millisecond, Multiplier: 2, RandomizationFactor: 0.2, MaxInterval: time.Second}
	asOf, err := backoff.Retry(ctx, func() (*time.Time, error) {
		asOf, again, err := c.once(ctx, method, path, body, out)
		if last = err; err == nil {
			return asOf, nil
		}
		if !again.worth {
			return asOf, backoff.Permanent(err)
		}
		if again.after > 0 {
			return asOf, backoff.RetryAfter(again.after)
		}
		return asOf, err
	}, backoff.WithBackOff(wait), backoff.WithMaxTries(tries), backoff.WithMaxElapsedTime(c.o.Timeout))
	if err != nil && last != nil && !errors.Is(ctx.Err(), context.Canceled) {
		err = last
	}
	return asOf, err
}

// repeat says whether a failed call may go better the next time.
type repeat struct {
	worth bool
	// after is how many seconds the server asked to wait, 0 for no wish.
	after int
}

// once sends one request and reads its answer.
func (c *HTTP) once(ctx context.Context, method, path string, body []byte, out any) (*time.Time, repeat, error) {
	res, again, err := c.send(ctx, method, path, body, http.Header{"Accept": {"application/json"}})
	if err != nil {
		return nil, again, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return nil, repeat{worth: true}, c.explain(ctx, err)
	}
	if len(text) > maxAnswer {
		return nil, repeat{}, &api.Error{Kind: api.KindTooLarge, Message: fmt.Sprintf("the answer of %s is larger than %d bytes", c.name, maxAnswer)}
	}
	asOf := readAsOf(res)
	if out == nil {
		return asOf, repeat{}, nil
	}
	if raw, ok := out.(*[]byte); ok {
		*raw = text
		return asOf, repeat{}, nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return nil, repeat{}, c.notPiccolo(fmt.Errorf("its answer cannot be read: %w", err))
	}
	return asOf, repeat{}, nil
}

// send returns the answer if it is a good one. The caller closes its body.
func (c *HTTP) send(ctx context.Context, method, path string, body []byte, head http.Header) (*http.Response, repeat, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, repeat{}, api.Invalidf("ask %s: %w", c.name, err)
	}
	r.Header = head
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
		if method == http.MethodPatch {
			r.Header.Set("Content-Type", "application/merge-patch+json")
		}
	}
	if c.o.Token != "" {
		r.Header.Set("Authorization", "Bearer "+c.o.Token.Reveal())
	}
	res, err := c.http.Do(r)
	if err != nil {
		return nil, repeat{worth: broken(err)}, c.explain(ctx, err)
	}
	if res.StatusCode >= 200 && res.StatusCode < 300 {
		return res, repeat{}, nil
	}
	defer res.Body.Close()
	again, err := c.refusal(res)
	return nil, again, err
}

func readAsOf(res *http.Response) *time.Time {
	t, err := time.Parse(time.RFC3339Nano, res.Header.Get(api.AsOfHeader))
	if err != nil {
		return nil
	}
	return &t
}
