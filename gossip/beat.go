package gossip

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// beatMark begins a beat; a note begins with '{'.
const beatMark = 'B'

// beats are the fast witness beside memberlist's probes. Every node sends its watchers (the masters) a packet of its
// id a few times a second, and a watcher that misses several in a row tells [Silent]. That costs a board a tenth of
// what probing as often would, because nobody answers and nothing is spread. Like every word of this room it is a
// suspicion: packets get lost.
type beats struct {
	every, limit time.Duration

	mu       sync.Mutex
	watchers []netip.AddrPort
	heard    map[string]time.Time // by node id, until it is told silent
	first    chan struct{}        // capacity 1: there is somebody to listen for
	fresh    chan struct{}        // capacity 1: the watchers are others now
}

func newBeats(t tuning) *beats {
	return &beats{every: t.beat, limit: t.silence, heard: map[string]time.Time{},
		first: make(chan struct{}, 1), fresh: make(chan struct{}, 1)}
}

// SetWatchers names the gossip addresses that this node sends its beats to, up to 256; its own is passed over. When
// they change, the first beat goes out at once. A watcher listens for whoever has sent it a beat, and for nobody else.
func (m *Mesh) SetWatchers(addrs []netip.AddrPort) error {
	if err := checkPeers(addrs); err != nil {
		return fmt.Errorf("set gossip watchers: %w", err)
	}
	next := make([]netip.AddrPort, len(addrs))
	for i, a := range addrs {
		next[i] = plain(a)
	}
	m.beats.mu.Lock()
	defer m.beats.mu.Unlock()
	if !slices.Equal(next, m.beats.watchers) {
		m.beats.watchers = next
		kick(m.beats.fresh)
	}
	return nil
}

// send sends beats until ctx ends.
func (b *beats) send(ctx context.Context, id string, r *running) {
	tick := time.NewTicker(b.every)
	defer tick.Stop()
	beat := append([]byte{beatMark}, id...)
	for {
		copies := 1
		select {
		case <-tick.C:
		case <-b.fresh:
			copies = 2 // a new watcher that misses this one would not know whom to miss
		case <-ctx.Done():
			return
		}
		b.mu.Lock()
		watchers := b.watchers
		b.mu.Unlock()
		for _, w := range slices.Repeat(watchers, copies) {
			if w == r.wire.advertise {
				continue
			}
			// A beat that could not be sent is a beat that was lost.
			_ = r.list.SendToAddress(memberlist.Address{Addr: w.String()}, beat)
		}
	}
}

// take takes in a beat.
func (b *beats) take(id string) {
	if checkID(id) != nil {
		return
	}
	b.mu.Lock()
	if len(b.heard) < maxPeers || !b.heard[id].IsZero() {
		b.heard[id] = time.Now()
	}
	b.mu.Unlock()
	kick(b.first)
}

// listen calls silent for every node whose beats have stopped, until ctx ends. It sleeps until the first node can be
// overdue. It doubts itself first: when its own turn came late, this machine was stalled, and every node gets its full
// time again.
func (b *beats) listen(ctx context.Context, silent func(id string)) {
	timer := time.NewTimer(b.limit)
	defer timer.Stop()
	for {
		due, waiting := b.due()
		if !waiting {
			select { // nobody to listen for: no need to wake up
			case <-b.first:
				continue
			case <-ctx.Done():
				return
			}
		}
		timer.Reset(time.Until(due))
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		now := time.Now()
		for _, id := range b.overdue(now, now.Sub(due) > b.every) {
			silent(id)
		}
	}
}

// due is when the first node will have been silent for too long.
func (b *beats) due() (first time.Time, waiting bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, at := range b.heard {
		if first.IsZero() || at.Before(first) {
			first = at
		}
	}
	return first.Add(b.limit), len(b.heard) > 0
}

// overdue gives the nodes whose time is over and stops listening for them until their next beat. When this node's
// own turn came late it gives nobody, and everybody the full time again.
func (b *beats) overdue(now time.Time, late bool) (gone []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id, at := range b.heard {
		switch {
		case late:
			b.heard[id] = now
		case now.Sub(at) >= b.limit:
			delete(b.heard, id)
			gone = append(gone, id)
		}
	}
	return gone
}

// silent tells that a member's beats have stopped. One that has said goodbye, or is dead already, is no news.
func (v *view) silent(id string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	e := v.members[id]
	if v.closed || e == nil || e.State != Alive || e.goodbye {
		return
	}
	v.tell(Event{Kind: Silent, Member: e.Member})
}
