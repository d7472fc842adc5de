// Package feed carries what happens in the cluster to everybody who watches:
// the watch stream of the REST API, and through it the command line.
//
// The Hub holds the newest state of everything as JSON, so a snapshot and the
// changes that follow it fit together without a gap, and so that a value that
// did not change is no event. Only adapters of the API subscribe; the parts
// that know something publish.
//
// The Hub has no goroutine: a publisher hands a change to every subscriber's
// queue itself, under one lock and without ever waiting. That is what keeps a
// change from standing in line behind a timer or a slow reader.
package feed
