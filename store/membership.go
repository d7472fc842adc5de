package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/types"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	etcderrors "go.etcd.io/etcd/server/v3/etcdserver/errors"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/tracker"
)

const (
	// announced stands in the place of an added member's client addresses, which
	// nobody uses, until the member has started and says that it has none. etcd
	// itself leaves such a member without a name.
	announced = "piccolo:announced"
	// caughtUpEntries: a learner that lacks no more entries than this follows closely.
	caughtUpEntries = catchUpEntries / 2
	// secondLook: a member that was silent for raft is looked at again after so
	// many heartbeats, because raft forgets who has answered at every election timeout.
	secondLook = 2
)

// Peer is one member of the cluster, this one included.
type Peer struct {
	Name    string
	Address string // "IP:port" where the others reach it
	Learner bool   // it follows and answers reads, and has no vote
	Started bool   // it has run, and had caught up then, since it was added
	Leader  bool
	// Health is nil unless this member leads: only the leader hears from all.
	Health *Health
}

// Health is what the leader knows of a peer.
type Health struct {
	// Reachable: it has answered within the last election timeout or two.
	Reachable bool
	// CaughtUp: reachable, and it lacks nothing but what is on its way.
	CaughtUp bool
	// Match is the newest entry of raft's log that is known to be on its disk;
	// Behind is how many it lacks.
	Match, Behind uint64
}

func (p Peer) reachable() bool { return p.Health != nil && p.Health.Reachable }
func (p Peer) ready() bool     { return p.Health != nil && p.Health.CaughtUp }

// Peers lists the members by name, as this member knows them: it needs no
// quorum, and one that is cut off may be behind. On the leader it may take a few
// heartbeats, while it listens for those who were silent.
func (m *Member) Peers(ctx context.Context) ([]Peer, error) {
	r, err := m.roster(ctx, false)
	if err != nil {
		return nil, fmt.Errorf("list the store's members: %w", err)
	}
	return r.peers, nil
}

// AddLearner makes room for a new member: an empty directory that is started
// with this name and address, and told to join. It does nothing if the member is
// there already. This and the other changes must be asked of the leader
// (ErrNotLeader), one at a time (ErrChangePending), and are refused if they would
// endanger the quorum (ErrQuorumAtRisk); ErrConflict if the name has another
// address, or the address another name.
func (m *Member) AddLearner(ctx context.Context, name, address string) error {
	return m.change(ctx, change{kind: addLearner, name: name, address: address})
}

// Promote gives a learner a vote. It does nothing if it has one. ErrNotCaughtUp:
// it is too early; ErrNotFound.
func (m *Member) Promote(ctx context.Context, name string) error {
	return m.change(ctx, change{kind: promoteMember, name: name})
}

// Remove takes a member out of the cluster for good; its Run, if it is running,
// ends with ErrRemoved. It does nothing if there is none of this name. A leader
// that is to remove itself hands its office on first, and returns ErrNotLeader.
func (m *Member) Remove(ctx context.Context, name string) error {
	return m.change(ctx, change{kind: removeMember, name: name})
}

// Move tells all members a member's new address. It does nothing if that is
// known. ErrNotFound, ErrConflict.
func (m *Member) Move(ctx context.Context, name, address string) error {
	return m.change(ctx, change{kind: moveMember, name: name, address: address})
}

// change does one change, if no other is under way.
func (m *Member) change(ctx context.Context, c change) error {
	err := c.check()
	if err == nil {
		select {
		case m.changing <- struct{}{}:
			err = m.changeNow(ctx, c)
			<-m.changing
		default:
			err = ErrChangePending
		}
	}
	if err != nil {
		return fmt.Errorf("%s store member %s: %w", c.kind, c.name, err)
	}
	return nil
}

func (m *Member) changeNow(ctx context.Context, c change) error {
	r, err := m.roster(ctx, true)
	if err != nil {
		return err
	}
	if !r.leads {
		return m.notLeader()
	}
	needed, err := decide(r.peers, c)
	if err != nil || !needed {
		return err
	}
	if c.kind == removeMember && c.name == m.opts.Name {
		return m.handOver(ctx, r)
	}
	_, err = call(ctx, m, func(ctx context.Context, _ *clientv3.Client) (struct{}, error) {
		return struct{}{}, m.propose(ctx, c, r.ids[c.name])
	})
	return err
}

func (m *Member) notLeader() error {
	if l := m.Leader(); l.Name != "" {
		return fmt.Errorf("%s leads: ask that: %w", l.Name, ErrNotLeader)
	}
	return fmt.Errorf("nobody is known to lead: try again: %w", ErrNotLeader)
}

// handOver makes the healthiest other voter the leader: one that removes itself
// would leave the others without a leader for an election. raft gives up after an
// election timeout, and is asked again then.
func (m *Member) handOver(ctx context.Context, r roster) error {
	var heir Peer
	for _, p := range r.peers {
		if !p.Learner && !p.Leader && p.reachable() && (heir.Health == nil || p.Health.Match > heir.Health.Match) {
			heir = p
		}
	}
	ctx, cancel := context.WithTimeout(ctx, m.opts.RequestTimeout)
	defer cancel()
	again := time.NewTicker(electionTicks * m.opts.Heartbeat)
	defer again.Stop()
	for {
		v, changed := m.leads.get()
		if !v.Self {
			return fmt.Errorf("the leadership was handed to %s: ask that: %w", heir.Name, ErrNotLeader)
		}
		m.node.TransferLeadership(ctx, v.id, uint64(r.ids[heir.Name]))
		select {
		case <-changed:
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("hand the leadership to %s: %w", heir.Name, ErrNoQuorum)
		case <-m.life.Done():
			return ErrClosed
		}
	}
}

