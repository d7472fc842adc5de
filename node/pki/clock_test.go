package pki

import (
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

var (
	year1970 = time.Unix(0, 0)
	year2099 = time.Date(2099, time.January, 1, 0, 0, 0, 0, time.UTC)
	built    = time.Date(2027, time.March, 1, 12, 0, 0, 0, time.UTC)
)

func TestClockNeverBeforeWhatIsProven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wall := year1970
		c, err := NewClock(ClockOptions{Build: built, Wall: func() time.Time { return wall }})
		if err != nil {
			t.Fatal(err)
		}
		expect := func(want time.Time, trusted bool) {
			t.Helper()
			if got := c.Now(); !got.Equal(want) {
				t.Errorf("Now is %s, want %s", got, want)
			}
			if c.Trusted() != trusted {
				t.Errorf("Trusted is %v at %s", !trusted, wall)
			}
		}
		expect(built, false)
		time.Sleep(time.Hour)
		expect(built.Add(time.Hour), false)
		c.Raise(built.AddDate(0, 1, 0))
		expect(built.AddDate(0, 1, 0), false)
		c.Raise(built)
		expect(built.AddDate(0, 1, 0), false)
		wall = built.AddDate(1, 0, 0)
		expect(wall, true)
		wall = year2099
		expect(year2099, false)
		wall = year1970
		expect(built.AddDate(0, 1, 0), false)
	})
}

func TestClockTakesHintsForwardsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wall := year1970
		c, err := NewClock(ClockOptions{Build: built, Wall: func() time.Time { return wall }})
		if err != nil {
			t.Fatal(err)
		}
		master := &x509.Certificate{NotBefore: built.AddDate(0, 0, 1), NotAfter: built.AddDate(0, 0, 91)}
		var ce *ClockError
		for _, lie := range []time.Time{year1970, built, year2099} {
			if err := c.Observe(lie, master); !errors.Is(err, ErrClock) || !errors.As(err, &ce) {
				t.Errorf("a hint of %s: %v", lie, err)
			}
		}
		if !c.Now().Equal(built) {
			t.Errorf("a refused hint moved the clock to %s", c.Now())
		}
		hint := built.AddDate(0, 0, 40)
		if err := c.Observe(hint, master); err != nil {
			t.Fatal(err)
		}
		if err := c.Observe(hint.AddDate(0, 0, -20), master); err != nil {
			t.Fatal(err)
		}
		if !c.Now().Equal(hint) {
			t.Errorf("Now is %s, want %s", c.Now(), hint)
		}
		if err := c.Observe(hint, master); err != nil {
			t.Fatal(err)
		}
		wall = hint.Add(-time.Minute)
		if !c.Trusted() || c.Skew() != -time.Minute {
			t.Errorf("a minute behind: trusted %v, skew %v", c.Trusted(), c.Skew())
		}
		wall = hint.Add(time.Hour)
		if c.Trusted() || c.Skew() != time.Hour {
			t.Errorf("an hour ahead: trusted %v, skew %v", c.Trusted(), c.Skew())
		}
	})
}

func TestClockKeepsOnlyWhatIsProven(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clock")
	wall := built.AddDate(0, 0, 10)
	open := func() *Clock {
		t.Helper()
		c, err := NewClock(ClockOptions{Build: built, Path: path, Wall: func() time.Time { return wall }})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	master := &x509.Certificate{NotBefore: built, NotAfter: built.AddDate(0, 0, 90)}
	c := open()
	if err := c.Save(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Fatal("the machine's clock alone was written down")
	}
	// A lying master, with whom this clock does not agree.
	if err := c.Observe(built.AddDate(0, 0, 89), master); err != nil {
		t.Fatal(err)
	}
	if err := c.Save(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Fatal("one master's hint alone was written down")
	}
	c = open()
	if err := c.Observe(wall, master); err != nil {
		t.Fatal(err)
	}
	if err := c.Save(); err != nil {
		t.Fatal(err)
	}
	seen := wall
	wall = year1970
	c = open()
	if d := c.Now().Sub(seen); d < 0 || d > time.Minute {
		t.Fatalf("after a reboot in 1970 it is %s, want %s", c.Now(), seen)
	}
	before := readFile(t, path)
	if err := c.Save(); err != nil || string(readFile(t, path)) != string(before) {
		t.Fatalf("nothing new was written: %v", err)
	}
	if err := c.Forget(); err != nil {
		t.Fatal(err)
	}
	if err := c.Forget(); err != nil {
		t.Fatal(err)
	}
}

func TestClockIgnoresDamagedFile(t *testing.T) {
	for name, content := range map[string]string{
		"empty": "", "text": "yesterday", "huge": strings.Repeat("2", 1<<20), "2099": stamp(year2099), "zeros": "\x00\x00\x00\x00",
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "clock")
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			c, err := NewClock(ClockOptions{Build: built, Path: path, Wall: wallAt(built)})
			if err != nil {
				t.Fatal(err)
			}
			if c.Now().After(built.Add(time.Minute)) {
				t.Errorf("Now is %s", c.Now())
			}
		})
	}
	if _, err := NewClock(ClockOptions{Path: t.TempDir()}); err == nil {
		t.Error("a folder instead of the file was accepted")
	}
}

func TestClockProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		wall := built
		c, err := NewClock(ClockOptions{Build: built, Wall: func() time.Time { return wall }})
		if err != nil {
			rt.Fatal(err)
		}
		floor := built
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			at := built.Add(time.Duration(rapid.Int64Range(-1e18, 1e18).Draw(rt, "at")))
			switch rapid.IntRange(0, 2).Draw(rt, "what") {
			case 0:
				wall = at
			case 1:
				c.Raise(at)
				if at.After(floor) {
					floor = at
				}
			case 2:
				end := at.Add(time.Hour)
				if err := c.Observe(at, &x509.Certificate{NotBefore: at, NotAfter: end}); err != nil {
					rt.Fatal(err)
				}
				if at.After(floor) {
					floor = at
				}
			}
			if now := c.Now(); now.Before(floor) || now.Before(wall) {
				rt.Fatalf("Now %s is before the floor %s or the wall %s", now, floor, wall)
			}
		}
	})
}
