package pki

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	// plausibleSpan bounds how far after its build a binary is believed to
	// run. A clock beyond it is wrong.
	plausibleSpan = 30 * 365 * 24 * time.Hour
	// clockTolerance is the difference up to which this machine's clock and a
	// master's count as the same time.
	clockTolerance = 5 * time.Minute
	// maxClockFile bounds the file of the last time seen, in bytes.
	maxClockFile = 64
)

// oldestBuild stands for the build time of a binary that does not carry one.
var oldestBuild = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

// ClockOptions says what a Clock knows at its start.
type ClockOptions struct {
	// Build is when the binary was built. Zero means the start of 2026, before
	// which Piccolo did not exist.
	Build time.Time
	// Path is the file with the last time seen. Empty: nothing is kept.
	Path string
	// Wall reads the machine's clock; default time.Now.
	Wall func() time.Time
}

// Clock tells a time that is never earlier than what is proven to have passed:
// the build, the issue of a certificate, the last time seen before the reboot,
// the master's time in this run. Boards without a clock battery start in 1970
// and must still be able to check certificates. It is safe for concurrent use
// and writes to disk only when Save is called.
type Clock struct {
	build time.Time
	path  string
	wall  func() time.Time

	mu sync.Mutex
	// floor was proven to have passed when the monotonic clock stood at
	// floorAt; it goes on from there with the monotonic clock.
	floor, floorAt time.Time
	// proven is what is worth keeping on disk: a time that a certificate
	// proves, or on which this clock and a master agree.
	proven time.Time
	saved  time.Time
	// hint is the master's time when the monotonic clock stood at hintAt.
	hint, hintAt time.Time
}

// NewClock reads the last time seen, if there is one. A damaged or implausible
// file is ignored, because it can only ever help; an unreadable one is an error.
func NewClock(o ClockOptions) (*Clock, error) {
	if o.Build.IsZero() || o.Build.Before(oldestBuild) {
		o.Build = oldestBuild
	}
	if o.Wall == nil {
		o.Wall = time.Now
	}
	c := &Clock{build: o.Build.Round(0), path: o.Path, wall: o.Wall, saved: o.Build.Round(0)}
	c.Raise(c.build)
	if o.Path == "" {
		return c, nil
	}
	seen, err := readClockFile(o.Path)
	if err != nil {
		return nil, fmt.Errorf("read last time seen: %w", err)
	}
	if seen.Before(c.build.Add(plausibleSpan)) {
		c.Raise(seen)
		c.saved = c.proven
	}
	return c, nil
}

// readClockFile returns the zero time for a missing or damaged file.
func readClockFile(path string) (time.Time, error) {
	b, err := readBounded(path, maxClockFile)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errTooLarge) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, err
	}
	t, err := time.Parse(time.RFC3339, strings.TrimSpace(string(b)))
	if err != nil {
		return time.Time{}, nil
	}
	return t, nil
}

// Now is the machine's clock, or the proven floor where the clock is behind it.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now()
}

func (c *Clock) now() time.Time {
	wall := c.wall().Round(0)
	if f := c.floorNow(); wall.Before(f) {
		return f
	}
	return wall
}

// floorNow lets the floor go on with the monotonic clock, so that time passes
// on a board whose own clock stands decades behind.
func (c *Clock) floorNow() time.Time { return c.floor.Add(time.Since(c.floorAt)) }

// Raise says that t is proven to have passed: it is the NotBefore of a
// certificate that the cluster's CA signed. Earlier times than what is
// already proven are ignored.
func (c *Clock) Raise(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.raise(t)
	if t.After(c.proven) {
		c.proven = t.Round(0)
	}
}

func (c *Clock) raise(t time.Time) {
	if c.floorAt.IsZero() || t.After(c.floorNow()) {
		c.floor, c.floorAt = t.Round(0), time.Now()
	}
}

// Observe takes a master's time as a hint. Call it only for a connection that
// ClientTLS has verified, with the certificate that the master showed on it.
// The hint moves the floor forwards and never backwards, and not past the end
// of that certificate; it is kept on disk only where this machine's own clock
// agrees. One lying master can thus neither turn a node back nor lock it out
// for longer than until its next start. A hint outside the certificate's
// validity is refused with a ClockError.
func (c *Clock) Observe(t time.Time, master *x509.Certificate) error {
	if t.Before(master.NotBefore) || t.After(master.NotAfter) {
		return fmt.Errorf("take over the master's time %s: %w", stamp(t),
			&ClockError{Now: c.Now(), NotBefore: master.NotBefore, NotAfter: master.NotAfter})
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hint, c.hintAt = t.Round(0), time.Now()
	c.raise(t)
	if c.agreed() && t.After(c.proven) {
		c.proven = t.Round(0)
	}
	return nil
}

// agreed reports whether the machine's clock and the newest hint are the same
// time, within clockTolerance.
func (c *Clock) agreed() bool { return !c.hint.IsZero() && c.skew().Abs() <= clockTolerance }

func (c *Clock) skew() time.Duration {
	if c.hint.IsZero() {
		return 0
	}
	return c.wall().Round(0).Sub(c.hint.Add(time.Since(c.hintAt)))
}

// Skew is how far this machine's clock is ahead of the newest master's hint;
// negative when it is behind, 0 while there is no hint.
func (c *Clock) Skew() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.skew()
}

// Trusted reports whether the machine's own clock can be right: it is not
// behind what is proven, not decades past the build, and not more than 5
// minutes away from the newest master's hint.
func (c *Clock) Trusted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	wall := c.wall().Round(0)
	switch {
	case wall.After(c.build.Add(plausibleSpan)):
		return false
	case !c.hint.IsZero():
		return c.agreed()
	}
	return !wall.Before(c.floorNow().Add(-clockTolerance))
}

// plausible is false for a clock that is decades past the build.
func (c *Clock) plausible() bool { return c.Now().Before(c.build.Add(plausibleSpan)) }

// Save keeps the newest proven time on disk. It belongs beside another write
// (a certificate, a plan): it is never called by a timer, and does nothing when
// there is nothing new.
func (c *Clock) Save() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.agreed() {
		if w := c.wall().Round(0); w.After(c.proven) {
			c.proven = w
		}
	}
	if c.path == "" || !c.proven.After(c.saved) {
		return nil
	}
	if err := writeFile(c.path, []byte(stamp(c.proven)+"\n")); err != nil {
		return fmt.Errorf("save last time seen: %w", err)
	}
	c.saved = c.proven
	return nil
}

// Forget removes the file of the last time seen; for a reset.
func (c *Clock) Forget() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.saved = time.Time{}
	if err := os.Remove(c.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget last time seen: %w", err)
	}
	return nil
}