// propose asks etcd for the change. It is called again when an answer was lost,
// and finds out then whether the change was made.
func (m *Member) propose(ctx context.Context, c change, id types.ID) error {
	server := m.etcd.Server
	if m.node.Status().RaftState != raft.StateLeader {
		return m.notLeader()
	}
	var err error
	switch c.kind {
	case addLearner:
		if slices.ContainsFunc(server.Cluster().Members(), func(p *membership.Member) bool { return p.Name == c.name }) {
			return nil
		}
		_, err = server.AddMember(ctx, membership.Member{
			ID:             types.ID(randomID()), // a removed member's is refused for ever
			RaftAttributes: membership.RaftAttributes{PeerURLs: []string{m.opts.peerURL(c.address)}, IsLearner: true},
			Attributes:     membership.Attributes{Name: c.name, ClientURLs: []string{announced}},
		})
	case promoteMember:
		_, err = server.PromoteMember(ctx, uint64(id))
	case removeMember:
		_, err = server.RemoveMember(ctx, uint64(id))
	case moveMember:
		_, err = server.UpdateMember(ctx, membership.Member{
			ID:             id,
			RaftAttributes: membership.RaftAttributes{PeerURLs: []string{m.opts.peerURL(c.address)}},
		})
	}
	return c.explain(err)
}

// explain turns etcd's refusals into ours.
func (c change) explain(err error) error {
	switch {
	case errors.Is(err, membership.ErrMemberNotLearner) && c.kind == promoteMember,
		(errors.Is(err, membership.ErrIDNotFound) || errors.Is(err, membership.ErrIDRemoved)) && c.kind == removeMember:
		return nil // an earlier try has done it
	case errors.Is(err, membership.ErrIDNotFound), errors.Is(err, membership.ErrIDRemoved):
		return ErrNotFound
	case errors.Is(err, membership.ErrPeerURLexists):
		return fmt.Errorf("%s is the address of another: %w", c.address, ErrConflict)
	case errors.Is(err, membership.ErrTooManyLearners):
		return ErrChangePending
	case errors.Is(err, etcderrors.ErrLearnerNotReady):
		return ErrNotCaughtUp
	case errors.Is(err, etcderrors.ErrUnhealthy), errors.Is(err, etcderrors.ErrNotEnoughStartedMembers):
		// Not %w: ErrUnhealthy would be tried again, and etcd wants seconds of quiet.
		return fmt.Errorf("%v (for %v at least): %w", err, etcdserver.HealthInterval, ErrQuorumAtRisk)
	}
	return err
}

func (c change) check() error {
	if err := ValidateKey(c.name); err != nil {
		return err
	}
	if c.kind != addLearner && c.kind != moveMember {
		return nil
	}
	addr, err := parseAddr(c.address)
	if err == nil && addr.IP.IsUnspecified() {
		err = errors.New("others cannot dial an unspecified address")
	}
	if err != nil {
		return fmt.Errorf("address %q: %w: %w", c.address, err, ErrInvalid)
	}
	return nil
}

// roster is what one member knows of all.
type roster struct {
	peers  []Peer // by name
	ids    map[string]types.ID
	leads  bool            // this member
	active map[uint64]bool // has answered the leader
}

// roster looks at the members, twice if the leader finds one silent. current:
// with a majority's word that no change has been missed.
func (m *Member) roster(ctx context.Context, current bool) (roster, error) {
	r, err := m.look(ctx, current, nil)
	if err != nil || !slices.ContainsFunc(r.peers, func(p Peer) bool { return p.Health != nil && !p.Health.Reachable }) {
		return r, err
	}
	pause := time.NewTimer(secondLook * m.opts.Heartbeat)
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-ctx.Done():
		return roster{}, ctx.Err()
	case <-m.life.Done():
		return roster{}, ErrClosed
	}
	return m.look(ctx, current, r.active)
}

// look also takes for active who was so at an earlier look.
func (m *Member) look(ctx context.Context, current bool, earlier map[uint64]bool) (roster, error) {
	return call(ctx, m, func(ctx context.Context, _ *clientv3.Client) (roster, error) {
		members, err := m.etcd.Server.MemberList(ctx, &pb.MemberListRequest{Linearizable: current})
		if err != nil {
			return roster{}, err
		}
		s := m.node.Status()
		r := roster{ids: make(map[string]types.ID, len(members)), leads: s.RaftState == raft.StateLeader, active: make(map[uint64]bool, len(members))}
		for _, p := range members {
			id := uint64(p.ID)
			peer := Peer{Name: p.Name, Address: addressOf(p), Learner: p.IsLearner, Started: isStarted(p), Leader: s.Lead == id}
			if pr, ok := s.Progress[id]; ok {
				r.active[id] = earlier[id] || pr.RecentActive
				peer.Health = healthOf(pr, s.Progress[s.ID].Match, r.active[id])
			}
			r.peers, r.ids[p.Name] = append(r.peers, peer), p.ID
		}
		slices.SortFunc(r.peers, func(a, b Peer) int { return cmp.Compare(a.Name, b.Name) })
		return r, nil
	})
}

func healthOf(pr tracker.Progress, newest uint64, active bool) *Health {
	h := Health{Reachable: active, Match: pr.Match, Behind: newest - min(newest, pr.Match)}
	h.CaughtUp = active && h.Behind <= caughtUpEntries && pr.State == tracker.StateReplicate
	return &h
}

func isStarted(p *membership.Member) bool { return !slices.Contains(p.ClientURLs, announced) }

// addressOf is "IP:port"; every member has one address.
func addressOf(p *membership.Member) string {
	if len(p.PeerURLs) == 0 {
		return ""
	}
	u, err := url.Parse(p.PeerURLs[0])
	if err != nil {
		return p.PeerURLs[0]
	}
	return u.Host
}
