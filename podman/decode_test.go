package podman

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"os"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The files were answered by real services; the two versions must come out as the same container.
func TestRealAnswersOfBothVersions(t *testing.T) {
	for _, version := range []string{"4.3.1", "5.4.2"} {
		t.Run(version, func(t *testing.T) {
			web, err := decodeInspect(read(t, "inspect-"+version+".json"))
			if err != nil {
				t.Fatal(err)
			}
			rows, err := decodeList(read(t, "list-"+version+".json"))
			if err != nil {
				t.Fatal(err)
			}
			if web.Name != "web" || web.State != StateRunning || web.Health != HealthUnhealthy || web.Labels["a"] != "b" || web.PID == 0 ||
				web.Image != "localhost/app:1" || web.StartedAt.IsZero() || !web.FinishedAt.IsZero() || web.Infra {
				t.Errorf("container is %+v", web)
			}
			want := []Port{{"0.0.0.0", 8080, 80, "tcp"}, {"127.0.0.1", 5000, 5000, "udp"}, {"127.0.0.1", 5001, 5001, "udp"}}
			if diff := cmp.Diff(want, web.Ports); diff != "" {
				t.Errorf("ports (-want +got):\n%s", diff)
			}
			states := map[string]State{}
			for _, r := range rows {
				c := r.container()
				states[c.Name] = c.State
				if c.ID == web.ID && (c.Image != web.Image || c.ImageID != web.ImageID || c.PID != web.PID || !c.CreatedAt.Equal(web.CreatedAt)) {
					t.Errorf("list says %+v, inspect %+v", c, web)
				}
				if c.Name == "ey" && c.ExitCode != 7 {
					t.Errorf("exit code is %d, want 7", c.ExitCode)
				}
			}
			if diff := cmp.Diff(map[string]State{"web": StateRunning, "ey": StateExited, "cr": StateCreated}, states); diff != "" {
				t.Errorf("states (-want +got):\n%s", diff)
			}
			usage, err := decodeStats(read(t, "stats-"+version+".json"))
			if u := usage[web.ID]; err != nil || len(usage) != 1 || u.CPUNano == 0 || u.MemUsage == 0 || u.PIDs == 0 {
				t.Errorf("usage is %+v, error %v", usage, err)
			}
		})
	}
}

func TestWords(t *testing.T) {
	for word, want := range map[string]State{
		"configured": StateCreated, "created": StateCreated, "initialized": StateCreated, "running": StateRunning,
		"stopped": StateExited, "exited": StateExited, "paused": StatePaused, "stopping": StateStopping, "removing": StateRemoving,
		"restarting": StateRestarting, "unknown": StateUnknown, "": StateUnknown, "Running": StateUnknown, "flying": StateUnknown,
	} {
		if got := toState(word); got != want {
			t.Errorf("state %q is %q, want %q", word, got, want)
		}
	}
	for word, want := range map[string]Health{"": "", "healthy": HealthHealthy, "unhealthy": HealthUnhealthy, "starting": HealthStarting, "none": "", "x": ""} {
		if got := toHealth(word); got != want {
			t.Errorf("health %q is %q, want %q", word, got, want)
		}
	}
}

func TestClassify(t *testing.T) {
	dial := func(errno syscall.Errno) error {
		return &net.OpError{Op: "dial", Net: "unix", Err: os.NewSyscallError("connect", errno)}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx  context.Context
		err  error
		want error
		down bool
	}{
		"no file":    {t.Context(), dial(syscall.ENOENT), ErrNoSocket, true},
		"refused":    {t.Context(), dial(syscall.ECONNREFUSED), ErrRefused, true},
		"denied":     {t.Context(), dial(syscall.EACCES), ErrDenied, true},
		"backlog":    {t.Context(), dial(syscall.EAGAIN), ErrTimeout, true},
		"deadline":   {t.Context(), context.DeadlineExceeded, context.DeadlineExceeded, true},
		"reset":      {t.Context(), dial(syscall.ECONNRESET), ErrDown, true},
		"not exist":  {t.Context(), fs.ErrNotExist, ErrNoSocket, true},
		"cancelled":  {ended, context.Canceled, context.Canceled, false},
		"bad answer": {t.Context(), ErrBadAnswer, ErrBadAnswer, false},
	} {
		err := classify(c.ctx, "list containers", c.err)
		if !errors.Is(err, c.want) || errors.Is(err, ErrDown) != c.down || !strings.HasPrefix(err.Error(), "list containers: ") {
			t.Errorf("%s: %v (down %v)", name, err, errors.Is(err, ErrDown))
		}
		if c.down && !strings.HasSuffix(err.Error(), "try: "+Hint(err)) {
			t.Errorf("%s: %q does not end with a hint", name, err)
		}
	}
}

