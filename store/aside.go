package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// keepAside is how many directories that were set aside stay.
const keepAside = 2

// Aside is a directory that was set aside.
type Aside struct {
	Path  string
	Bytes int64 // on the disk
	// Removed are older ones that had to go, Freed what they took on the disk.
	Removed []string
	Freed   int64
}

// SetAside renames dir, an etcd directory that must not be used any more, to a
// numbered and dated name beside it, and removes all but the newest two of those
// that were set aside. now only dates it. ErrNotFound if there is no dir.
//
// A member that is run on dir afterwards is a new one. A member that is alone
// must not be left without a directory, for it would found an empty cluster: use
// Replace for it. ErrInUse if a member runs on dir.
func SetAside(dir string, now time.Time) (Aside, error) {
	dir = filepath.Clean(dir)
	path, err := asideName(dir, now)
	if err == nil {
		err = idle(dir)
	}
	if err == nil {
		err = os.Rename(dir, path)
	}
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: %w", ErrNotFound, err)
		}
		return Aside{}, fmt.Errorf("set aside %s: %w", dir, err)
	}
	aside, err := tidyAside(dir, path)
	if err != nil {
		return aside, fmt.Errorf("set aside %s: %w", dir, err)
	}
	return aside, nil
}

// exchange puts the directory made in place of the directory old, at once, and
// sets old aside.
func exchange(made, old string, now time.Time) (Aside, error) {
	path, err := asideName(old, now)
	if err == nil {
		err = idle(old)
	}
	if err != nil {
		return Aside{}, err
	}
	if err := unix.Renameat2(unix.AT_FDCWD, made, unix.AT_FDCWD, old, unix.RENAME_EXCHANGE); err != nil {
		return Aside{}, &os.LinkError{Op: "exchange", Old: made, New: old, Err: err}
	}
	if err := errors.Join(syncDir(filepath.Dir(old)), os.Rename(made, path)); err != nil {
		return Aside{}, err
	}
	return tidyAside(old, path)
}

// idle makes sure that no member runs on dir: it would have locked its database.
func idle(dir string) error {
	f, err := os.Open(dbPath(dir))
	if err != nil {
		return nil // there is nothing to run on
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("a member runs on it: %w", ErrInUse)
	}
	return nil
}

// asideName is the next name for dir.
func asideName(dir string, now time.Time) (string, error) {
	list, err := asides(dir)
	number := 1
	if len(list) > 0 {
		number = list[0].number + 1
	}
	return fmt.Sprintf("%s.aside-%04d-%s", dir, number, now.UTC().Format(shelfTime)), err
}

// tidyAside is called when path is there.
func tidyAside(dir, path string) (Aside, error) {
	aside := Aside{Path: path, Bytes: diskUsage(path)}
	if err := syncDir(filepath.Dir(dir)); err != nil {
		return aside, err
	}
	list, err := asides(dir)
	for _, old := range list[min(keepAside, len(list)):] {
		freed := diskUsage(old.path)
		if rmErr := os.RemoveAll(old.path); rmErr != nil {
			err = errors.Join(err, rmErr)
			continue
		}
		aside.Removed = append(aside.Removed, old.path)
		aside.Freed += freed
	}
	return aside, err
}

type asideDir struct {
	path   string
	number int
}

// asides lists what was set aside, the newest first.
func asides(dir string) ([]asideDir, error) {
	entries, err := os.ReadDir(filepath.Dir(dir))
	var list []asideDir
	for _, e := range entries {
		one := asideDir{path: filepath.Join(filepath.Dir(dir), e.Name())}
		if n, _ := fmt.Sscanf(e.Name(), filepath.Base(dir)+".aside-%d-", &one.number); n == 1 {
			list = append(list, one)
		}
	}
	slices.SortFunc(list, func(a, b asideDir) int { return b.number - a.number })
	return list, err
}

// diskUsage is what a directory takes on the disk, as far as it can be read.
func diskUsage(dir string) (bytes int64) {
	_ = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		var s unix.Stat_t
		if err == nil && unix.Lstat(path, &s) == nil {
			bytes += s.Blocks * 512
		}
		return nil
	})
	return bytes
}
