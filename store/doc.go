// Package store keeps what the masters must not lose. It is the only room that
// knows etcd and bbolt; everybody else sees records of their own Go types.
//
// A [Member] runs one etcd member inside this process: no client port on the
// network, a peer port with mutual TLS. A [Collection] is a typed view of one
// key prefix: [Collection.Get], [Collection.List], [Collection.Create],
// [Collection.Update], [Collection.Modify], [Collection.Put],
// [Collection.Delete], and [Collection.Follow], which hands over everything
// there is and then every change. [Member.Commit] writes several records of
// several collections at once or not at all. A lease ([Member.Grant]) removes
// its records when nobody renews it; renewing writes nothing to disk.
//
// One, three or five members vote; a learner follows without a vote, as a standby
// or on its way to become a voter. [Options.Join] starts a new member,
// [Member.AddLearner], [Member.Promote], [Member.Remove] and [Member.Move] change
// the membership, [Member.Peers] shows it. raft elects a leader among the voters:
// [Member.Lead] runs work on it, in a [Term] that fences off the writes of a
// leader that was replaced; [Member.FollowLeader] tells everybody who it is.
//
// [Member.Snapshot] writes all that a member knows to a stream; a [Shelf] keeps
// snapshots on the local disk; [Restore] and [Replace] make a new cluster of one
// out of them. What can be done about a directory that is damaged says
// [FindRemedy]; [SetAside] takes it out of the way.
//
// Values lie on disk as JSON in a versioned envelope, sealed by a [Sealer] whose
// key file is kept outside etcd's directory.
//
// Three promises hold everywhere:
//
//   - every call ends by its deadline: no quorum is [ErrNoQuorum], a stopped
//     member is [ErrClosed];
//   - a call that changes nothing writes nothing, and an idle member writes
//     nothing;
//   - a data directory that cannot be used is an error that says why, and is
//     left as it was found.
//
// Masters use this package through node/master and node/api; a sub node never
// does. What a node keeps for itself lies in store/cache.
package store
