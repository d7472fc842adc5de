package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// A power cut leaves the log's newest file with everything up to the last sync,
// and of what was written after it some sectors and not others. etcd cuts off
// what it cannot read there, which is right, and does the same over any damage
// that looks alike, which loses what was acknowledged. The difference:
//
//   - a sector (512 bytes) is written whole or not at all, and the file is made
//     of zeroes before. So a torn record has a sector of zeroes in it. This etcd
//     checks; but it believes a damaged length, which spans zeroes by mistake;
//   - etcd syncs after every group of entries, so nothing is written before what
//     was written earlier is safe. A record that proves itself to be of a later
//     group than the unreadable one proves damage. Each record's checksum covers
//     all before it, so two neighbours that fit together are no accident.
//
// Whole records missing at the very end leave no trace here. That they were
// acknowledged is known only from the database, which follows within batchInterval.

// logEnd is where the newest file of the log stops making sense.
type logEnd struct {
	path   string
	offset int64 // of the first byte behind the last record
	size   int64 // of the file
	torn   int64 // bytes behind offset, never synced, that etcd has to be spared
	// promised is the newest entry that the torn bytes call committed. A member
	// that is alone commits nothing before it is synced.
	promised uint64
}

// sectorBytes are written whole or not at all.
const sectorBytes = 512

// maxRecordBytes is more than any record has.
const maxRecordBytes = 2 * (MaxTxnBytes + MaxTxnBytes/2)

// checkTail looks at what lies behind the last record that can be read.
func (s *logState) checkTail(f *os.File) error {
	end := &s.end
	rest, err := readRest(f, end.offset)
	if err != nil {
		return err
	}
	broken := func(why string) error {
		return fmt.Errorf("the record at byte %d, after entry %d, is damaged: %s", end.offset, s.lastRead(), why)
	}
	switch {
	case end.offset%8 != 0:
		return broken("records begin at multiples of 8")
	case len(rest) == 0:
		return nil
	}
	left := end.size - end.offset
	switch claim := claimed(rest); {
	case claim > left && claim > maxRecordBytes:
		return broken("its length is impossible")
	case (claim > left || left < 8) && s.wasCut():
		return broken(fmt.Sprintf("the file was cut at byte %d", end.size))
	}
	if intactWithoutLength(rest, s.chain) {
		return broken("its length")
	}
	if s.writtenLater(rest) {
		return broken("it was synced, for records follow that were written later")
	}
	end.torn = int64(len(rest))
	return nil
}

// wasCut reports whether the file is shorter than etcd makes it. Members are
// never let write to a file that is (see mend), unless etcd itself has cut it.
func (s *logState) wasCut() bool {
	_, err := os.Stat(s.end.path + ".broken")
	return s.end.size < walSegmentBytes && errors.Is(err, fs.ErrNotExist)
}

// lastRead is the newest entry that could be read, or that a snapshot stands for.
func (s *logState) lastRead() (index uint64) {
	if n := len(s.entries); n > 0 {
		index = s.entries[n-1].index
	}
	for _, snap := range s.snapshots {
		index = max(index, snap.index)
	}
	return index
}

