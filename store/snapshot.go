package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/storage/backend"
)

// ErrBadSnapshot: a snapshot is incomplete or damaged.
var ErrBadSnapshot = errors.New("snapshot cannot be used")

// freezeTimeout bounds the commit that a snapshot begins with.
const freezeTimeout = 30 * time.Second

// SnapshotInfo describes a snapshot: a database of etcd, with the SHA-256 of it
// as its last 32 bytes, as etcd's own tools write and read it. The values in it
// are sealed; the keys are not.
type SnapshotInfo struct {
	// Revision: every write up to it is inside. Those made while the snapshot was
	// begun can be inside too; VerifySnapshot knows which one is the newest.
	Revision int64
	Bytes    int64 // of the file, checksum included
	SHA256   [sha256.Size]byte
	// Records that are there, and how many of them are sealed with a key that the
	// Sealer does not have. Only VerifySnapshot knows them.
	Records, Foreign int
}

// String is the revision, the size and the first digits of the checksum.
func (i SnapshotInfo) String() string {
	return fmt.Sprintf("revision %d, %d bytes, sha256 %s…", i.Revision, i.Bytes, hex.EncodeToString(i.SHA256[:4]))
}

// Snapshot writes all that this member knows to w, in one piece of time. It asks
// nobody else, so it works on a learner, and without a quorum; what the majority
// knows beyond it is not inside. It holds nothing in memory. etcd cannot enlarge
// its database while w is written to, so w must not be slow: a file, not a link.
// ErrClosed if the member has not started or stops meanwhile. After any error
// what was written to w is worthless.
func (m *Member) Snapshot(ctx context.Context, w io.Writer) (SnapshotInfo, error) {
	info, err := m.snapshot(ctx, w)
	if err != nil {
		return SnapshotInfo{}, fmt.Errorf("take a snapshot of the store: %w", err)
	}
	return info, nil
}

func (m *Member) snapshot(ctx context.Context, w io.Writer) (SnapshotInfo, error) {
	frozen, err := m.freeze(ctx)
	if err != nil {
		return SnapshotInfo{}, err
	}
	defer frozen.db.Close()
	sum := sha256.New()
	out := &endingWriter{w: io.MultiWriter(w, sum), ends: []context.Context{ctx, m.life}}
	n, err := frozen.db.WriteTo(out)
	if out.err != nil {
		err = out.err
	}
	if err == nil && n != frozen.db.Size() {
		err = fmt.Errorf("%d of %d bytes were written", n, frozen.db.Size())
	}
	if err == nil {
		_, err = w.Write(sum.Sum(nil))
	}
	if err != nil {
		return SnapshotInfo{}, explain(err, nil)
	}
	info := SnapshotInfo{Revision: frozen.revision, Bytes: n + sha256.Size}
	copy(info.SHA256[:], sum.Sum(nil))
	return info, nil
}

// frozen is a database that does not change any more, and the newest revision
// that is in it for certain.
type frozen struct {
	db       backend.Snapshot
	revision int64
}

// freeze asks etcd in a goroutine of its own, like call, but there is nobody to
// try again with, and what comes too late must be closed.
func (m *Member) freeze(parent context.Context) (frozen, error) {
	ctx, cancel := context.WithTimeout(parent, freezeTimeout)
	defer cancel()
	if !m.isStarted() || m.life.Err() != nil {
		return frozen{}, ErrClosed
	}
	select {
	case m.calls <- struct{}{}:
	case <-ctx.Done():
		return frozen{}, ctx.Err()
	}
	results := make(chan frozen)
	go func() {
		defer func() { <-m.calls }()
		defer func() {
			// etcd's backend has no guard against being asked when it is closed already.
			if p := recover(); p != nil && m.life.Err() == nil {
				panic(p)
			}
		}()
		f := frozen{revision: m.etcd.Server.KV().Rev()}
		f.db = m.etcd.Server.Backend().Snapshot()
		select {
		case results <- f:
		case <-ctx.Done():
			f.db.Close()
		case <-m.life.Done():
			f.db.Close()
		}
	}()
	select {
	case f := <-results:
		return f, nil
	case <-m.life.Done():
		return frozen{}, ErrClosed
	case <-ctx.Done():
		if parent.Err() != nil {
			return frozen{}, parent.Err()
		}
		return frozen{}, fmt.Errorf("the database was not written within %v: is the disk failing?: %w", freezeTimeout, ErrNoQuorum)
	}
}

