package podman

import (
	"context"
	"net"
	"net/http"
	"net/url"

	"github.com/containers/podman/v5/pkg/bindings"
)

// connect builds the bindings' connection by hand instead of calling bindings.NewConnection, which
// would dial at once (a node must start without Podman), read CONTAINER_HOST, and keep no bound on
// idle connections.
func connect(socket string) (*bindings.Connection, *http.Transport) {
	base := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
		DisableCompression:  true,
		MaxIdleConnsPerHost: 2,
		// A socket's peer is this machine; 4 KiB are enough for what is asked and answered.
		WriteBufferSize: 1 << 10,
		ReadBufferSize:  4 << 10,
	}
	return &bindings.Connection{
		URI:    &url.URL{Scheme: "unix", Path: socket},
		Client: &http.Client{Transport: patient{base}},
	}, base
}

// patient hands a failed round trip to DoRequest as if it were an answer. DoRequest would else try
// any failure three times and sleep 600 ms in all without looking at the context, which is most of
// the second within which a dead Podman must be known.
type patient struct{ base http.RoundTripper }

func (p patient) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := p.base.RoundTrip(req)
	if err != nil {
		return &http.Response{Request: req, Header: http.Header{}, Body: failure{err}}, nil
	}
	return resp, nil
}

// failure is the body of an answer that never came.
type failure struct{ err error }

func (f failure) Read([]byte) (int, error) { return 0, f.err }
func (f failure) Close() error             { return nil }