// readRest reads from offset on, and leaves out all but some of the zeroes at the
// end of the file: a record may end with a few.
func readRest(f *os.File, offset int64) ([]byte, error) {
	used := offset
	block := make([]byte, 64<<10)
	for at := offset; ; {
		n, err := f.ReadAt(block, at)
		if trimmed := len(bytes.TrimRight(block[:n], "\x00")); trimmed > 0 {
			used = at + int64(trimmed)
		}
		at += int64(n)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	if used == offset {
		return nil, nil
	}
	return io.ReadAll(io.NewSectionReader(f, offset, used-offset+sectorBytes))
}

// claimed is the length of the first frame of b, head included, as it says.
func claimed(b []byte) int64 {
	if len(b) < 8 {
		return 0
	}
	head := binary.LittleEndian.Uint64(b)
	n := int64(head &^ (0xff << 56))
	if head>>63 != 0 {
		n += int64(head >> 56 & 7)
	}
	return 8 + n
}

// intactWithoutLength reports whether the first record of b is whole and only
// its length is wrong. A length of zero may be a sector that was never written.
func intactWithoutLength(b []byte, chain uint32) bool {
	if len(b) < 8 || binary.LittleEndian.Uint64(b) == 0 {
		return false
	}
	rec, ok := parseRecord(b[8:])
	return ok && rec.follows(chain)
}

// record is one that was found without knowing what was before it.
type record struct {
	kind  int64
	crc   uint32
	data  []byte
	bytes int // without padding
}

// follows reports whether the checksum of all before is chain.
func (r record) follows(chain uint32) bool {
	return r.kind == wal.CrcType && r.crc == chain || r.kind != wal.CrcType && r.crc == crc32.Update(chain, castagnoli, r.data)
}

// castagnoli is the polynomial of etcd's log.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// parseRecord reads a walpb.Record, whose fields etcd writes in their order,
// without being told its length.
func parseRecord(b []byte) (r record, ok bool) {
	kind, n := protowire.ConsumeVarint(skipTag(b, 1, protowire.VarintType))
	if n < 0 || kind < uint64(wal.MetadataType) || kind > uint64(wal.SnapshotType) {
		return r, false
	}
	at := 1 + n
	crc, n := protowire.ConsumeVarint(skipTag(b[at:], 2, protowire.VarintType))
	if n < 0 || crc > 1<<32-1 {
		return r, false
	}
	at += 1 + n
	r = record{kind: int64(kind), crc: uint32(crc), bytes: at}
	if r.data, n = protowire.ConsumeBytes(skipTag(b[at:], 3, protowire.BytesType)); n >= 0 {
		r.bytes += 1 + n
	}
	return r, n >= 0 || r.kind == wal.CrcType
}

// skipTag returns what follows the tag of a field, or nothing if it is another one.
func skipTag(b []byte, field protowire.Number, kind protowire.Type) []byte {
	if tag := protowire.EncodeTag(field, kind); len(b) > 0 && uint64(b[0]) == tag {
		return b[1:]
	}
	return nil
}

// parseFrame reads the record at the beginning of b and its length in the file.
func parseFrame(b []byte) (r record, n int, ok bool) {
	claim := claimed(b)
	if claim < 8+4 || claim > int64(len(b)) {
		return r, 0, false
	}
	r, ok = parseRecord(b[8:])
	return r, int(claim), ok && (8+r.bytes+7)&^7 == int(claim)
}

// writtenLater reports whether rest holds records that were written after those
// at its beginning had been synced, and notes what the others promise.
func (s *logState) writtenLater(rest []byte) bool {
	for at := 8; at+8 <= len(rest); at += 8 {
		first, n, ok := parseFrame(rest[at:])
		if !ok {
			continue
		}
		var chain []record // proven by their predecessors
		next := at + n
		for before := first; next < len(rest); {
			r, n, ok := parseFrame(rest[next:])
			if !ok || !r.follows(before.crc) {
				break
			}
			chain, before, next = append(chain, r), r, next+n
		}
		if s.provesSync(chain) {
			return true
		}
		if len(chain) > 0 {
			at = next - 8
		}
	}
	return false
}

// provesSync: between two syncs etcd writes what it knows to be committed, any
// number of times, then entries, then that state once. So there was a sync if
// anything follows a state that follows an entry; and if anything follows a state
// that calls an entry committed which was not read: that entry came before it.
func (s *logState) provesSync(chain []record) bool {
	entry := false
	for i, r := range chain {
		more := i < len(chain)-1
		switch r.kind {
		case wal.EntryType:
			entry = true
		case wal.StateType:
			commit := commitOf(r.data)
			if more && (entry || commit > s.lastRead()) {
				return true
			}
			s.end.promised = max(s.end.promised, commit)
		default: // a snapshot or the head of a file is synced at once
			if more {
				return true
			}
		}
	}
	return false
}

// commitOf reads a hard state.
func commitOf(data []byte) uint64 {
	var state raftpb.HardState
	if proto.Unmarshal(data, &state) != nil {
		return 0
	}
	return state.GetCommit()
}

// mend makes the end of the log what etcd can go on with: it takes away what was
// torn, and gives the file the length that etcd had given it. etcd would cut the
// file, after having made a copy of it, for which there may be no space; records
// that are then written behind the end of the file can be torn in other ways.
func (s *logState) mend() error {
	end := s.end
	if end.torn == 0 && end.size >= walSegmentBytes {
		return nil
	}
	f, err := os.OpenFile(end.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if end.torn > 0 {
		if _, err := f.WriteAt(make([]byte, end.torn), end.offset); err != nil {
			return err
		}
	}
	if end.size < walSegmentBytes {
		if err := fileutil.Preallocate(f, walSegmentBytes, true); err != nil {
			return fmt.Errorf("give %s its length of %d KiB: %w", end.path, walSegmentBytes>>10, err)
		}
	}
	return f.Sync()
}
