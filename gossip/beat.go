package gossip

import (
	"encoding/binary"
	"time"
)

// beatMark begins a beat; a message begins with '{'.
const beatMark = 'B'

// beat is a sign of life: the packet that a node sends to its watchers a few times a second. Nobody answers it and
// nobody passes it on.
type beat struct {
	id string
	// limit is how long the sender may be silent: its profile's, so that each is judged by its own link.
	limit time.Duration
	// view is the digest of the sender's.
	view uint64
	// deaf says that the sender hears nobody: it lives, but nothing gets through to it.
	deaf bool
}

// Limits of a limit that is believed.
const (
	minSilence = 100 * time.Millisecond
	maxSilence = time.Minute
)

func (b beat) encode() []byte {
	flags := byte(0)
	if b.deaf {
		flags = 1
	}
	out := binary.BigEndian.AppendUint64([]byte{beatMark, flags}, b.view)
	out = binary.AppendUvarint(out, uint64(b.limit.Milliseconds()))
	return append(out, b.id...)
}

func decodeBeat(b []byte) (beat, bool) {
	const fixed = 10
	if len(b) < fixed || b[0] != beatMark {
		return beat{}, false
	}
	limit, n := binary.Uvarint(b[fixed:])
	if n <= 0 || limit > uint64(maxSilence.Milliseconds()) {
		return beat{}, false
	}
	out := beat{
		id: string(b[fixed+n:]), limit: max(time.Duration(limit)*time.Millisecond, minSilence),
		view: binary.BigEndian.Uint64(b[2:]), deaf: b[1]&1 != 0,
	}
	return out, checkID(out.id) == nil
}
