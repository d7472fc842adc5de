//go:build lab

package readiness

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"piccolo.io/piccolo/topology"
)

// askPodman asks Podman's socket for its version, as the node's wiring does
// through its own client.
func askPodman(socket string) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://podman/v4.0.0/libpod/version", nil)
		if err != nil {
			return "", err
		}
		res, err := transport.RoundTrip(req)
		if err != nil {
			return "", err
		}
		defer res.Body.Close()
		var body struct{ Version string }
		err = json.NewDecoder(res.Body).Decode(&body)
		return body.Version, err
	}
}

// TestRealPodman: a real service that answers, hangs, goes on and is killed.
func TestRealPodman(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "podman.sock")
	service := exec.CommandContext(t.Context(), "podman", "--storage-driver", "vfs", "--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"),
		"system", "service", "--time=0", "unix://"+socket)
	if err := service.Start(); err != nil {
		t.Fatalf("start Podman's service (apt-get install -y podman): %v", err)
	}
	defer func() {
		service.Process.Kill()
		service.Wait()
	}()
	for deadline := time.Now().Add(20 * time.Second); ; <-time.After(10 * time.Millisecond) {
		if conn, err := net.Dial("unix", socket); err == nil {
			conn.Close()
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("Podman's socket does not come: %v", err)
		}
	}
	c, err := New(Options{DataDir: dir, PodmanVersion: askPodman(socket)})
	if err != nil {
		t.Fatal(err)
	}
	signal := func(s os.Signal) {
		if err := service.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, c, GateRunning, "podman", SeverityOK, "answers", "")
	signal(syscall.SIGSTOP)
	standing := Conditions(nil, expect(t, c, GateRunning, "podman", SeverityError, "hangs", topology.ReasonPodmanDown))
	signal(syscall.SIGCONT)
	if standing = Conditions(standing, expect(t, c, GateRunning, "podman", SeverityOK, "answers", "")); standing.Has(topology.ReasonPodmanDown) {
		t.Errorf("after it went on: %s", standing)
	}
	signal(syscall.SIGKILL)
	service.Wait()
	expect(t, c, GateRunning, "podman", SeverityError, "does not answer", topology.ReasonPodmanDown)
}
