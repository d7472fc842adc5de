package gossip

import (
	"encoding/binary"
	"hash/fnv"
	"net/netip"
	"time"
)

const (
	// spreading is how long two views may differ before they are exchanged. News may well be on its way still, but it is
	// rare, and one exchange is cheap. Where beats are rarer than that the first that differs is enough.
	spreading = 400 * time.Millisecond
	// exchangeEvery is the shortest time between two exchanges with one node; exchangeAgain that between two of the same
	// views, which then differ for a reason: two machines with one id.
	exchangeEvery = time.Second
	exchangeAgain = 30 * time.Second
)

// digest is a fingerprint of all living nodes and what they say of themselves. Every beat carries its sender's: where a
// watcher's is another, one of the two has missed news that the others spread only for seconds.
func (g ring) digest(raw func(id string) []byte) uint64 {
	h := fnv.New64a()
	for _, o := range g {
		for _, field := range [][]byte{[]byte(o.ID), []byte(o.Addr.String()), raw(o.ID)} {
			_, _ = h.Write(binary.AppendUvarint(nil, uint64(len(field)))) // never fails
			_, _ = h.Write(field)
		}
	}
	return h.Sum64()
}

// difference is between this node's view and a subject's.
type difference struct {
	since time.Time
	views [2]uint64 // mine and theirs when they were last exchanged
	at    time.Time // when that was
}

// due takes in the digests of both, of which the subject's may be as old as its beat, and reports whether it is time to
// exchange the views.
func (d *difference) due(mine, theirs uint64, beats time.Duration) bool {
	if mine == theirs {
		d.since = time.Time{}
		return false
	}
	now, views := time.Now(), [2]uint64{mine, theirs}
	if d.since.IsZero() {
		d.since = now
	}
	if now.Sub(d.since) < spreading-beats || now.Sub(d.at) < exchangeEvery || d.views == views && now.Sub(d.at) < exchangeAgain {
		return false
	}
	d.views, d.at = views, now
	return true
}

// exchange brings this node's view and another's together. Where the other isn't known it is dialled where it sent from.
func (m *Mesh) exchange(r *running, id string, from netip.AddrPort) {
	if o, lives := m.view.member(id); lives {
		from = o.Addr
	}
	r.wg.Go(func() {
		if err := m.dial(r, from); err != nil {
			m.opts.Logger.Debug("gossip: views not exchanged", "peer", id, "error", err)
		}
	})
}
