package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// shelfReserveBytes stay free: a snapshot must not be what stops the writes.
	shelfReserveBytes = 2 * writeReserveBytes
	// shelfFirst: how long after its start Run looks for the first time, if a
	// snapshot is due already. A board has more urgent things to do then.
	shelfFirst = time.Minute
	// shelfAgain: how long after a failure.
	shelfAgain = 5 * time.Minute

	shelfTime = "20060102T150405Z"
	shelfTemp = "unfinished-*"
)

// ShelfOptions are the options of a Shelf.
type ShelfOptions struct {
	// Dir holds the snapshots and nothing else; it is made (0700) if it is
	// missing. Outside etcd's directory. Required.
	Dir string
	// Sealer opens the records of a snapshot when it is verified. Required.
	Sealer *Sealer
	// Keep is how many snapshots stay. Default 24.
	Keep int
	// MaxBytes is how much they may take together; the newest one stays in any
	// case. Default 512 MiB.
	MaxBytes int64
	// Every is how often Run looks for a change. Default 1 h.
	Every time.Duration
	// Now is the time that a snapshot is marked with. Their order does not
	// depend on it. Default time.Now.
	Now func() time.Time
	// Logger is told of every snapshot and failure of Run. Default: discard.
	Logger *slog.Logger
}

// Source is what snapshots are taken of: a Member.
type Source interface {
	Snapshot(context.Context, io.Writer) (SnapshotInfo, error)
	Revision(context.Context) (int64, error)
}

// Shelf keeps snapshots on the local disk, for the case that a master that is
// alone loses its data directory. Methods are safe for concurrent use within one
// process.
type Shelf struct {
	opts ShelfOptions
	mu   sync.Mutex // one Save at a time
}

// Shelved is a snapshot on a Shelf.
type Shelved struct {
	SnapshotInfo
	Path string
	Time time.Time // when it was taken, by the clock of that time
	// Err: why it cannot be used (wraps ErrBadSnapshot, if the disk could be
	// read), or nil: it was verified.
	Err error

	number int // grows with each snapshot
}

// NewShelf checks the options. It touches no disk.
func NewShelf(opts ShelfOptions) (*Shelf, error) {
	if opts.Keep == 0 {
		opts.Keep = 24
	}
	if opts.MaxBytes == 0 {
		opts.MaxBytes = 512 << 20
	}
	if opts.Every == 0 {
		opts.Every = time.Hour
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	var err error
	switch {
	case !filepath.IsAbs(opts.Dir):
		err = fmt.Errorf("option Dir %q: want an absolute path", opts.Dir)
	case opts.Sealer == nil:
		err = errors.New("option Sealer: missing")
	case opts.Keep < 1 || opts.Keep > 10_000:
		err = fmt.Errorf("option Keep %d: want 1 to 10000", opts.Keep)
	case opts.MaxBytes < 0:
		err = fmt.Errorf("option MaxBytes %d: want more than 0", opts.MaxBytes)
	case opts.Every < time.Second:
		err = fmt.Errorf("option Every %v: want 1s at least", opts.Every)
	}
	if err != nil {
		return nil, fmt.Errorf("make shelf of snapshots: %w: %w", err, ErrInvalid)
	}
	return &Shelf{opts: opts}, nil
}

// Run takes a snapshot every Options.Every, if there was a write since the newest
// one, and returns nil when ctx ends. Without writes it writes nothing. Failures
// are logged and tried again.
func (s *Shelf) Run(ctx context.Context, source Source) error {
	wait := s.firstWait()
	for {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		wait = s.opts.Every
		if err := s.saveChange(ctx, source); err != nil && ctx.Err() == nil {
			wait = min(wait, shelfAgain)
			s.opts.Logger.Warn("cannot take a snapshot of the store; it is tried again", "in", wait, "err", err)
		}
	}
}

func (s *Shelf) firstWait() time.Duration {
	first := min(shelfFirst, s.opts.Every)
	list, err := s.names()
	if err != nil || len(list) == 0 {
		return first
	}
	age := s.opts.Now().Sub(list[0].Time)
	if age < 0 { // the clock was set back, or was wrong then
		return first
	}
	return max(first, s.opts.Every-age)
}

// saveChange takes a snapshot if there was a write since the newest one.
func (s *Shelf) saveChange(ctx context.Context, source Source) error {
	rev, err := source.Revision(ctx)
	if err != nil {
		return err
	}
	list, err := s.names()
	if err != nil {
		return err
	}
	if len(list) > 0 && list[0].Revision == rev {
		return nil
	}
	taken, err := s.Save(ctx, source)
	debug.FreeOSMemory() // verifying has left what is not needed for an hour
	if err != nil {
		return err
	}
	s.opts.Logger.Info("snapshot of the store taken", "path", taken.Path, "revision", taken.Revision, "bytes", taken.Bytes, "records", taken.Records)
	return nil
}

// Save takes a snapshot, reads it back from the disk and verifies it, and then
// removes those that are too many. Nothing half done is left under a good name.
// ErrDiskFull if there is no space that could be spared.
func (s *Shelf) Save(ctx context.Context, source Source) (Shelved, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken, err := s.save(ctx, source)
	if err == nil {
		err = s.prune()
	}
	if err != nil {
		return taken, fmt.Errorf("put a snapshot into %s: %w", s.opts.Dir, explain(err, nil))
	}
	return taken, nil
}

func (s *Shelf) save(ctx context.Context, source Source) (Shelved, error) {
	if err := os.MkdirAll(s.opts.Dir, 0o700); err != nil {
		return Shelved{}, err
	}
	if err := s.sweep(); err != nil {
		return Shelved{}, err
	}
	list, err := s.names()
	if err != nil {
		return Shelved{}, err
	}
	temp, err := s.write(ctx, source)
	if err != nil {
		return Shelved{}, err
	}
	defer os.Remove(temp) // fails if it has its name
	taken := Shelved{Time: s.opts.Now().UTC(), number: 1}
	if taken.SnapshotInfo, err = verifySnapshot(ctx, temp, s.opts.Sealer); err != nil {
		return Shelved{}, err
	}
	if len(list) > 0 {
		taken.number = list[0].number + 1
	}
	taken.Path = filepath.Join(s.opts.Dir, fmt.Sprintf("%08d-%s-%d.db", taken.number, taken.Time.Format(shelfTime), taken.Revision))
	if err := os.Rename(temp, taken.Path); err != nil {
		return Shelved{}, err
	}
	return taken, syncDir(s.opts.Dir)
}

// sweep removes what a power cut has left.
func (s *Shelf) sweep() error {
	old, err := filepath.Glob(filepath.Join(s.opts.Dir, shelfTemp))
	for _, path := range old {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}

// write makes a file that is on the disk, and out of the memory.
func (s *Shelf) write(ctx context.Context, source Source) (path string, err error) {
	f, err := os.CreateTemp(s.opts.Dir, shelfTemp) // 0600
	if err != nil {
		return "", err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			os.Remove(f.Name())
		}
	}()
	if _, err := source.Snapshot(ctx, &sparingWriter{f: f, dir: s.opts.Dir}); err != nil {
		return "", err
	}
	if err := f.Sync(); err != nil {
		return "", err
	}
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) // so that verifying reads the disk
	return f.Name(), nil
}

