package cli

import (
	"bytes"
	"context"
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
	"github.com/tmaxmax/go-sse"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/node/pki"
)

// maxAnswer bounds an answer, in bytes: ten nodes with all their containers
// are far below it.
const maxAnswer = 32 << 20

// httpTransport talks REST over the local socket or over pinned TLS.
type httpTransport struct {
	// server is how errors name it, base what URLs begin with.
	server, base string
	token        string
	http         *http.Client
	check        func() error
}

// newSocketTransport talks to the daemon on this machine.
func newSocketTransport(path string) *httpTransport {
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	return &httpTransport{server: "unix://" + path, base: "http://piccolo", http: &http.Client{Transport: tr}, check: func() error { return checkSocket(path) }}
}

// newServerTransport talks to a master whose CA the token pins.
func newServerTransport(server string, token auth.Token) (*httpTransport, error) {
	clock, err := pki.NewClock(pki.ClockOptions{})
	if err != nil {
		return nil, fmt.Errorf("read the clock: %w", err)
	}
	config, _, err := pki.EnrolTLS(token.Fingerprint, clock)
	if err != nil {
		return nil, err
	}
	tr := &http.Transport{
		ForceAttemptHTTP2: true,
		DialTLSContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			return pki.Dial(ctx, address, config)
		},
	}
	return &httpTransport{server: server, base: server, token: token.Reveal(), http: &http.Client{Transport: tr}, check: func() error { return nil }}, nil
}

func (t *httpTransport) Close() { t.http.CloseIdleConnections() }

// send makes a request and returns the answer if it is a good one.
func (t *httpTransport) send(ctx context.Context, method, path string, body []byte, head http.Header) (*http.Response, error) {
	if err := t.check(); err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, method, t.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", t.server, err)
	}
	for k, v := range head {
		r.Header[k] = v
	}
	if t.token != "" {
		r.Header.Set("Authorization", "Bearer "+t.token)
	}
	res, err := t.http.Do(r)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err // without the method and the made-up URL
		}
		return nil, explain(err, t.server)
	}
	if res.StatusCode >= 200 && res.StatusCode < 300 {
		return res, nil
	}
	defer res.Body.Close()
	return nil, t.refusal(res)
}

// refusal is the error that an answer carries.
func (t *httpTransport) refusal(res *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	p := api.Problem{Status: res.StatusCode}
	if !strings.HasPrefix(res.Header.Get("Content-Type"), api.ProblemType) || json.Unmarshal(text, &p) != nil {
		return &api.Error{Kind: api.KindOfHTTP(res.StatusCode), Message: fmt.Sprintf("%s answered %s, not as piccolo does", t.server, res.Status), Hint: "is this the address of a piccolo master?"}
	}
	return p.Err()
}

func (t *httpTransport) Do(ctx context.Context, method, path string, in, out any) (*time.Time, error) {
	head, body := http.Header{"Accept": {"application/json"}}, []byte(nil)
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return nil, err
		}
		head.Set("Content-Type", "application/json")
		if method == http.MethodPatch {
			head.Set("Content-Type", "application/merge-patch+json")
		}
	}
	res, err := t.send(ctx, method, path, body, head)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	text, err := readAll(res.Body, "the answer", maxAnswer)
	if err != nil {
		return nil, explain(err, t.server)
	}
	if out != nil {
		if err := json.Unmarshal(text, out); err != nil {
			return nil, fmt.Errorf("read the answer of %s: %w", t.server, err)
		}
	}
	if at, err := time.Parse(time.RFC3339Nano, res.Header.Get(api.AsOfHeader)); err == nil {
		return &at, nil
	}
	return nil, nil
}

func (t *httpTransport) Watch(ctx context.Context, kinds []string, on func(change) error) error {
	last, once := "", false
	wait := &backoff.ExponentialBackOff{InitialInterval: 200 * time.Millisecond, Multiplier: 2, MaxInterval: 5 * time.Second, RandomizationFactor: 0.2}
	for {
		err := t.watchOnce(ctx, kinds, &last, func(c change) error {
			once = true
			wait.Reset()
			return on(c)
		})
		var ours stopped
		switch {
		case errors.As(err, &ours):
			return ours.error
		case ctx.Err() != nil:
			return ctx.Err()
		case !once:
			return err // it never worked: say so instead of trying for ever
		}
		select {
		case <-time.After(wait.NextBackOff()):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// stopped carries the error of the caller's own function.
type stopped struct{ error }

func (t *httpTransport) watchOnce(ctx context.Context, kinds []string, last *string, on func(change) error) error {
	head := http.Header{"Accept": {"text/event-stream"}}
	if *last != "" {
		head.Set("Last-Event-ID", *last)
	}
	res, err := t.send(ctx, http.MethodGet, "/api/v1/watch?kinds="+strings.Join(kinds, ","), nil, head)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	for event, err := range sse.Read(res.Body, &sse.ReadConfig{MaxEventSize: 4 << 20}) {
		if err != nil {
			return explain(err, t.server)
		}
		var c change
		if err := json.Unmarshal([]byte(event.Data), &c); err != nil {
			return fmt.Errorf("read the watch stream of %s: %w", t.server, err)
		}
		*last = event.LastEventID
		if c.Type == "reset" {
			*last = ""
		}
		if err := on(c); err != nil {
			return stopped{err}
		}
	}
	return explain(io.ErrUnexpectedEOF, t.server)
}
