package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"runtime/debug"
	"slices"
	"strings"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/server/v3/lease/leasepb"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.etcd.io/etcd/server/v3/storage/schema"
	"google.golang.org/protobuf/proto"
)

// maxNamed bounds how many damaged records an error names.
const maxNamed = 5

// dbState is what readDB found in a database of etcd.
type dbState struct {
	exists   bool   // with something in it
	applied  uint64 // the newest log entry that is in it; 0: none was ever noted
	term     uint64 // of that entry
	revision int64  // the newest write that is in it
	history  int    // versions of records, old ones included
	live     int    // records that are not deleted
	members  []memberState
	broken   []string // live records whose seal does not match, by key
	foreign  int      // live records sealed with a key that the Sealer does not have
}

type memberState struct {
	ID        uint64
	IsLearner bool `json:"isLearner"`
}

// holdsData: user records, not only etcd's own bookkeeping.
func (s dbState) holdsData() bool { return s.history > 0 }

// readDB reads a whole database and checks all that etcd relies on; etcd and
// bbolt panic over most of it, some of it in goroutines that nobody can guard.
// visit, if there is one, gets every live record, in the order of the keys; a
// record is valid only during the call. A sealer opens the values of the live
// records: what does not open is no error, but not sound.
func readDB(ctx context.Context, path string, sealer *Sealer, visit visitor) (state dbState, err error) {
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
		return dbState{}, damage(fmt.Errorf("database %s: %w", path, err))
	}
	defer db.Close()
	r := dbReader{ctx: ctx, fileBytes: info.Size(), sealer: sealer, visit: visit, state: dbState{exists: true, revision: 1}} // etcd begins at 1
	err = db.View(r.read)
	switch {
	case err == nil:
		return r.state, nil
	case ctx.Err() != nil:
		return r.state, ctx.Err()
	case r.visitErr != nil:
		return r.state, r.visitErr
	}
	return r.state, fmt.Errorf("database %s: %w: %w", path, err, ErrDamaged)
}

type visitor func(kv *mvccpb.KeyValue, sound bool) error

type dbReader struct {
	ctx       context.Context
	fileBytes int64
	sealer    *Sealer
	visit     visitor
	visitErr  error // of visit
	state     dbState
}

func (r *dbReader) read(tx *bolt.Tx) error {
	if tx.Size() > r.fileBytes {
		return fmt.Errorf("it ends at byte %d of %d", r.fileBytes, tx.Size())
	}
	if err := r.pages(tx); err != nil {
		return err
	}
	for _, bucket := range []struct {
		name []byte
		read func(*bolt.Bucket) error
	}{
		{schema.Meta.Name(), r.meta}, {schema.Members.Name(), r.members}, {schema.Lease.Name(), r.leases}, {schema.Key.Name(), r.records},
	} {
		b := tx.Bucket(bucket.name)
		if b == nil {
			continue
		}
		if err := bucket.read(b); err != nil {
			return fmt.Errorf("%s: %w", bucket.name, err)
		}
	}
	return r.ctx.Err()
}

// pages checks bbolt's own structure. bbolt's Check runs in a goroutine where a
// memory fault ends the process, and counts overflow pages one by one: so first
// every element is touched here, and the overflow pages are added up.
func (r *dbReader) pages(tx *bolt.Tx) error {
	pages := 0
	err := tx.ForEach(func(name []byte, b *bolt.Bucket) error {
		if err := walk(r.ctx, b); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		s := b.Stats()
		pages += s.BranchPageN + s.BranchOverflowN + s.LeafPageN + s.LeafOverflowN
		return nil
	})
	if err != nil {
		return err
	}
	if limit := int(tx.Size()) / tx.DB().Info().PageSize; pages > limit {
		return fmt.Errorf("its pages claim to be %d, and it has %d", pages, limit)
	}
	for e := range tx.Check() {
		err = errors.Join(err, e)
	}
	return err
}

// walk touches every element of b and checks that its keys ascend. etcd never
// puts a bucket into a bucket.
func walk(ctx context.Context, b *bolt.Bucket) error {
	var last []byte
	return b.ForEach(func(k, v []byte) error {
		if last != nil && bytes.Compare(last, k) >= 0 {
			return errors.New("keys are not in order")
		}
		if v == nil {
			return fmt.Errorf("element %.64q is a bucket", k)
		}
		last = k
		if len(v) > 0 {
			_ = v[len(v)-1]
		}
		return ctx.Err()
	})
}

