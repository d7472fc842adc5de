package main

import (
	"bytes"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeDevice is a board's cable in memory.
type fakeDevice struct {
	sent     chan []byte
	received chan []byte
	carrier  bool
}

func (d *fakeDevice) Read(b []byte) (int, error) {
	frame, ok := <-d.sent
	if !ok {
		return 0, io.EOF
	}
	return copy(b, frame), nil
}

func (d *fakeDevice) Write(b []byte) (int, error) {
	d.received <- bytes.Clone(b)
	return len(b), nil
}

func (d *fakeDevice) Close() error             { close(d.sent); return nil }
func (d *fakeDevice) SetCarrier(up bool) error { d.carrier = up; return nil }

func frame(to, from byte, payload byte) []byte {
	f := make([]byte, 15)
	f[0], f[1], f[7], f[14] = to&1, to, from, payload
	return f
}

const broadcast = 255

// bench is a switch with boards a, b and c, whose addresses end in 10, 20 and 30 and are learned.
func bench(t *testing.T) (*ethSwitch, map[string]*fakeDevice) {
	s := newSwitch(slog.New(slog.DiscardHandler))
	t.Cleanup(s.close)
	devices := map[string]*fakeDevice{}
	for _, name := range []string{"a", "b", "c"} {
		devices[name] = &fakeDevice{sent: make(chan []byte), received: make(chan []byte, 64)}
		if err := s.connect(name, devices[name]); err != nil {
			t.Fatal(err)
		}
	}
	for i, name := range []string{"a", "b", "c"} {
		devices[name].sent <- frame(broadcast, byte(10*(i+1)), 0)
	}
	synctest.Wait()
	for _, d := range devices {
		for range len(d.received) {
			<-d.received
		}
	}
	return s, devices
}

func withFaults(t *testing.T, s *ethSwitch, text string) {
	t.Helper()
	f, err := parseFaults(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	s.setFaults(f)
}

func TestForwarding(t *testing.T) {
	for _, test := range []struct {
		name, faults, unplugged string
		to                      byte
		wantB, wantC            int
	}{
		{name: "to one", to: 20, wantB: 1},
		{name: "to all", to: broadcast, wantB: 1, wantC: 1},
		{name: "to a stranger", to: 40, wantB: 1, wantC: 1},
		{name: "to itself", to: 10},
		{name: "cut", faults: "cut a b", to: broadcast, wantC: 1},
		{name: "cut the other way", faults: "cut b a", to: 20, wantB: 1},
		{name: "all of it lost", faults: "loss b 100", to: broadcast, wantC: 1},
		{name: "receiver unplugged", unplugged: "b", to: broadcast, wantC: 1},
		{name: "sender unplugged", unplugged: "a", to: broadcast},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, devices := bench(t)
				withFaults(t, s, test.faults)
				if test.unplugged != "" {
					if err := s.setCable(test.unplugged, false); err != nil {
						t.Fatal(err)
					}
				}
				devices["a"].sent <- frame(test.to, 10, 1)
				synctest.Wait()
				if b, c := len(devices["b"].received), len(devices["c"].received); b != test.wantB || c != test.wantC {
					t.Errorf("b got %d frames and c %d, want %d and %d", b, c, test.wantB, test.wantC)
				}
			})
		})
	}
}

func TestDelayKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, devices := bench(t)
		withFaults(t, s, "delay a 40 30\ndelay b 10 0")
		start := time.Now()
		for i := range 20 {
			devices["a"].sent <- frame(20, 10, byte(i))
		}
		withFaults(t, s, "")
		devices["a"].sent <- frame(20, 10, 20)
		for i := range 21 {
			got := <-devices["b"].received
			if got[14] != byte(i) {
				t.Fatalf("frame %d arrives when %d is due", got[14], i)
			}
			if late := time.Since(start); late < 50*time.Millisecond || late > 80*time.Millisecond {
				t.Errorf("frame %d is %v late, want 50 to 80 ms", i, late)
			}
		}
	})
}

func TestLossShare(t *testing.T) {
	f, err := parseFaults(strings.NewReader("loss a 30\nloss b 10"))
	if err != nil {
		t.Fatal(err)
	}
	const frames = 20000
	lost := 0
	for range frames {
		if gone, _ := f.meet("a", "b"); gone {
			lost++
		}
	}
	// Two independent losses: 1 - 0.7*0.9. Ten standard deviations are 3.4 %.
	if share := float64(lost) / frames; share < 0.336 || share > 0.404 {
		t.Errorf("%.3f of the frames are lost, want 0.37", share)
	}
}

func TestParseFaultsRefuses(t *testing.T) {
	for _, line := range []string{"cut a", "loss a", "loss a -1", "loss a 101", "loss a NaN", "delay a 1", "delay a 1.5 0", "delay a -1 0", "fire a"} {
		if _, err := parseFaults(strings.NewReader(line)); err == nil || !strings.Contains(err.Error(), "line 1") {
			t.Errorf("parseFaults(%q) = %v, want an error that names line 1", line, err)
		}
	}
}
