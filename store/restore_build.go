package store

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.etcd.io/etcd/server/v3/storage/schema"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
)

// restoreBatchBytes are written to the new database at once.
const restoreBatchBytes = 4 << 20

// build makes what etcd would have left behind, had it founded a cluster and
// stopped when all the records were in the database: entry 1 of the log adds the
// one member, a snapshot says that the database holds what is before entry 2.
//
// etcd's own restore (etcdutl) keeps the records' old revisions, so that a record
// can go from a revision to a lower one; it keeps the leases; and it begins at
// term 1, below the terms that records may bear.
func (r *restorer) build() error {
	tuneEtcd()
	// Over some failures etcd's functions log a Fatal, which ends their goroutine.
	result := make(chan error, 1)
	go func() {
		lg := newZap(slog.New(slog.DiscardHandler), func() bool { return true }, func(err error) { result <- err })
		result <- r.buildWith(lg)
	}()
	return <-result
}

func (r *restorer) buildWith(lg *zap.Logger) error {
	scheme := "https"
	if r.opts.PeerTLS.empty() {
		scheme = "http"
	}
	urls, err := types.NewURLsMap(r.opts.Name + "=" + scheme + "://" + r.opts.PeerAdvertise)
	if err != nil {
		return err
	}
	cluster, err := membership.NewClusterFromURLsMap(lg, newClusterToken(), urls)
	if err != nil {
		return err
	}
	r.done.ClusterID = uint64(cluster.ID())
	member := cluster.MemberByName(r.opts.Name)
	if err := r.buildDB(member); err != nil {
		return err
	}
	return r.buildWAL(lg, cluster, member)
}

// position is entry 1, of a term that is higher than any before.
func (r *restorer) position() (index, term uint64) { return 1, r.state.term + termBump }

func confStateOf(member types.ID) *raftpb.ConfState {
	return &raftpb.ConfState{Voters: []uint64{uint64(member)}}
}

func (r *restorer) buildDB(member *membership.Member) (err error) {
	db, err := bolt.Open(dbPath(r.dir), 0o600, &bolt.Options{NoFreelistSync: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := db.Update(func(tx *bolt.Tx) error { return r.fillMeta(tx, member) }); err != nil {
		return err
	}
	w := &recordWriter{db: db, revision: r.done.Revision}
	if err := r.records(w.put); err != nil {
		return errors.Join(err, w.rollback())
	}
	return w.commit()
}

// fillMeta writes everything but the records.
func (r *restorer) fillMeta(tx *bolt.Tx, member *membership.Member) error {
	buckets := map[string]*bolt.Bucket{}
	for _, b := range schema.AllBuckets {
		made, err := tx.CreateBucket(b.Name())
		if err != nil {
			return err
		}
		buckets[string(b.Name())] = made
	}
	record, err := json.Marshal(member)
	if err != nil {
		return err
	}
	confState, err := json.Marshal(confStateOf(member.ID))
	if err != nil {
		return err
	}
	index, term := r.position()
	compacted := mvcc.RevToBytes(mvcc.Revision{Main: r.done.Revision}, mvcc.NewRevBytes())
	meta := buckets[string(schema.Meta.Name())]
	return errors.Join(
		buckets[string(schema.Members.Name())].Put(schema.BackendMemberKey(member.ID), record),
		meta.Put(schema.MetaConsistentIndexKeyName, binary.BigEndian.AppendUint64(nil, index)),
		meta.Put(schema.MetaTermKeyName, binary.BigEndian.AppendUint64(nil, term)),
		meta.Put(schema.MetaConfStateName, confState),
		meta.Put(schema.ScheduledCompactKeyName, compacted),
		meta.Put(schema.FinishedCompactKeyName, compacted),
	)
}

// recordWriter writes records as one transaction of etcd, in several of bbolt.
type recordWriter struct {
	db       *bolt.DB
	revision int64
	sub      int64
	tx       *bolt.Tx
	bytes    int // in tx
}

func (w *recordWriter) put(key, value []byte) (err error) {
	if w.tx == nil {
		if w.tx, err = w.db.Begin(true); err != nil {
			return err
		}
	}
	data, err := proto.Marshal(&mvccpb.KeyValue{Key: key, Value: value, CreateRevision: w.revision, ModRevision: w.revision, Version: 1})
	if err != nil {
		return err
	}
	b := w.tx.Bucket(schema.Key.Name())
	b.FillPercent = 0.9 // keys ascend
	at := mvcc.RevToBytes(mvcc.Revision{Main: w.revision, Sub: w.sub}, mvcc.NewRevBytes())
	if err := b.Put(at, data); err != nil {
		return err
	}
	w.sub++
	if w.bytes += len(data); w.bytes >= restoreBatchBytes {
		return w.commit()
	}
	return nil
}

func (w *recordWriter) commit() error {
	if w.tx == nil {
		return nil
	}
	err := w.tx.Commit()
	w.tx, w.bytes = nil, 0
	return err
}

func (w *recordWriter) rollback() error {
	if w.tx == nil {
		return nil
	}
	return w.tx.Rollback()
}

func (r *restorer) buildWAL(lg *zap.Logger, cluster *membership.RaftCluster, member *membership.Member) (err error) {
	id, clusterID := uint64(member.ID), uint64(cluster.ID())
	metadata, err := proto.Marshal(&etcdserverpb.Metadata{NodeID: &id, ClusterID: &clusterID})
	if err != nil {
		return err
	}
	record, err := json.Marshal(member)
	if err != nil {
		return err
	}
	change, err := proto.Marshal(&raftpb.ConfChange{Type: raftpb.ConfChangeAddNode.Enum(), NodeId: &id, Context: record})
	if err != nil {
		return err
	}
	w, err := wal.Create(lg, walDir(r.dir), metadata)
	if err != nil {
		return fmt.Errorf("make log in %s: %w", filepath.Base(r.dir), err)
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	index, term := r.position()
	err = w.Save(&raftpb.HardState{Term: &term, Vote: &id, Commit: &index},
		[]*raftpb.Entry{{Type: raftpb.EntryConfChange.Enum(), Term: &term, Index: &index, Data: change}})
	if err != nil {
		return err
	}
	return w.SaveSnapshot(&walpb.Snapshot{Index: &index, Term: &term, ConfState: confStateOf(member.ID)})
}
