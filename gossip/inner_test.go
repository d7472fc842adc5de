package gossip

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// Linger is how long after Run a probe of memberlist's may sleep on: memberlist stretches it by its health score plus
// one, and the score stays below maxAwareness.
func Linger(p Profile) time.Duration { return maxAwareness * p.tuning().probe }

// Doubts reports whether the node takes itself for stalled.
func (m *Mesh) Doubts() bool { return m.witness.doubts() }

func TestLibraryLog(t *testing.T) {
	for line, want := range map[string]struct {
		level slog.Level
		text  string
	}{
		"[WARN] memberlist: Refuting a dead message\n": {slog.LevelWarn, "gossip: Refuting a dead message"},
		"[ERR] memberlist: oops [x] y\n":               {slog.LevelWarn, "gossip: oops [x] y"},
		"[INFO] memberlist: Suspect a\n":               {slog.LevelDebug, "gossip: Suspect a"},
		"[DEBUG] memberlist: b":                        {slog.LevelDebug, "gossip: b"},
		"Err: no level":                                {slog.LevelDebug, "gossip: Err: no level"},
		"[":                                            {slog.LevelDebug, "gossip: ["},
	} {
		if level, text := parseLine([]byte(line)); level != want.level || text != want.text {
			t.Errorf("%q: %v %q", line, level, text)
		}
	}
	var out bytes.Buffer
	l := newLibraryLog(slog.New(slog.NewTextHandler(&out, nil)))
	for i := range 1000 {
		l.Printf("[ERR] memberlist: Decrypt packet failed %d", i)
		l.Printf("[DEBUG] memberlist: noise")
	}
	if got := strings.Count(out.String(), "\n"); got < warnBurst || got > 2*warnBurst {
		t.Errorf("%d lines of 1000 warnings", got)
	}
}

func TestLossThatWasAGoodbye(t *testing.T) {
	v := newView("me")
	f := &follower{ready: make(chan struct{}, 1), held: map[slot]Event{}}
	v.follow(f)
	raw, err := Meta{Instance: "1"}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	next := func(want Kind) {
		t.Helper()
		if e, ok := f.take(); !ok || e.Kind != want {
			t.Fatalf("got %v (%v), want %v", e.Kind, ok, want)
		}
	}
	at := Options{}.Bind
	v.alive("a", at, raw)
	next(Joined)
	if v.goodbye("a", "another process") || !v.goodbye("a", "1") || v.goodbye("a", "1") {
		t.Error("a goodbye is news once, and only from the instance that is there")
	}
	v.gone("a")
	next(Departed)
	v.alive("b", at, raw)
	next(Joined)
	v.gone("b")
	next(Died)
	v.goodbye("b", "1")
	next(Departed)
	if got := v.departed(); len(got) != 2 {
		t.Errorf("%d goodbyes are remembered", len(got))
	}
	v.alive("b", at, []byte("not a meta"))
	next(Joined)
	v.close()
	v.gone("b")
	if _, ok := f.take(); ok {
		t.Error("a closed view still tells")
	}
}

func TestViewIsBounded(t *testing.T) {
	v := newView("me")
	f := &follower{ready: make(chan struct{}, 1), held: map[slot]Event{}}
	v.follow(f)
	for i := range 3 * maxGone {
		id := fmt.Sprintf("n-%d", i)
		v.alive(id, Options{}.Bind, nil)
		v.gone(id)
	}
	for range 1000 {
		v.alive("n-1", Options{}.Bind, nil)
		v.gone("n-1")
	}
	if got := len(v.list()); got > maxGone {
		t.Errorf("%d members are remembered", got)
	}
	if got := len(f.order); got != 3*maxGone {
		t.Errorf("%d events wait for %d nodes", got, 3*maxGone)
	}
}

func TestProfilesAreSound(t *testing.T) {
	for _, p := range []Profile{ProfileLAN, ProfileWiFi, ProfileWAN} {
		tune := p.tuning()
		if tune.timeout >= tune.probe || tune.gossip >= tune.probe || tune.suspicion < 2 || tune.suspicionTo < 1 || tune.gossip >= leaveLimit || tune.silence < 3*tune.beat || tune.reach < 300*time.Millisecond {
			t.Errorf("%s: %+v", p, tune)
		}
	}
}

func FuzzDecodeNote(f *testing.F) {
	f.Add(encodeNote([]farewell{{"n-1", "0123456789abcdef"}}))
	f.Add([]byte(`{"bye":[{"n":1}]}`))
	f.Add([]byte(`{"later":true}`))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if got := decodeNote(b); len(got) > maxFarewells {
			t.Fatalf("%d goodbyes", len(got))
		}
	})
}
