package podman_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"piccolo.io/piccolo/podman"
	"piccolo.io/piccolo/podman/podmantest"
)

func engine(t testing.TB, socket string, limits podman.Timeouts) *podman.Engine {
	t.Helper()
	e, err := podman.New(podman.Options{Socket: socket, Timeouts: limits})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

func TestNewRefusesBadOptions(t *testing.T) {
	for field, o := range map[string]podman.Options{
		"Socket is empty":             {},
		`Socket "run/podman.sock"`:    {Socket: "run/podman.sock"},
		"the kernel takes at most":    {Socket: "/" + strings.Repeat("x", 200)},
		"Timeouts.Ping is negative":   {Socket: "/s", Timeouts: podman.Timeouts{Ping: -1}},
		"Timeouts.Resync is negative": {Socket: "/s", Timeouts: podman.Timeouts{Resync: -time.Second}},
	} {
		if _, err := podman.New(o); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%+v: error %v, want one with %q", o, err, field)
		}
	}
}

// serve listens on a unix socket and answers with h.
func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	socket := filepath.Join(shortDir(t), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: h}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return socket
}

func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pod")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func podmanHeader(version string, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Libpod-API-Version", version)
		h(w, r)
	}
}

func TestUnusablePodman(t *testing.T) {
	dir := shortDir(t)
	dead := filepath.Join(dir, "dead")
	l, err := net.Listen("unix", dead)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	notHTTP := filepath.Join(dir, "ssh")
	ssh, err := net.Listen("unix", notHTTP)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ssh.Close() })
	go func() {
		for {
			c, err := ssh.Accept()
			if err != nil {
				return
			}
			// It speaks only when spoken to; else the question would sometimes end in a reset.
			_, _ = c.Read(make([]byte, 4096))
			_, _ = c.Write([]byte("SSH-2.0-OpenSSH_9.2\r\n"))
			c.Close()
		}
	}()
	ok := func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("OK")) }
	for name, c := range map[string]struct {
		socket string
		want   error
		says   []string
	}{
		"missing":    {filepath.Join(dir, "none"), podman.ErrNoSocket, []string{"systemctl enable --now podman.socket"}},
		"dead":       {dead, podman.ErrRefused, []string{"systemctl enable --now podman.socket"}},
		"old":        {serve(t, podmanHeader("3.4.4", ok)), podman.ErrTooOld, []string{"3.4.4", "4.0"}},
		"no version": {serve(t, podmanHeader("banana", ok)), podman.ErrNotPodman, []string{"banana"}},
		"docker": {serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Server", "Docker/27.1 (linux)")
			http.NotFound(w, r)
		}), podman.ErrNotPodman, []string{"Docker/27.1", "--podman-socket"}},
		"not HTTP": {notHTTP, podman.ErrNotPodman, nil},
		"hanging": {serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }),
			podman.ErrTimeout, []string{"systemctl restart podman.service"}},
		"slow body": {serve(t, podmanHeader("5.0.0", func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte("["))
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		})), podman.ErrTimeout, nil},
	} {
		t.Run(name, func(t *testing.T) {
			e := engine(t, c.socket, podman.Timeouts{Call: 300 * time.Millisecond, Ping: 300 * time.Millisecond})
			_, err := e.List(t.Context())
			if !errors.Is(err, c.want) || !errors.Is(err, podman.ErrDown) {
				t.Fatalf("error is %v, want %v", err, c.want)
			}
			for _, says := range append(c.says, c.socket, "list containers") {
				if !strings.Contains(err.Error(), says) {
					t.Errorf("the error %q does not say %q", err, says)
				}
			}
			if podman.Hint(err) == "" {
				t.Errorf("no hint for %v", err)
			}
			s, _ := podmantest.Watch(t, e).Until(t, "Podman to be down", func(s podman.Snapshot) bool { return !s.Up })
			if !errors.Is(s.Err, c.want) {
				t.Errorf("Watch says %v, want %v", s.Err, c.want)
			}
		})
	}
}

func TestBadAnswers(t *testing.T) {
	for name, body := range map[string]string{
		"not JSON": "<html>", "wrong shape": `{"a":1}`, "cut short": `[{"Id":"a"`, "huge": "[" + strings.Repeat(" ", 17<<20) + "]",
	} {
		t.Run(name, func(t *testing.T) {
			e := engine(t, serve(t, podmanHeader("5.0.0", func(w http.ResponseWriter, _ *http.Request) {
				_, _ = w.Write([]byte(body))
			})), podman.Timeouts{})
			if _, err := e.List(t.Context()); !errors.Is(err, podman.ErrBadAnswer) || errors.Is(err, podman.ErrDown) {
				t.Errorf("error is %v, want ErrBadAnswer", err)
			}
		})
	}
}

func TestCallersContextIsNotPodmansFault(t *testing.T) {
	f := podmantest.NewFake(t, "")
	f.Hang(podmantest.OpList)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	_, err := engine(t, f.Socket(), podman.Timeouts{}).List(ctx)
	if !errors.Is(err, context.Canceled) || errors.Is(err, podman.ErrDown) {
		t.Errorf("error is %v, want context.Canceled", err)
	}
}

func TestListSurvivesABrokenContainer(t *testing.T) {
	f := podmantest.NewFake(t, "")
	id := f.Run(t, podmantest.Spec{Name: "web"})
	f.Fail(podmantest.OpInspect, errors.New("layer not known"))
	e := engine(t, f.Socket(), podman.Timeouts{})
	all, err := e.List(t.Context())
	if err != nil || len(all) != 1 || all[0].ID != id || all[0].State != podman.StateRunning || all[0].Name != "web" {
		t.Errorf("list is %+v, error %v", all, err)
	}
	if _, err := e.Inspect(t.Context(), id); !errors.Is(err, podman.ErrRejected) || !strings.Contains(err.Error(), "layer not known") {
		t.Errorf("inspect: %v, want ErrRejected with Podman's words", err)
	}
}

func TestStatsMeasuresNow(t *testing.T) {
	f := podmantest.NewFake(t, "")
	id := f.Run(t, podmantest.Spec{Name: "busy"})
	f.Use(podman.Usage{ID: id, CPUPercent: 150, MemoryBytes: 7 << 20, MemoryLimit: 9 << 20, PIDs: 3})
	got, err := engine(t, f.Socket(), podman.Timeouts{}).Stats(t.Context(), "busy")
	if err != nil || len(got) != 1 {
		t.Fatalf("stats are %+v, error %v", got, err)
	}
	u := got[0]
	if u.CPUPercent < 75 || u.CPUPercent > 300 || u.MemoryBytes != 7<<20 || u.MemoryLimit != 9<<20 || u.PIDs != 3 || u.ID != id {
		t.Errorf("a container with 150 %% CPU and 7 of 9 MiB is measured as %+v", u)
	}
}