// Revision is the newest write that this member knows. It asks nobody else.
func (m *Member) Revision(ctx context.Context) (int64, error) {
	rev, err := call(ctx, m, func(context.Context, *clientv3.Client) (int64, error) { return m.etcd.Server.KV().Rev(), nil })
	if err != nil {
		return 0, fmt.Errorf("read the store's revision: %w", err)
	}
	return rev, nil
}

// endingWriter fails when one of the contexts has ended. It remembers why it
// failed, for bbolt does not hand on what it is told.
type endingWriter struct {
	w    io.Writer
	ends []context.Context
	err  error
}

func (e *endingWriter) Write(b []byte) (n int, err error) {
	for _, ctx := range e.ends {
		if e.err == nil && ctx.Err() != nil {
			e.err = context.Cause(ctx)
		}
	}
	if e.err == nil {
		n, e.err = e.w.Write(b)
	}
	return n, e.err
}

// VerifySnapshot reads the whole file and tells what is in it. It fails with
// ErrBadSnapshot if the checksum does not match, if etcd could not use the
// database, or if the seal of a record does not match. A nil sealer opens no
// record. That a record is sealed with a key that the sealer does not have is
// counted and is no error: the key file is to blame.
func VerifySnapshot(ctx context.Context, path string, sealer *Sealer) (SnapshotInfo, error) {
	info, err := verifySnapshot(ctx, path, sealer)
	if err != nil {
		return info, fmt.Errorf("verify snapshot %s: %w", path, err)
	}
	return info, nil
}

func verifySnapshot(ctx context.Context, path string, sealer *Sealer) (SnapshotInfo, error) {
	info, err := verifyChecksum(ctx, path)
	if err != nil {
		return info, err
	}
	db, err := readDB(ctx, path, sealer, nil)
	switch {
	case errors.Is(err, ErrDamaged):
		return info, fmt.Errorf("%w: %w", ErrBadSnapshot, err)
	case err != nil:
		return info, err
	case len(db.broken) > 0:
		return info, fmt.Errorf("the seals of these records do not match: %s: %w", namesOf(db.broken), ErrBadSnapshot)
	}
	info.Revision, info.Records, info.Foreign = db.revision, db.live, db.foreign
	return info, nil
}

// verifyChecksum compares the end of the file with the SHA-256 of the rest.
func verifyChecksum(ctx context.Context, path string) (info SnapshotInfo, err error) {
	f, err := os.Open(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: %w", ErrNotFound, err)
		}
		return info, err
	}
	defer f.Close()
	stat, err := f.Stat()
	if err != nil {
		return info, err
	}
	info.Bytes = stat.Size()
	if info.Bytes%sectorBytes != sha256.Size || info.Bytes < sectorBytes {
		return info, fmt.Errorf("%d bytes cannot be a database and its checksum: is the file incomplete?: %w", info.Bytes, ErrBadSnapshot)
	}
	sum := sha256.New()
	if _, err := io.CopyN(&endingWriter{w: sum, ends: []context.Context{ctx}}, f, info.Bytes-sha256.Size); err != nil {
		return info, err
	}
	if _, err := io.ReadFull(f, info.SHA256[:]); err != nil {
		return info, err
	}
	if !bytes.Equal(info.SHA256[:], sum.Sum(nil)) {
		return info, fmt.Errorf("its checksum does not match: %w", ErrBadSnapshot)
	}
	return info, nil
}
