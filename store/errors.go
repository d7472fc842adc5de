package store

import "errors"

// What can go wrong with a record or a call. All errors of this package wrap one
// of these (or the caller's own context error); test with errors.Is.
var (
	// ErrNotFound: the record or lease does not exist (any more).
	ErrNotFound = errors.New("not found")
	// ErrExists: Create found a record under this key.
	ErrExists = errors.New("exists already")
	// ErrConflict: the record has changed since the caller read it. Read again, decide again.
	ErrConflict = errors.New("changed in the meantime")
	// ErrNoQuorum: no majority of the members (or, with one member, no disk)
	// answered within the deadline. A write may have been done or not: read to know.
	ErrNoQuorum = errors.New("no quorum answered in time")
	// ErrClosed: the member has stopped, or etcd has failed and it is about to.
	ErrClosed = errors.New("store is closed")
	// ErrInvalid: a key, an option or a combination of operations is not allowed. Nothing was sent.
	ErrInvalid = errors.New("invalid")
	// ErrTooLarge: a value is larger than MaxValueBytes, or a transaction larger than MaxTxnBytes.
	ErrTooLarge = errors.New("too large")
	// ErrFull: the database has reached Options.MaxBytes; only deletes are accepted.
	ErrFull = errors.New("store is full")
	// ErrDeposed: the write was made in the name of a leader's term that is over. Nothing was written.
	ErrDeposed = errors.New("no longer the leader")
	// ErrUnreadable: a record is there, but it cannot be opened: damaged,
	// sealed with a key that is not in the key file, of another kind, or written
	// by a newer version.
	ErrUnreadable = errors.New("record cannot be read")
)

// Why a change of the membership is refused. Nothing was changed.
var (
	// ErrNotLeader: only the leader knows enough of the others to decide. The error names it.
	ErrNotLeader = errors.New("not the leader")
	// ErrChangePending: another change is under way, or an added member has not started yet.
	ErrChangePending = errors.New("another change of the membership is not finished")
	// ErrQuorumAtRisk: without a majority, or one loss away from being without.
	ErrQuorumAtRisk = errors.New("this would endanger the quorum")
	// ErrNotCaughtUp: the learner has not started, cannot be reached, or still lacks much of the log.
	ErrNotCaughtUp = errors.New("the learner has not caught up")
)

// What can be wrong with the directory or the key file when a member starts.
var (
	// ErrDamaged: files in the data directory are corrupt or missing. Nothing was changed.
	ErrDamaged = errors.New("data directory is damaged")
	// ErrInUse: another process (or another Member) has the data directory open.
	ErrInUse = errors.New("data directory is in use")
	// ErrDiskFull: the file system of the data directory is full.
	ErrDiskFull = errors.New("disk is full")
	// ErrAccess: the data directory cannot be read or written by this process.
	ErrAccess = errors.New("no access to the data directory")
	// ErrRemoved: the other members have removed this one. Its directory is of no
	// use any more: set it aside, and let this node be added again as a new member.
	ErrRemoved = errors.New("removed from the cluster")
	// ErrKeyFile: the key file is missing, malformed, or readable by others.
	ErrKeyFile = errors.New("key file cannot be used")
)
