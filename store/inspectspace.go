package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	"golang.org/x/sys/unix"
)

const (
	// writeReserveBytes must be free before a write is sent: etcd does not
	// survive a disk that is full. It is two files of the log, so that what etcd
	// does by itself still finds its place.
	writeReserveBytes = 2 * walSegmentBytes
	// headroomBytes are set aside behind the end of the database. What etcd writes
	// by itself when the disk is full (leases that run out, a new term) goes there, and
	// what was accepted just before.
	headroomBytes = 2 * MaxTxnBytes
)

func freeBytes(dir string) (uint64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, explain(fmt.Errorf("ask for the free space of %s: %w", dir, err), ErrAccess)
	}
	return s.Bavail * uint64(s.Bsize), nil
}

// room watches over the disk space of a running member. The zero value is ready.
type room struct {
	reserved atomic.Int64 // the database can grow up to here without new space
}

// toWrite refuses a write, with ErrDiskFull, while the disk is so full that etcd
// could fail over it, and keeps the headroom behind the database, of which
// dbBytes is the size. It is one system call, a microsecond, and one more for
// each half of the headroom that the database has grown.
func (r *room) toWrite(dir string, dbBytes int64) error {
	free, err := freeBytes(dir)
	if err != nil {
		return err
	}
	if free < writeReserveBytes {
		return fmt.Errorf("%d KiB are free, writes are refused below %d KiB; they are accepted again when there is space: %w",
			free>>10, writeReserveBytes>>10, ErrDiskFull)
	}
	if known := r.reserved.Load(); dbBytes+headroomBytes/2 > known && r.reserved.CompareAndSwap(known, dbBytes+headroomBytes) {
		return keepHeadroom(dbPath(dir))
	}
	return nil
}

// prepare makes a good directory ready for etcd, and for a disk that is full:
// etcd has to make a second log file when it starts. If it cannot, it goes on,
// and remembers the failure until it needs the file, days later. So there is a
// spare one.
func prepare(dir string, log *logState) error {
	if err := log.mend(); err != nil {
		return err
	}
	if err := removeUsedSpares(walDir(dir)); err != nil {
		return err
	}
	if err := os.RemoveAll(dir + restoringSuffix); err != nil { // a Restore that was interrupted
		return err
	}
	free, err := freeBytes(dir)
	if err != nil {
		return err
	}
	spare := filepath.Join(dir, "spare.wal")
	if free < writeReserveBytes {
		if err := os.Rename(spare, filepath.Join(walDir(dir), "0.tmp")); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	if err := keepHeadroom(dbPath(dir)); err != nil {
		return err
	}
	f, err := os.OpenFile(spare, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(fileutil.Preallocate(f, walSegmentBytes, true), f.Close())
}

// removeUsedSpares removes files that were to be the log's next ones and were
// begun: etcd would write a shorter head over a longer one, and take the
// remainder for a record.
func removeUsedSpares(dir string) error {
	spares, err := filepath.Glob(filepath.Join(dir, "*.tmp"))
	if err != nil {
		return err
	}
	for _, path := range spares {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		head, err := io.ReadAll(io.LimitReader(f, 4096))
		f.Close()
		if err == nil && len(bytes.Trim(head, "\x00")) > 0 {
			err = os.Remove(path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// keepHeadroom sets space aside behind the end of a database that is there.
func keepHeadroom(db string) error {
	f, err := os.OpenFile(db, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return fileutil.Preallocate(f, info.Size()+headroomBytes, false)
}
