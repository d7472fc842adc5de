package feed

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// What the feed tells about. The list is closed.
const (
	// KindTopology has one key, the cluster's id.
	KindTopology = "topology"
	// KindNode has a node's id as key.
	KindNode = "node"
	// KindContainer has "<node id>/<container id>" as key.
	KindContainer = "container"
	// KindAlert has an alert's id as key.
	KindAlert = "alert"
	// KindEvent is the cluster's log. It only grows; a reader drops old lines
	// itself. Keys sort by age.
	KindEvent = "event"
)

// Kinds lists every kind in the order in which a snapshot tells them.
func Kinds() []string {
	return []string{KindTopology, KindNode, KindContainer, KindAlert, KindEvent}
}

// ValidKind reports whether kind is in the list.
func ValidKind(kind string) bool { return slices.Contains(Kinds(), kind) }

// What a Change does.
const (
	// TypePut: Object is what stands under Kind and Key from now on.
	TypePut = "put"
	// TypeDelete: nothing stands under Kind and Key any more.
	TypeDelete = "delete"
	// TypeReset: forget everything; a snapshot follows. Its ID is empty, so a
	// reader that is cut in the middle of a snapshot starts afresh.
	TypeReset = "reset"
	// TypeSynced ends a snapshot, or what was missed since the last ID: the
	// reader now knows everything up to the ID.
	TypeSynced = "synced"
	// TypeCut is the last word of a stream that the server ends; Reason says
	// why.
	TypeCut = "cut"
)

// Change is one message to a watcher.
type Change struct {
	// ID is "<epoch>-<sequence>", and what a reader gives back to resume
	// after this change. It is empty for the changes of a snapshot.
	ID   string `json:"-"`
	Type string `json:"type"`
	// Kind and Key are empty for reset, synced and cut.
	Kind string `json:"kind,omitempty"`
	Key  string `json:"key,omitempty"`
	// Object only for put.
	Object json.RawMessage `json:"object,omitempty"`
	// Reason only for cut.
	Reason string `json:"reason,omitempty"`
}

// position is a point in one run of a Hub.
type position struct {
	epoch string
	seq   uint64
}

// maxID is longer than any id that a Hub makes: 16 digits of epoch, a dash,
// 20 digits of sequence.
const maxID = 37

func (p position) String() string { return p.epoch + "-" + strconv.FormatUint(p.seq, 10) }

// parseID reads the id of a change. An id of another run is as valid as one
// of this run; whoever compares must look at the epoch first.
func parseID(id string) (position, error) {
	if len(id) > maxID {
		return position{}, fmt.Errorf("id of %d bytes is too long: at most %d", len(id), maxID)
	}
	epoch, digits, ok := strings.Cut(id, "-")
	if !ok || epoch == "" {
		return position{}, fmt.Errorf("id %q is not <epoch>-<sequence>", id)
	}
	seq, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || strconv.FormatUint(seq, 10) != digits {
		return position{}, fmt.Errorf("id %q: %q is not a sequence number", id, digits)
	}
	return position{epoch: epoch, seq: seq}, nil
}
