package store

import (
	"fmt"
	"slices"
)

// maxLearners: a standby, and one that is on its way to become a master. etcd
// wants the same number on every member.
const maxLearners = 2

// changeKind is what is to be done with one member.
type changeKind string

// The kinds, as they stand in errors.
const (
	addLearner    changeKind = "add"
	promoteMember changeKind = "promote"
	removeMember  changeKind = "remove"
	moveMember    changeKind = "move"
)

// change is one step of the membership.
type change struct {
	kind    changeKind
	name    string
	address string // addLearner, moveMember
}

// decide is the whole judgement on a change, given what the leader knows of the
// members: whether it is still to be done (false: it is so already), or why it
// must not be done now. The rules, beside those of etcd's strict reconfiguration
// check:
//
//   - nothing is changed without a majority of voters that can be reached, nor so
//     that there would be none;
//   - one member is added at a time: the next one waits until it has started;
//   - a learner votes only when it has caught up, and the second voter only when
//     a third can follow at once, because of two voters neither can be spared;
//   - while a voter is missing, no other is taken away if that costs a loss that
//     could still have been borne. (If none is missing it may: that is how a
//     cluster is made smaller. The last voter stays.)
//   - a voter that answers is not given another address if the others need it.
func decide(peers []Peer, c change) (needed bool, err error) {
	i := slices.IndexFunc(peers, func(p Peer) bool { return p.Name == c.name })
	switch c.kind {
	case addLearner:
		return decideAdd(peers, i, c)
	case promoteMember:
		return decidePromote(peers, i)
	case removeMember:
		return decideRemove(peers, i)
	default:
		return decideMove(peers, i, c)
	}
}

func decideAdd(peers []Peer, i int, c change) (bool, error) {
	if i >= 0 {
		if peers[i].Address != c.address {
			return false, fmt.Errorf("it is a member already, at %s: move it: %w", peers[i].Address, ErrConflict)
		}
		return false, nil
	}
	if err := addressTaken(peers, c); err != nil {
		return false, err
	}
	learners := 0
	for _, p := range peers {
		if !p.Started {
			return false, fmt.Errorf("%s was added and has not started yet: start it or remove it: %w", p.Name, ErrChangePending)
		}
		if p.Learner {
			learners++
		}
	}
	if learners >= maxLearners {
		return false, fmt.Errorf("%d learners already, at most %d: promote or remove one: %w", learners, maxLearners, ErrChangePending)
	}
	err := tally(peers).risk()
	return err == nil, err
}

func decidePromote(peers []Peer, i int) (bool, error) {
	if i < 0 {
		return false, fmt.Errorf("it is no member: add it first: %w", ErrNotFound)
	}
	switch p := peers[i]; {
	case !p.Learner:
		return false, nil
	case !p.Started:
		return false, fmt.Errorf("it has not started yet: %w", ErrNotCaughtUp)
	case !p.reachable():
		return false, fmt.Errorf("it does not answer: %w", ErrNotCaughtUp)
	case !p.ready():
		return false, fmt.Errorf("it lacks %d entries of the log: %w", p.Health.Behind, ErrNotCaughtUp)
	}
	v := tally(peers)
	if err := v.risk(); err != nil {
		return false, err
	}
	others := slices.ContainsFunc(peers, func(p Peer) bool { return p.Learner && p.ready() && p.Name != peers[i].Name })
	if v.voters == 1 && !others {
		return false, fmt.Errorf("with two voting masters the loss of either stops the cluster: "+
			"let a third one catch up first, then promote both: %w", ErrQuorumAtRisk)
	}
	return true, nil // one more voter, and it is healthy: the majority is no smaller
}

func decideRemove(peers []Peer, i int) (bool, error) {
	if i < 0 {
		return false, nil
	}
	p := peers[i]
	before := tally(peers)
	if err := before.risk(); err != nil || p.Learner {
		return err == nil, err
	}
	if before.voters == 1 {
		return false, fmt.Errorf("it is the only voting master: %w", ErrQuorumAtRisk)
	}
	after := before
	after.voters--
	if p.reachable() {
		after.healthy--
	}
	missing := slices.IndexFunc(peers, func(o Peer) bool { return !o.Learner && !o.reachable() })
	if p.reachable() && missing >= 0 && after.spare() < before.spare() {
		return false, fmt.Errorf("%s does not answer: bring that back, or remove it, first: %w", peers[missing].Name, ErrQuorumAtRisk)
	}
	return true, nil
}

func decideMove(peers []Peer, i int, c change) (bool, error) {
	if i < 0 {
		return false, fmt.Errorf("it is no member: %w", ErrNotFound)
	}
	p := peers[i]
	if p.Address == c.address {
		return false, nil
	}
	if err := addressTaken(peers, c); err != nil {
		return false, err
	}
	v := tally(peers)
	if err := v.risk(); err != nil {
		return false, err
	}
	if !p.Learner && p.reachable() && !p.Leader { // the leader needs no address to reach itself
		if v.healthy--; v.spare() < 0 {
			return false, fmt.Errorf("it answers, and the others are no majority without it: %w", ErrQuorumAtRisk)
		}
	}
	return true, nil
}

func addressTaken(peers []Peer, c change) error {
	for _, p := range peers {
		if p.Address == c.address && p.Name != c.name {
			return fmt.Errorf("%s is the address of %s: %w", c.address, p.Name, ErrConflict)
		}
	}
	return nil
}

// votes is a count of the voters.
type votes struct{ voters, healthy int }

func tally(peers []Peer) (v votes) {
	for _, p := range peers {
		if p.Learner {
			continue
		}
		v.voters++
		if p.reachable() {
			v.healthy++
		}
	}
	return v
}

func (v votes) quorum() int { return v.voters/2 + 1 }

// spare is how many losses more can be borne; negative: there is no majority.
func (v votes) spare() int { return v.healthy - v.quorum() }

func (v votes) risk() error {
	if v.spare() < 0 {
		return fmt.Errorf("of %d voting masters %d would answer, a majority is %d: %w", v.voters, v.healthy, v.quorum(), ErrQuorumAtRisk)
	}
	return nil
}