// sparingWriter fails before the disk is full.
type sparingWriter struct {
	f   *os.File
	dir string
}

func (w *sparingWriter) Write(b []byte) (int, error) {
	free, err := freeBytes(w.dir)
	if err != nil {
		return 0, err
	}
	if free < shelfReserveBytes+uint64(len(b)) {
		return 0, fmt.Errorf("%d KiB are free, and %d KiB are not touched: %w", free>>10, shelfReserveBytes>>10, ErrDiskFull)
	}
	return w.f.Write(b)
}

// prune removes the oldest snapshots until neither Keep nor MaxBytes is exceeded.
func (s *Shelf) prune() error {
	list, err := s.names()
	if err != nil {
		return err
	}
	var total int64
	for i, one := range list {
		total += one.Bytes
		if i > 0 && (i >= s.opts.Keep || total > s.opts.MaxBytes) {
			err = errors.Join(err, os.Remove(one.Path))
		}
	}
	return err
}

// names lists what there is, the newest first, without looking into it.
func (s *Shelf) names() ([]Shelved, error) {
	entries, err := os.ReadDir(s.opts.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var list []Shelved
	for _, e := range entries {
		one := Shelved{Path: filepath.Join(s.opts.Dir, e.Name())}
		var at string
		if n, _ := fmt.Sscanf(e.Name(), "%d-%16s-%d.db", &one.number, &at, &one.Revision); n != 3 {
			continue // not ours, or unfinished
		}
		info, err := e.Info()
		if one.Time, _ = time.Parse(shelfTime, at); err != nil || one.Time.IsZero() {
			continue
		}
		one.Bytes = info.Size()
		list = append(list, one)
	}
	slices.SortFunc(list, func(a, b Shelved) int { return b.number - a.number })
	return list, nil
}

// List verifies all snapshots, the newest first. This reads them all: some
// seconds on a small board.
func (s *Shelf) List(ctx context.Context) ([]Shelved, error) {
	list, err := s.names()
	for i := range list {
		if err == nil {
			err = list[i].verify(ctx, s.opts.Sealer)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("list snapshots in %s: %w", s.opts.Dir, err)
	}
	return list, nil
}

// Newest is the newest snapshot that can be used, verified. ErrNotFound.
func (s *Shelf) Newest(ctx context.Context) (Shelved, error) {
	list, err := s.names()
	for _, one := range list {
		if err := one.verify(ctx, s.opts.Sealer); err != nil {
			return Shelved{}, fmt.Errorf("find a good snapshot in %s: %w", s.opts.Dir, err)
		}
		if one.Err == nil {
			return one, nil
		}
		s.opts.Logger.Warn("snapshot of the store passed over", "path", one.Path, "err", one.Err)
	}
	if err == nil {
		err = fmt.Errorf("%d are there, none of them good: %w", len(list), ErrNotFound)
	}
	return Shelved{}, fmt.Errorf("find a good snapshot in %s: %w", s.opts.Dir, err)
}

// verify fills in what the file says, or Err. It fails if ctx has ended.
func (one *Shelved) verify(ctx context.Context, sealer *Sealer) error {
	info, err := verifySnapshot(ctx, one.Path, sealer)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err == nil && info.Revision != one.Revision {
		err = fmt.Errorf("it is at revision %d, its name says %d: %w", info.Revision, one.Revision, ErrBadSnapshot)
	}
	if one.Err = err; err == nil {
		one.SnapshotInfo = info
	}
	return nil
}
