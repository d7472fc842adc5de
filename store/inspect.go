package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"golang.org/x/sys/unix"
)

const (
	// lockWait: how long the database may be locked by somebody else, who may just be stopping.
	lockWait = 2 * time.Second
	// newMemberBytes: what a new member sets aside: two log segments and a database.
	newMemberBytes = 2*walSegmentBytes + 1<<20
	// oldMemberBytes: what a member needs at least to go on.
	oldMemberBytes = 1 << 20
)

// inspect looks at etcd's directory before etcd does. etcd ends the process, or
// waits for ever, over most of what can be wrong there, and panics of bbolt come
// up in goroutines that nobody can guard. inspect reads everything that etcd will
// read, and changes nothing, except that it makes a missing directory.
func inspect(dir string) error {
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
	for _, d := range []string{dir, filepath.Join(dir, "member"), filepath.Join(dir, "member", "snap"), filepath.Join(dir, "member", "wal")} {
		if err := unix.Access(d, unix.R_OK|unix.W_OK|unix.X_OK); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return explain(fmt.Errorf("%s: %w", d, err), ErrAccess)
		}
	}
	db, err := inspectDB(filepath.Join(dir, "member", "snap", "db"))
	if err != nil {
		return err
	}
	walDir := filepath.Join(dir, "member", "wal")
	if !wal.Exist(walDir) {
		// A power cut in the first second of a member's life leaves an empty
		// database and no log; etcd begins anew and nothing is lost.
		if db.holdsData {
			return fmt.Errorf("the database is there, but its log %s is missing: restore the directory from a backup, or move it away to start empty: %w", walDir, ErrDamaged)
		}
		return inspectSpace(dir, newMemberBytes)
	}
	if err := inspectWAL(walDir, db); err != nil {
		return err
	}
	return inspectSpace(dir, oldMemberBytes)
}

func inspectSpace(dir string, need uint64) error {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return explain(err, ErrAccess)
	}
	if free := s.Bavail * uint64(s.Bsize); free < need {
		return fmt.Errorf("%d KiB are free, at least %d KiB are needed: %w", free>>10, need>>10, ErrDiskFull)
	}
	return nil
}

// dbState is what inspectDB found.
type dbState struct {
	exists    bool   // with something in it
	holdsData bool   // user keys, not only etcd's own bookkeeping
	applied   uint64 // the newest log entry that is in it
}

// inspectDB walks the whole database, as etcd will.
func inspectDB(path string) (state dbState, err error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return dbState{}, nil
	}
	if err != nil {
		return dbState{}, explain(err, ErrAccess)
	}
	// A page number that leads out of the file is a memory fault: make it a panic
	// of this goroutine, and recover.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("database %s: %v: %w", path, p, ErrDamaged)
		}
	}()
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, Timeout: lockWait})
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return dbState{}, fmt.Errorf("database %s is locked by another process: is a second piccolo running on this directory?: %w", path, ErrInUse)
	case err != nil:
		return dbState{}, explain(fmt.Errorf("database %s: %w", path, err), ErrDamaged)
	}
	defer db.Close()
	state.exists = true
	err = db.View(func(tx *bolt.Tx) error {
		if tx.Size() > info.Size() {
			return fmt.Errorf("it ends at byte %d of %d", info.Size(), tx.Size())
		}
		return tx.ForEach(func(name []byte, b *bolt.Bucket) error {
			switch string(name) {
			case "key":
				k, _ := b.Cursor().First()
				state.holdsData = k != nil
			case "meta":
				if index := b.Get([]byte("consistent_index")); len(index) == 8 {
					state.applied = binary.BigEndian.Uint64(index)
				}
			}
			return walk(b)
		})
	})
	if err != nil {
		return dbState{}, fmt.Errorf("database %s: %w: %w", path, err, ErrDamaged)
	}
	return state, nil
}

// walk touches every page of b and checks that its keys ascend.
func walk(b *bolt.Bucket) error {
	var last []byte
	return b.ForEach(func(k, v []byte) error {
		if last != nil && string(last) >= string(k) {
			return fmt.Errorf("keys are not in order")
		}
		last = k
		if len(v) > 0 {
			_ = v[len(v)-1]
		}
		return nil
	})
}

// inspectWAL reads the whole log. An entry that was torn by a power cut at the
// very end is no damage: it was never acknowledged, and etcd cuts it off.
func inspectWAL(dir string, db dbState) error {
	// Over some damage etcd's functions log a Fatal, which ends their goroutine, or panic.
	result := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				result <- fmt.Errorf("%v", p)
			}
		}()
		result <- readWAL(dir, db, func(err error) { result <- err })
	}()
	err := <-result
	if err == nil {
		return nil
	}
	return explain(fmt.Errorf("log %s: %w", dir, err), ErrDamaged)
}

func readWAL(dir string, db dbState, report func(error)) error {
	lg := newZap(slog.New(slog.DiscardHandler), func() bool { return true }, report)
	snaps, err := wal.ValidSnapshotEntries(lg, dir)
	if err != nil {
		return err
	}
	newest := &walpb.Snapshot{}
	if len(snaps) > 0 {
		newest = snaps[len(snaps)-1]
	}
	if newest.GetIndex() > 0 && !db.exists {
		return fmt.Errorf("it begins at entry %d, and the database that holds what came before is missing", newest.GetIndex())
	}
	w, err := wal.OpenForRead(lg, dir, newest)
	if err != nil {
		return err
	}
	defer w.Close()
	_, _, entries, err := w.ReadAll()
	if err != nil {
		return err
	}
	last := newest.GetIndex()
	if len(entries) > 0 {
		last = entries[len(entries)-1].GetIndex()
	}
	// etcd would start, take new entries for old ones, and drop them unseen.
	if last < db.applied {
		return fmt.Errorf("it ends at entry %d, but the database is at entry %d already: the end of the log is lost", last, db.applied)
	}
	return nil
}
