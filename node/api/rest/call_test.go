package rest_test

import (
	"errors"
	"io"
	"net/http"
	"os"
	"testing"
	"time"

	"piccolo.io/piccolo/node/api/rest"
	"piccolo.io/piccolo/node/api/rest/resttest"
)

// TestSilentCall: a gRPC call whose message never comes ends, and Attach,
// which stays open, does not.
func TestSilentCall(t *testing.T) {
	c := resttest.New(t, true)
	read := make(chan error, 2)
	grpc := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		_, err := io.ReadAll(r.Body)
		read <- err
	})
	s, err := rest.New(rest.Options{Handler: c.Handler(t, nil), GRPC: grpc, Listen: "127.0.0.1:0", TLS: c.ServerTLS})
	must(t, err)
	s.SetCallTimeout(100 * time.Millisecond)
	run(t, s)
	transport := &http.Transport{TLSClientConfig: c.ClientTLS(t, c.Sub), ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	silent := func(method string) (say func()) {
		body, message := io.Pipe()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+s.Addr().String()+"/piccolo.v1.NodeAgentService/"+method, body)
		must(t, err)
		r.Header.Set("Content-Type", "application/grpc")
		answered := make(chan struct{})
		go func() {
			defer close(answered)
			if res, err := transport.RoundTrip(r); err == nil {
				_ = res.Body.Close()
			}
		}()
		return func() { _ = message.Close(); <-answered }
	}
	outcome := func(what string) error {
		select {
		case err := <-read:
			return err
		case <-time.After(patience):
			t.Fatalf("%s: the call is still open", what)
			return nil
		}
	}
	attached := silent("Attach")
	registered := silent("RegisterNode")
	if err := outcome("RegisterNode"); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the call ended with %v", err)
	}
	registered()
	attached()
	if err := outcome("Attach"); err != nil {
		t.Errorf("the stream ended with %v", err)
	}
}
