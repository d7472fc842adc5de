package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

const (
	// RevisionBump is what Restore adds to the newest revision of a snapshot: more
	// writes than any cluster makes in the time that a snapshot may be old, so a
	// revision that somebody remembers is never seen again with another content.
	RevisionBump = 1_000_000_000
	// termBump is the same for raft's terms.
	termBump = 1_000_000

	restoringSuffix = ".restoring"
)

// RestoreFrom says where the records of a Restore come from.
type RestoreFrom struct {
	// Snapshot is the path of a snapshot.
	Snapshot string
	// Directory is the etcd directory of a member that does not run, if its
	// database can be read as a whole. After a clean stop it knows everything,
	// otherwise all but the writes of the last two seconds. Records in it that are
	// damaged come from Snapshot, if there is one, or are lost; nothing else of
	// Snapshot is used then.
	Directory string
}

// Restored is what Restore has made.
type Restored struct {
	// From: every write up to this revision of the old cluster has been restored.
	From int64
	// Revision of all records now, and of the store. It is From + RevisionBump.
	Revision int64
	Records  int
	// Leased records are not restored: nobody is there to renew their leases.
	Leased int
	// Replaced are keys whose record is an older one, of RestoreFrom.Snapshot;
	// Lost those of which nothing is left.
	Replaced, Lost []string
	// ClusterID is another one than before: members of the old cluster cannot
	// take part in this one.
	ClusterID uint64
}

// Restore makes opts.Dir the directory of a new cluster with one member,
// opts.Name at opts.PeerAdvertise, which holds the records of a snapshot. A
// member that is run there afterwards finds a cluster of its own, without the
// members, leases and alarms of the old one. Revisions and terms go on from a
// much higher number, and all history is compacted: every Follow begins again,
// and every revision that was read before is refused with ErrConflict.
//
// The directory is built beside opts.Dir and renamed last: a power cut leaves
// either nothing there or all of it. ErrExists if opts.Dir has something in it;
// ErrBadSnapshot, ErrDamaged if the source cannot be used; ErrDiskFull.
func Restore(ctx context.Context, from RestoreFrom, opts Options) (Restored, error) {
	r, err := newRestorer(ctx, from, opts)
	if err == nil {
		err = r.vacant()
	}
	if err == nil {
		err = r.run(r.moveIn)
	}
	if err != nil {
		return Restored{}, fmt.Errorf("restore store in %s: %w", opts.Dir, explain(err, nil))
	}
	return r.done, nil
}

// Replace is Restore for a directory that is in use but must not be used any
// more, which is set aside. Both change places at once: after a power cut either
// the old one is there or the new one. from can name opts.Dir itself.
func Replace(ctx context.Context, from RestoreFrom, opts Options, now time.Time) (Restored, Aside, error) {
	var aside Aside
	r, err := newRestorer(ctx, from, opts)
	if err == nil {
		err = r.run(func() error {
			aside, err = exchange(r.dir, r.opts.Dir, now)
			return err
		})
	}
	if err != nil {
		return Restored{}, Aside{}, fmt.Errorf("replace store in %s: %w", opts.Dir, explain(err, nil))
	}
	return r.done, aside, nil
}

type restorer struct {
	ctx  context.Context
	from RestoreFrom
	opts Options
	dir  string // is being built

	source string  // the database
	state  dbState // what is in it
	done   Restored
}

func newRestorer(ctx context.Context, from RestoreFrom, opts Options) (*restorer, error) {
	opts = opts.withDefaults()
	if err := opts.validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", err, ErrInvalid)
	}
	opts.Dir = filepath.Clean(opts.Dir)
	return &restorer{ctx: ctx, from: from, opts: opts, dir: opts.Dir + restoringSuffix}, nil
}

