package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"go.etcd.io/etcd/server/v3/storage/wal"
	"golang.org/x/sys/unix"
)

const (
	// lockWait: how long the database may be locked by somebody else, who may just be stopping.
	lockWait = 2 * time.Second
	// newMemberBytes: what a new member sets aside: two log segments and a database.
	newMemberBytes = 2*walSegmentBytes + 1<<20
)

// examine looks at etcd's directory before etcd does. etcd ends the process, or
// waits for ever, over most of what can be wrong there, and panics of bbolt come
// up in goroutines that nobody can guard; over other damage it starts, and what
// was acknowledged is gone. examine reads everything that etcd will read.
//
// It changes nothing if it returns an error, except that it makes a missing
// directory. Otherwise it takes away what a power cut has left half written, so
// that etcd need not.
//
// A sealer opens every live record too: one whose seal does not match is damage
// that etcd cannot see.
func examine(dir string, sealer *Sealer) error {
	if err := inspectAccess(dir); err != nil {
		return err
	}
	db, err := readDB(context.Background(), dbPath(dir), sealer, nil)
	if err != nil {
		return err
	}
	if !wal.Exist(walDir(dir)) {
		// A power cut in the first second of a member's life leaves an empty
		// database and no log; etcd begins anew and nothing is lost.
		if db.holdsData() {
			return fmt.Errorf("the database is there, but its log %s is missing: %w", walDir(dir), ErrDamaged)
		}
		return inspectSpace(dir, newMemberBytes)
	}
	log, err := readLog(walDir(dir))
	if err == nil {
		db, err = log.join(dir, db, sealer)
	}
	if err != nil {
		return damage(fmt.Errorf("log %s: %w", walDir(dir), err))
	}
	if len(db.broken) > 0 {
		return fmt.Errorf("database %s: the seals of these records do not match: %s: %w", dbPath(dir), namesOf(db.broken), ErrDamaged)
	}
	if err := prepare(dir, log); err != nil {
		return explain(fmt.Errorf("prepare %s: %w", dir, err), ErrAccess)
	}
	return nil
}

// damage says that files are damaged, unless it was the system that refused
// something: that says nothing of the files.
func damage(err error) error {
	var errno syscall.Errno
	switch {
	case errors.Is(err, ErrInUse), errors.Is(err, ErrAccess):
		return err
	case errors.As(err, &errno) && errno != syscall.EIO:
		return explain(err, ErrAccess)
	}
	return explain(err, ErrDamaged)
}

func inspectAccess(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return explain(err, ErrAccess)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return explain(err, ErrAccess)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("others can enter it (mode %04o); run: chmod 700 %s: %w", mode, dir, ErrAccess)
	}
	for _, d := range []string{dir, filepath.Join(dir, "member"), snapDir(dir), walDir(dir)} {
		if err := unix.Access(d, unix.R_OK|unix.W_OK|unix.X_OK); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return explain(fmt.Errorf("%s: %w", d, err), ErrAccess)
		}
	}
	return nil
}

func snapDir(dir string) string { return filepath.Join(dir, "member", "snap") }
func walDir(dir string) string  { return filepath.Join(dir, "member", "wal") }
func dbPath(dir string) string  { return filepath.Join(snapDir(dir), "db") }

// join checks that database and log fit together, and returns the database that
// etcd will go on with.
func (s *logState) join(dir string, db dbState, sealer *Sealer) (dbState, error) {
	if db.applied < s.snapshot.index {
		// The leader has sent a newer database, which was not in its place yet.
		sent := filepath.Join(snapDir(dir), fmt.Sprintf("%016x.snap.db", s.snapshot.index))
		newer, err := readDB(context.Background(), sent, sealer, nil)
		switch {
		case err != nil:
			return db, err
		case !newer.exists:
			return db, fmt.Errorf("it begins at entry %d, and the database that holds what came before is missing or at entry %d", s.snapshot.index, db.applied)
		case newer.applied < s.snapshot.index:
			return db, fmt.Errorf("it begins at entry %d, and the database that came with it, %s, is at entry %d", s.snapshot.index, sent, newer.applied)
		}
		db = newer
	}
	last := s.last().index
	switch term := s.termOf(db.applied); {
	case last < db.applied:
		// etcd would start, take new entries for old ones, and drop them unseen.
		return db, fmt.Errorf("it ends at entry %d, but the database is at entry %d already: the end of the log is lost", last, db.applied)
	case term != 0 && db.term != 0 && term != db.term:
		return db, fmt.Errorf("entry %d is of term %d, and the database says of term %d", db.applied, term, db.term)
	case db.alone(s.node) && s.end.promised > last:
		return db, fmt.Errorf("it ends at entry %d, and entry %d was committed", last, s.end.promised)
	}
	return db, nil
}

// alone reports whether node is the only member that votes.
func (s dbState) alone(node uint64) bool {
	voters, found := 0, false
	for _, m := range s.members {
		if !m.IsLearner {
			voters++
			found = found || m.ID == node
		}
	}
	return voters == 1 && found
}

func inspectSpace(dir string, need uint64) error {
	free, err := freeBytes(dir)
	if err != nil {
		return err
	}
	if free < need {
		return fmt.Errorf("%d KiB are free, at least %d KiB are needed: %w", free>>10, need>>10, ErrDiskFull)
	}
	return nil
}
