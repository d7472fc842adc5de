package store

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

// syncedLog is a log file as it was at each sync.
type syncedLog struct {
	path    string
	states  [][]byte    // contents, without the zeroes at the end
	entries [][]entryID // that each of them holds
}

// drawLog writes a log the way that etcd's raft loop does: of a member that is
// alone, or of one that follows a leader.
func drawLog(t *rapid.T, dir string, alone bool) *syncedLog {
	tuneEtcd()
	metadata, err := proto.Marshal(&etcdserverpb.Metadata{NodeID: proto.Uint64(7), ClusterID: proto.Uint64(8)})
	check(t, err)
	w, err := wal.Create(zap.NewNop(), filepath.Join(dir, "wal"), metadata)
	check(t, err)
	files, err := segments(filepath.Join(dir, "wal"))
	check(t, err)
	l := &syncedLog{path: files[0]}
	var entries []entryID
	note := func() {
		f, err := os.Open(l.path)
		check(t, err)
		defer f.Close()
		content, err := io.ReadAll(io.LimitReader(f, 1<<20)) // more than is drawn
		check(t, err)
		l.states, l.entries = append(l.states, bytes.TrimRight(content, "\x00")), append(l.entries, slices.Clone(entries))
	}
	note()
	var commit uint64
	term := uint64(1)
	for range rapid.IntRange(1, 12).Draw(t, "saves") {
		var batch []*raftpb.Entry
		sync := false
		for range rapid.SampledFrom([]int{0, 1, 1, 1, 2, 5}).Draw(t, "entries") {
			e := entryID{uint64(len(entries)) + 1, term}
			entries = append(entries, e)
			data := make([]byte, rapid.SampledFrom([]int{0, 20, 150, 400, 600, 5000, 9000}).Draw(t, "bytes"))
			rand.Read(data)
			batch, sync = append(batch, &raftpb.Entry{Index: proto.Uint64(e.index), Term: proto.Uint64(e.term), Type: raftpb.EntryNormal.Enum(), Data: data}), true
		}
		known := uint64(len(entries) - len(batch)) // what was synced before
		if !alone {
			known = uint64(len(entries))
		}
		state := &raftpb.HardState{Term: proto.Uint64(term), Vote: proto.Uint64(7), Commit: proto.Uint64(commit)}
		if rapid.Bool().Draw(t, "state") {
			commit = rapid.Uint64Range(commit, known).Draw(t, "commit")
			state = &raftpb.HardState{Term: proto.Uint64(term), Vote: proto.Uint64(7), Commit: proto.Uint64(commit)}
		} else if len(batch) > 0 {
			state = &raftpb.HardState{}
		}
		check(t, w.Save(state, batch))
		if sync {
			note()
		}
	}
	check(t, w.Close()) // syncs what was left over
	note()
	return l
}

func check(t rapid.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// write makes content what is found at the next start.
func (l *syncedLog) write(t rapid.TB, content []byte) {
	f, err := os.OpenFile(l.path, os.O_RDWR|os.O_TRUNC, 0)
	check(t, err)
	_, err = f.Write(content)
	check(t, errors.Join(err, f.Truncate(walSegmentBytes), f.Close()))
}

// reopen is what etcd does after inspect.
func reopen(t rapid.TB, dir string) []entryID {
	w, err := wal.Open(zap.NewNop(), filepath.Join(dir, "wal"), &walpb.Snapshot{})
	check(t, err)
	_, _, ents, err := w.ReadAll()
	check(t, err)
	check(t, w.Close())
	var ids []entryID
	for _, e := range ents {
		ids = append(ids, entryID{e.GetIndex(), e.GetTerm()})
	}
	return ids
}

func tempDir(t *rapid.T) string {
	dir, err := os.MkdirTemp("", "store")
	check(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// TestPowerCut: of what was not synced, any sectors may be there and others not.
// Nothing that was synced is lost, and it is no damage.
func TestPowerCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir := tempDir(t)
		alone := rapid.Bool().Draw(t, "alone")
		l := drawLog(t, dir, alone)
		k := rapid.IntRange(1, len(l.states)-1).Draw(t, "state")
		before, after := l.states[k-1], l.states[k]
		content := bytes.Clone(after)
		for at := 0; at < len(after); at += 512 {
			sector := content[at:min(at+512, len(content))]
			if rapid.Bool().Draw(t, "lost") {
				clear(sector)
				if at < len(before) {
					copy(sector, before[at:])
				}
			}
		}
		l.write(t, content)
		s, err := readLog(filepath.Dir(l.path))
		if err != nil {
			t.Fatalf("taken for damage: %v", err)
		}
		if alone && s.end.promised > s.last().index {
			t.Fatalf("entry %d is said to be lost, the last one is %d", s.end.promised, s.last().index)
		}
		check(t, s.mend())
		got := reopen(t, dir)
		if !slices.Equal(got, s.entries) {
			t.Fatalf("etcd reads %v, inspect read %v", got, s.entries)
		}
		if synced := l.entries[k-1]; len(got) < len(synced) || !slices.Equal(got[:len(synced)], synced) {
			t.Fatalf("%v were synced, found %v", synced, got)
		}
	})
}

// TestFlippedBits: everything was synced, then some bits turned. Either it is
// called damage, or nothing is missing.
func TestFlippedBits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir := tempDir(t)
		alone := rapid.Bool().Draw(t, "alone")
		l := drawLog(t, dir, alone)
		content := bytes.Clone(l.states[len(l.states)-1])
		for range rapid.IntRange(1, 3).Draw(t, "bits") {
			at := rapid.IntRange(0, 8*len(content)-1).Draw(t, "bit")
			content[at/8] ^= 1 << (at % 8)
		}
		l.write(t, content)
		s, err := readLog(filepath.Dir(l.path))
		if err != nil || alone && s.end.promised > s.last().index {
			return
		}
		check(t, s.mend())
		got := reopen(t, dir)
		if want := l.entries[len(l.entries)-1]; !slices.Equal(got, want) {
			t.Fatalf("%v were synced, found %v", want, got)
		}
	})
}