func TestMailboxNeverWaits(t *testing.T) {
	m := mailbox{events: make(chan event, 2), overflow: make(chan struct{}, 1)}
	for range 10 {
		m.put(event{id: "a"})
	}
	if len(m.events) != 2 || len(m.overflow) != 1 {
		t.Errorf("10 events in a mailbox for 2: %d inside, %d marks of overflow", len(m.events), len(m.overflow))
	}
}

// A value must survive the JSON in which reports carry it, and be the same value each time it is read.
func sound(t *testing.T, c Container) {
	t.Helper()
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatalf("%+v cannot be written: %v", c, err)
	}
	var back Container
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatalf("%s cannot be read: %v", b, err)
	}
	if again, err := json.Marshal(back); err != nil || string(again) != string(b) {
		t.Fatalf("%s became %s, error %v", b, again, err)
	}
}

func FuzzDecodeInspect(f *testing.F) {
	for _, version := range []string{"4.3.1", "5.4.2"} {
		f.Add(read(f, "inspect-"+version+".json"))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := decodeInspect(body)
		if err != nil {
			if !errors.Is(err, ErrBadAnswer) {
				t.Fatalf("error is %v", err)
			}
			return
		}
		if again, err := decodeInspect(body); err != nil || !reflect.DeepEqual(c, again) {
			t.Fatalf("read twice: %+v, %+v, %v", c, again, err)
		}
		if c.ID == "" || c.ExitCode != 0 && c.State != StateExited {
			t.Fatalf("container is %+v", c)
		}
		sound(t, c)
	})
}

func FuzzDecodeList(f *testing.F) {
	for _, version := range []string{"4.3.1", "5.4.2"} {
		f.Add(read(f, "list-"+version+".json"))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		rows, err := decodeList(body)
		if err != nil && !errors.Is(err, ErrBadAnswer) {
			t.Fatalf("error is %v", err)
		}
		seen := map[string]bool{}
		for _, r := range rows {
			if r.ID == "" || seen[r.ID] {
				t.Fatalf("rows are %+v", rows)
			}
			seen[r.ID] = true
			_ = r.key()
			sound(t, r.container())
		}
	})
}

func FuzzDecodeStats(f *testing.F) {
	for _, version := range []string{"4.3.1", "5.4.2"} {
		f.Add(read(f, "stats-"+version+".json"))
	}
	f.Add([]byte(`{"Error":{},"Stats":null}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		rows, err := decodeStats(body)
		if err != nil && !errors.Is(err, ErrBadAnswer) && !errors.Is(err, ErrRejected) {
			t.Fatalf("error is %v", err)
		}
		for _, r := range rows {
			if _, err := json.Marshal(r.since(usageRow{}, 1)); err != nil {
				t.Fatal(err)
			}
			if u := r.since(r, 1); u.CPUPercent != 0 || u.PIDs < 0 {
				t.Fatalf("an idle container is measured as %+v", u)
			}
		}
	})
}

func FuzzReadEvents(f *testing.F) {
	f.Add(string(read(f, "events-4.3.1.jsonl")))
	f.Add(string(read(f, "events-5.4.2.jsonl")))
	f.Fuzz(func(t *testing.T, stream string) {
		n := 0
		err := readEvents(strings.NewReader(stream), func(ev event) {
			if n++; ev.id == "" {
				t.Fatal("an event about no container")
			}
		})
		if !errors.Is(err, errStreamEnded) {
			t.Fatalf("error is %v", err)
		}
		if n > strings.Count(stream, "\n")+1 {
			t.Fatalf("%d events in %q", n, stream)
		}
	})
}
