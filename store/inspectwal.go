package store

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"google.golang.org/protobuf/proto"
)

// entryID names an entry of raft's log.
type entryID struct{ index, term uint64 }

// logState is what readLog found in a directory of raft's log.
type logState struct {
	node     uint64 // the member that wrote it
	commit   uint64 // the newest entry that it knows to be committed
	entries  []entryID
	snapshot entryID // where the log begins to matter: the database holds what is before
	end      logEnd

	snapshots []entryID
	chain     uint32 // checksum, each record's over all before it
}

// last is the newest entry.
func (s *logState) last() entryID {
	if n := len(s.entries); n > 0 && s.entries[n-1].index > s.snapshot.index {
		return s.entries[n-1]
	}
	return s.snapshot
}

// termOf is the term of entry i, or 0 if it is not in the log.
func (s *logState) termOf(i uint64) uint64 {
	if at, ok := s.find(i); ok {
		return s.entries[at].term
	}
	return 0
}

func (s *logState) find(i uint64) (at int, ok bool) {
	return slices.BinarySearchFunc(s.entries, i, func(e entryID, i uint64) int { return cmp.Compare(e.index, i) })
}

// readLog reads all records of the log in dir with etcd's decoder. etcd itself
// logs a Fatal over most of what can be wrong, and over some of it cuts off what
// it cannot read; whether that was ever acknowledged is for checkTail to say.
func readLog(dir string) (s *logState, err error) {
	defer func() {
		if p := recover(); p != nil { // etcd's unmarshalling
			err = fmt.Errorf("%v", p)
		}
	}()
	files, err := segments(dir)
	if err != nil {
		return nil, err
	}
	s = &logState{}
	for i, path := range files {
		if err := s.readFile(path, i == 0, i == len(files)-1); err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Base(path), err)
		}
	}
	return s, s.settle()
}

// segments lists the files of the log, the oldest first.
func segments(dir string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("no files (%v)", err)
	}
	slices.Sort(files)
	var first, seq, index uint64
	for i, path := range files {
		if _, err := fmt.Sscanf(filepath.Base(path), "%016x-%016x.wal", &seq, &index); err != nil {
			return nil, fmt.Errorf("%s: not the name of a log file: %w", filepath.Base(path), err)
		}
		if i == 0 {
			first = seq
		} else if seq != first+uint64(i) {
			return nil, fmt.Errorf("the file before %s is missing", filepath.Base(path))
		}
	}
	return files, nil
}

func (s *logState) readFile(path string, first, last bool) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	d := wal.NewDecoder(fileutil.NewFileReader(f))
	records := 0
	var rec walpb.Record
	for err = d.Decode(&rec); err == nil; err = d.Decode(&rec) {
		records++
		if rec.GetType() == wal.CrcType {
			// The first record of a file repeats the checksum that the one before ended with.
			if known := !first || records > 1; known && rec.GetCrc() != s.chain {
				return fmt.Errorf("record %d: the checksums do not join", records)
			}
			d.UpdateCRC(rec.GetCrc())
		} else if records == 1 {
			return errors.New("its head is missing")
		}
		s.chain = d.LastCRC()
		if err := s.take(&rec); err != nil {
			return err
		}
	}
	s.end = logEnd{path: path, offset: d.LastOffset(), size: info.Size()}
	switch {
	case records == 0:
		return errors.New("its head is missing")
	case !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return err
	case !last && s.end.offset != s.end.size:
		return fmt.Errorf("it breaks at byte %d of %d, and there is a newer file", s.end.offset, s.end.size)
	case !last:
		return nil
	}
	return s.checkTail(f)
}

// take notes one record.
func (s *logState) take(rec *walpb.Record) error {
	switch rec.GetType() {
	case wal.MetadataType:
		var m etcdserverpb.Metadata
		if err := proto.Unmarshal(rec.Data, &m); err != nil {
			return err
		}
		if s.node != 0 && s.node != m.GetNodeID() {
			return wal.ErrMetadataConflict
		}
		s.node = m.GetNodeID()
	case wal.EntryType:
		e := wal.MustUnmarshalEntry(rec.Data)
		// A new leader writes over what was never committed.
		at, _ := s.find(e.GetIndex())
		s.entries = append(s.entries[:at], entryID{e.GetIndex(), e.GetTerm()})
	case wal.StateType:
		s.commit = wal.MustUnmarshalState(rec.Data).GetCommit()
	case wal.SnapshotType:
		var snap walpb.Snapshot
		if err := proto.Unmarshal(rec.Data, &snap); err != nil {
			return err
		}
		s.snapshots = append(s.snapshots, entryID{snap.GetIndex(), snap.GetTerm()})
	case wal.CrcType:
	default:
		return fmt.Errorf("unknown record type %d", rec.GetType())
	}
	return nil
}

// settle checks the whole log.
func (s *logState) settle() error {
	found := false
	for _, snap := range s.snapshots {
		if snap.index <= s.commit || snap.index == 0 {
			s.snapshot, found = snap, true
		}
	}
	if !found {
		return errors.New("the record that says where it begins is missing")
	}
	next := s.snapshot.index + 1
	for _, e := range s.entries {
		if e.index <= s.snapshot.index {
			continue
		}
		if e.index != next {
			return fmt.Errorf("entry %d is missing", next)
		}
		next++
	}
	if s.commit >= next {
		return fmt.Errorf("it ends at entry %d, and entry %d was committed", next-1, s.commit)
	}
	return nil
}
