package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/podman/podmantest"
	"piccolo.io/piccolo/topology"
)

// logbook keeps what an agent logs.
type logbook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// lines that hold a text.
func (l *logbook) lines(text string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(strings.Split(l.b.String(), "\n"), func(s string) bool { return !strings.Contains(s, text) })
}

// dialled waits for so many more attempts to reach a master.
func (b *board) dialled(more int) {
	b.t.Helper()
	from := 0
	b.master.edit(func(m *fakeMaster) { from = len(m.dials) })
	eventually(b.t, "further attempts", func() (problem string) {
		b.Retry()
		b.master.edit(func(m *fakeMaster) {
			if len(m.dials) < from+more {
				problem = fmt.Sprintf("%d of %d", len(m.dials)-from, more)
			}
		})
		return problem
	})
}

// TestOutcomesAreSaid: the first one, each of another kind, and none twice
// because a port or a time differs.
func TestOutcomesAreSaid(t *testing.T) {
	t.Parallel()
	log := &logbook{}
	b := newBoard(t, func(o *Options) { o.Logger = slog.New(slog.NewTextHandler(log, nil)) })
	b.master.down = errRefusedDial
	port := 0
	connect := b.o.Connect
	b.o.Connect = func(ctx context.Context, address string) (Uplink, string, error) {
		link, own, err := connect(ctx, address)
		if err != nil {
			port++
			err = fmt.Errorf("dial from port %d: %w", port, err)
		}
		return link, own, err
	}
	b.start()
	b.dialled(5)
	if got := log.lines("agent is"); len(got) != 1 || !strings.Contains(got[0], "level=WARN msg=\"agent is Offline\"") || !strings.Contains(got[0], "connection refused") {
		t.Errorf("after one kind of outcome: %q", got)
	}
	b.master.edit(func(m *fakeMaster) { m.down = errors.New("no route to host") })
	b.dialled(5)
	if got := log.lines("agent is"); len(got) != 2 || !strings.Contains(got[1], "still Offline") || !strings.Contains(got[1], "no route") {
		t.Errorf("after another kind: %q", got)
	}
	for i := range 3 * maxTold { // a peer that says something new each time
		b.master.edit(func(m *fakeMaster) { m.down = errors.New("because " + strings.Repeat("x", i)) })
		b.dialled(2)
	}
	if got := log.lines("agent is"); len(got) != maxTold {
		t.Errorf("%d lines, at most %d are told: %q", len(got), maxTold, got)
	}
	b.master.edit(func(m *fakeMaster) { m.down = nil })
	b.Retry()
	b.waitMode(ModeOnline)
}

// TestRefusedIdentityIsAnError, with what to do, once.
func TestRefusedIdentityIsAnError(t *testing.T) {
	t.Parallel()
	log := &logbook{}
	b := newBoard(t, func(o *Options) { o.Logger = slog.New(slog.NewTextHandler(log, nil)) })
	b.master.refuses = fmt.Errorf("refuse node kitchen: %w", topology.ErrIdentityInUse)
	b.start()
	b.dialled(4)
	if got := log.lines("level=ERROR"); len(got) != 1 || !strings.Contains(got[0], "in use by another machine") || !strings.Contains(got[0], "piccolo reset") {
		t.Errorf("%q", got)
	}
}

// TestEvents: what happens to the node itself is told on the spot.
func TestEvents(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var told []string
	b := newBoard(t, func(o *Options) {
		o.OnEvent = func(kind, message string) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, kind+" "+message)
		}
	})
	wait := func(text string) {
		t.Helper()
		eventually(t, text, func() string {
			mu.Lock()
			defer mu.Unlock()
			if !slices.ContainsFunc(told, func(s string) bool { return strings.HasPrefix(s, text) }) {
				return strings.Join(told, "\n")
			}
			return ""
		})
	}
	b.online()
	wait("Mode Online: attached to 10.0.0.1:7443")
	b.podman.Service(t, podmantest.ServiceKill)
	wait("Podman does not answer: ")
	b.podman.Service(t, podmantest.ServiceStart)
	wait("Podman answers again")
	b.master.edit(func(m *fakeMaster) { m.down = errRefusedDial; m.cut(errors.New("connection reset by peer")) })
	wait("Mode Offline: session with master 10.0.0.1:7443: connection reset by peer")
	b.master.edit(func(m *fakeMaster) { m.down, m.refuses = nil, topology.ErrRemoved })
	b.Retry()
	wait("Mode Removed: ")
}

// TestAsOf is the masters' last word, not the moment in which their silence is
// noticed.
func TestAsOf(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	at := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	pass := func(d time.Duration) time.Time {
		mu.Lock()
		defer mu.Unlock()
		at = at.Add(d)
		return at
	}
	b := newBoard(t, func(o *Options) { o.Now = func() time.Time { return pass(0) } })
	stop := b.online()
	hang := make(chan struct{})
	defer close(hang)
	later := pass(time.Minute)
	b.master.tell(workload.Notice{PlanRevision: 3})
	eventually(t, "its word counts", func() string {
		if got := b.View().AsOf; !got.Equal(later) {
			return got.String()
		}
		return ""
	})
	b.master.edit(func(m *fakeMaster) { m.hang, m.down = hang, errRefusedDial })
	pass(time.Minute)
	b.Doubt()
	b.waitMode(ModeOffline)
	if got := b.View().AsOf; !got.Equal(later) {
		t.Errorf("as of %s, and the last word was at %s", got, later)
	}
	stop()
	again, err := New(b.o)
	if err != nil || !again.View().AsOf.Equal(later) {
		t.Errorf("kept as of %s, %v; the last word was at %s", again.View().AsOf, err, later)
	}
}

// TestDoubtDoesNotQueue: a sign of life that is on its way already, with all
// its time, does not hold up the question whether the master lives.
func TestDoubtDoesNotQueue(t *testing.T) {
	t.Parallel()
	b := newBoard(t, nil)
	b.online()
	hang := make(chan struct{})
	defer close(hang)
	beats := func(want int) {
		t.Helper()
		eventually(t, "signs of life", func() (problem string) {
			b.master.edit(func(m *fakeMaster) {
				if len(m.beats) < want {
					problem = fmt.Sprintf("%d, not %d", len(m.beats), want)
				}
			})
			return problem
		})
	}
	b.master.edit(func(m *fakeMaster) { m.hang, m.beats, m.down = hang, nil, errRefusedDial })
	trigger(b.wake.interval) // the regular one
	beats(1)
	b.Doubt()
	beats(2)
	b.waitMode(ModeOffline)
}

func TestTenths(t *testing.T) {
	t.Parallel()
	for in, want := range map[float64]float64{91.00502512562836: 91, 0.05: 0.1, 0: 0, 12.34: 12.3} {
		if got := tenths(in); got != want {
			t.Errorf("%v: %v, want %v", in, got, want)
		}
	}
}