func (r *dbReader) meta(b *bolt.Bucket) error {
	for _, field := range []struct {
		name  []byte
		value *uint64
	}{{schema.MetaConsistentIndexKeyName, &r.state.applied}, {schema.MetaTermKeyName, &r.state.term}} {
		v := b.Get(field.name)
		if v == nil {
			continue
		}
		if len(v) != 8 {
			return fmt.Errorf("%s has %d bytes", field.name, len(v))
		}
		*field.value = binary.BigEndian.Uint64(v)
	}
	for _, name := range [][]byte{schema.ScheduledCompactKeyName, schema.FinishedCompactKeyName} {
		if v := b.Get(name); v != nil {
			// What was compacted away counts: the newest write may have been a delete.
			r.state.revision = max(r.state.revision, mvcc.BytesToRev(v).Main)
		}
	}
	return nil
}

func (r *dbReader) members(b *bolt.Bucket) error {
	return b.ForEach(func(k, v []byte) error {
		m := memberState{}
		if _, err := fmt.Sscanf(string(k), "%x", &m.ID); err != nil {
			return fmt.Errorf("id %q: %w", k, err)
		}
		if err := json.Unmarshal(v, &m); err != nil {
			return fmt.Errorf("member %s: %w", k, err)
		}
		r.state.members = append(r.state.members, m)
		return nil
	})
}

func (r *dbReader) leases(b *bolt.Bucket) error {
	return b.ForEach(func(k, v []byte) error {
		var l leasepb.Lease
		if err := proto.Unmarshal(v, &l); err != nil {
			return fmt.Errorf("lease %x: %w", k, err)
		}
		if len(k) != 8 || binary.BigEndian.Uint64(k) != uint64(l.ID) {
			return fmt.Errorf("lease %x says that it is %x", k, l.ID)
		}
		return nil
	})
}

// records reads history, which lies in the order of its revisions.
func (r *dbReader) records(b *bolt.Bucket) error {
	live := map[string][]byte{} // newest version of each key, in the mapped file
	var kv mvccpb.KeyValue
	err := b.ForEach(func(k, v []byte) error {
		rev := mvcc.BytesToRev(k) // panics over what is not a revision
		kv.Reset()
		if err := proto.Unmarshal(v, &kv); err != nil {
			return fmt.Errorf("revision %d: %w", rev.Main, err)
		}
		r.state.history++
		r.state.revision = max(r.state.revision, rev.Main)
		switch {
		case mvcc.IsTombstone(k):
			delete(live, string(kv.Key))
			return nil
		case kv.ModRevision != rev.Main || kv.CreateRevision < 1 || kv.CreateRevision > kv.ModRevision || kv.Version < 1:
			return fmt.Errorf("revision %d holds a record of revision %d, created at %d, version %d", rev.Main, kv.ModRevision, kv.CreateRevision, kv.Version)
		}
		live[string(kv.Key)] = v
		return nil
	})
	if err != nil {
		return err
	}
	r.state.live = len(live)
	for _, key := range slices.Sorted(maps.Keys(live)) {
		kv.Reset()
		if err := proto.Unmarshal(live[key], &kv); err != nil {
			return err
		}
		sound := r.unseal(&kv)
		if r.visit != nil {
			if r.visitErr = r.visit(&kv, sound); r.visitErr != nil {
				return r.visitErr
			}
		}
		if r.ctx.Err() != nil {
			return r.ctx.Err()
		}
	}
	return nil
}

// unseal reports whether a record is what was written, as far as can be known.
func (r *dbReader) unseal(kv *mvccpb.KeyValue) bool {
	if r.sealer == nil {
		return true
	}
	_, err := r.sealer.Open(kv.Key, kv.Value)
	switch {
	case err == nil:
	case r.sealer.lacksKey(kv.Value):
		r.state.foreign++
	default:
		r.state.broken = append(r.state.broken, string(kv.Key))
		return false
	}
	return true
}

// lacksKey reports whether sealed bears the name of a key that is not in the key
// file: a fault of the file rather than of the value.
func (s *Sealer) lacksKey(sealed []byte) bool {
	if len(sealed) < sealHead || !bytes.HasPrefix(sealed, []byte(sealMagic)) {
		return false
	}
	_, has := s.keys[keyID(sealed[len(sealMagic):sealHead])]
	return !has
}

// namesOf lists some keys for an error.
func namesOf(keys []string) string {
	slices.Sort(keys)
	text := strings.Join(keys[:min(len(keys), maxNamed)], ", ")
	if more := len(keys) - maxNamed; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