// run builds the directory, and lets moveIn bring it into its place.
func (r *restorer) run(moveIn func() error) error {
	if err := r.choose(); err != nil {
		return err
	}
	if err := os.RemoveAll(r.dir); err != nil { // an earlier try that was interrupted
		return err
	}
	defer os.RemoveAll(r.dir) // it is not there any more if all went well
	if err := os.MkdirAll(snapDir(r.dir), 0o700); err != nil {
		return err
	}
	if err := inspectSpace(r.dir, r.bytes()); err != nil {
		return err
	}
	if err := r.build(); err != nil {
		return err
	}
	if err := examine(r.dir, r.opts.Sealer); err != nil {
		return fmt.Errorf("what was built is not good: %w", err)
	}
	for _, dir := range []string{walDir(r.dir), snapDir(r.dir), filepath.Join(r.dir, "member"), r.dir} {
		if err := syncDir(dir); err != nil {
			return err
		}
	}
	return moveIn()
}

// moveIn brings the new directory to where nothing is.
func (r *restorer) moveIn() error {
	if err := os.Remove(r.opts.Dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(r.dir, r.opts.Dir); err != nil {
		return err
	}
	return syncDir(filepath.Dir(r.opts.Dir))
}

// vacant refuses a directory with something in it.
func (r *restorer) vacant() error {
	entries, err := os.ReadDir(r.opts.Dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case len(entries) > 0:
		return fmt.Errorf("it is not empty; set it aside first: %w", ErrExists)
	}
	return nil
}

// choose finds and reads the source before anything is made.
func (r *restorer) choose() (err error) {
	if r.from.Snapshot != "" {
		info, err := VerifySnapshot(r.ctx, r.from.Snapshot, r.opts.Sealer)
		if err != nil {
			return err
		}
		r.source, r.done.From = r.from.Snapshot, info.Revision
	}
	if r.from.Directory != "" {
		r.source = dbPath(r.from.Directory)
	}
	if r.source == "" {
		return fmt.Errorf("no source was named: %w", ErrInvalid)
	}
	if r.state, err = readDB(r.ctx, r.source, r.opts.Sealer, nil); err != nil {
		return err
	}
	if !r.state.exists {
		return fmt.Errorf("database %s is empty or missing: %w", r.source, ErrDamaged)
	}
	r.done.From = r.state.revision
	r.done.Revision = r.state.revision + RevisionBump
	return nil
}

// bytes is what the new directory needs at most, with what the store then needs
// to accept writes.
func (r *restorer) bytes() uint64 {
	info, err := os.Stat(r.source)
	if err != nil {
		return newMemberBytes
	}
	return newMemberBytes + uint64(info.Size()) + writeReserveBytes
}

// records hands over what is to be in the new store, in the order of the keys.
func (r *restorer) records(put func(key, value []byte) error) error {
	older := map[string][]byte{}
	if len(r.state.broken) > 0 && r.from.Snapshot != "" && r.source != r.from.Snapshot {
		wanted := map[string]bool{}
		for _, key := range r.state.broken {
			wanted[key] = true
		}
		_, err := readDB(r.ctx, r.from.Snapshot, nil, func(kv *mvccpb.KeyValue, _ bool) error {
			if wanted[string(kv.Key)] && kv.Lease == 0 {
				older[string(kv.Key)] = kv.Value
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	_, err := readDB(r.ctx, r.source, r.opts.Sealer, func(kv *mvccpb.KeyValue, sound bool) error {
		value := kv.Value
		switch {
		case kv.Lease != 0:
			r.done.Leased++
			return nil
		case !sound:
			key := string(kv.Key)
			if value = older[key]; value == nil {
				r.done.Lost = append(r.done.Lost, key)
				return nil
			}
			r.done.Replaced = append(r.done.Replaced, key)
		}
		r.done.Records++
		return put(kv.Key, value)
	})
	return err
}

// newClusterToken makes the ids of cluster and member unlike any others.
func newClusterToken() string { return "piccolo-" + rand.Text() }
