package gossip

import (
	"context"
	"net/netip"
	"time"
)

const (
	// twinsSilence is how long the same conflict isn't told again.
	twinsSilence = time.Minute
	// maxTold bounds the memory for that; when it is full it is emptied.
	maxTold = 64
	// claimLasts is how long the new address of a node that has moved is dialled. It must outlast the detection of
	// the old one's death in every profile.
	claimLasts = 15 * time.Second
)

// suspectedTwins is one id that was announced at two addresses. Mostly a node has moved; sometimes there are two.
type suspectedTwins struct {
	id          string
	held, other netip.AddrPort
}

// judgeTwins asks both addresses, one conflict after the other. Only if both answer is it told: then there are two
// machines with one identity. If the held one is silent the node has moved.
func (m *Mesh) judgeTwins(ctx context.Context) {
	told := map[suspectedTwins]time.Time{}
	for {
		var t suspectedTwins
		select {
		case <-ctx.Done():
			return
		case t = <-m.conflicts:
		}
		if at, ok := told[t]; ok && time.Since(at) < twinsSilence {
			continue
		}
		if t.id != m.opts.ID && m.Reach(ctx, t.id, t.held) != nil {
			m.claim(t.other)
			continue
		}
		if m.Reach(ctx, t.id, t.other) != nil {
			continue
		}
		if len(told) >= maxTold {
			clear(told)
		}
		told[t] = time.Now()
		m.opts.Logger.Warn("two machines have one node id", "id", t.id, "addr", t.held, "other", t.other)
		m.view.conflict(t.id, t.held, t.other)
	}
}

// claim has the new address of a node that has moved dialled. memberlist refuses it until the old one is declared
// dead, and the node itself sees no reason to introduce itself again: it sees everybody alive.
func (m *Mesh) claim(to netip.AddrPort) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, known := m.claims[to]; known || len(m.claims) < maxTold {
		m.claims[to] = time.Now().Add(claimLasts)
		kick(m.view.changed)
	}
}
