package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Way is what can be done about a data directory that is damaged.
type Way string

const (
	// WayRejoin: set the directory aside and join the others as a new, empty
	// member. Nothing that was acknowledged is lost.
	WayRejoin Way = "rejoin"
	// WayOwn: the database of the damaged directory can be read as a whole.
	WayOwn Way = "own database"
	// WaySnapshot: the newest good snapshot.
	WaySnapshot Way = "snapshot"
	// WayNone: nothing is left on this machine; a backup is needed.
	WayNone Way = "none"
)

// Remedy is the best that can be done about a damaged directory.
type Remedy struct {
	Way Way
	// From is for Replace, of WayOwn and WaySnapshot.
	From RestoreFrom
	// Revision up to which everything will be there again, and the newest one that
	// is known to have been. Both are 0 if nothing is known.
	Revision, Newest int64
	// Taken is when the snapshot was taken, of WaySnapshot.
	Taken time.Time
	// Unreadable are the keys of records that are damaged in the own database;
	// older ones take their place, or they are lost.
	Unreadable []string
	// Lost says in words what is lost, for the log and for the person.
	Lost string
}

// FindRemedy reads what is left of the damaged directory dir, and the snapshots,
// and changes nothing. othersLead: the other members can lead without this one.
func FindRemedy(ctx context.Context, dir string, othersLead bool, shelf *Shelf) (Remedy, error) {
	if othersLead {
		return Remedy{Way: WayRejoin, Lost: "nothing: the other members have it all"}, nil
	}
	own, ownErr := readDB(ctx, dbPath(dir), shelf.opts.Sealer, nil)
	if ownErr == nil && !own.holdsData() {
		ownErr = errors.New("it is empty or missing")
	}
	snapshot, err := shelf.Newest(ctx)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return Remedy{}, err
	}
	r := Remedy{Newest: max(own.revision, snapshot.Revision)}
	switch {
	case ownErr == nil && own.revision >= snapshot.Revision:
		r.Way, r.Revision, r.Unreadable = WayOwn, own.revision, own.broken
		r.From = RestoreFrom{Directory: dir, Snapshot: snapshot.Path}
		r.Lost = ownLost(dir, own)
	case snapshot.Path != "":
		r.Way, r.Revision, r.Taken = WaySnapshot, snapshot.Revision, snapshot.Time
		r.From = RestoreFrom{Snapshot: snapshot.Path}
		r.Lost = fmt.Sprintf("everything after revision %d, %s", r.Revision, r.Taken.Format(time.RFC3339))
		if r.Newest > r.Revision {
			r.Lost += fmt.Sprintf("; revision %d is known to have been there", r.Newest)
		}
	default:
		r.Way, r.Lost = WayNone, fmt.Sprintf("everything: no snapshot is good, and the database cannot be used (%v)", ownErr)
	}
	return r, ctx.Err()
}

// ownLost says what the database does not know.
func ownLost(dir string, own dbState) string {
	lost := fmt.Sprintf("at most what was written in the last %v before the member stopped, after revision %d", batchInterval, own.revision)
	if log, err := readLog(walDir(dir)); err == nil && log.last().index == own.applied {
		lost = "nothing"
	}
	if len(own.broken) > 0 {
		lost += "; these records are damaged, and older ones are taken where there are any: " + namesOf(own.broken)
	}
	return lost
}
