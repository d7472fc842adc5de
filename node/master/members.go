package master

import (
	"context"
	"errors"
	"fmt"
	"time"

	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/topology"
)

const (
	// membersPause before the leader looks again at members that are on their
	// way to where they should be: a learner that catches up tells nobody.
	membersPause = time.Second
	// membersTimeout bounds one look and the change that follows.
	membersTimeout = 10 * time.Second
)

// Secrets gives a new master what every master holds.
func (m *Master) Secrets(ctx context.Context, master string) (workload.Secrets, error) {
	if err := m.fellow(ctx, master); err != nil {
		return workload.Secrets{}, fmt.Errorf("fetch the masters' secrets: %w", err)
	}
	return m.o.Secrets()
}

// TakeSeat makes room for a new master among the members of the store, and
// returns the peer addresses of the others. It follows as a learner until it
// has caught up.
func (m *Master) TakeSeat(ctx context.Context, master, peerAddress string) ([]string, error) {
	if err := m.fellow(ctx, master); err != nil {
		return nil, fmt.Errorf("take a seat: %w", err)
	}
	if err := m.o.Store.AddLearner(ctx, master, peerAddress); err != nil {
		return nil, fmt.Errorf("take a seat for %s: %w", m.nameOf(master), err)
	}
	trigger(m.seats)
	peers, err := m.o.Store.Peers(ctx)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, p := range peers {
		if p.Name != master {
			out = append(out, p.Address)
		}
	}
	return out, nil
}

// members keeps the store's members in line with the masters: a learner that
// has caught up gets its vote where one is due, and who is no master any more
// goes. One change at a time; what is refused now is tried again.
func (o *office) members(ctx context.Context) error {
	for {
		settled, err := o.placeMember(ctx)
		if err != nil && ctx.Err() == nil {
			o.m.o.Logger.Warn("members of the store not changed, trying again", "error", err)
		}
		var again <-chan time.Time
		if !settled {
			again = time.After(membersPause)
		}
		select {
		case <-again:
		case <-o.m.seats:
		case <-ctx.Done():
			return nil
		}
	}
}

// placeMember makes one change at most; settled says that there is nothing
// left to do.
func (o *office) placeMember(ctx context.Context) (settled bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, membersTimeout)
	defer cancel()
	peers, err := o.m.o.Store.Peers(ctx)
	if err != nil {
		return false, err
	}
	for _, p := range peers {
		if n, ok := o.m.nodes.get(p.Name); !ok || n.Value.Role != topology.RoleMaster || n.Value.Status == topology.StatusTerminating {
			o.m.o.Logger.Info("a member of the store is no master any more and goes", "member", p.Name)
			return false, o.m.o.Store.Remove(ctx, p.Name)
		}
	}
	voters, learner := 0, ""
	for _, p := range peers {
		switch {
		case !p.Learner:
			voters++
		case learner == "" && p.Started && p.Health != nil && p.Health.CaughtUp:
			learner = p.Name
		}
	}
	if voters >= topology.Voters(len(peers)) {
		return true, nil
	}
	if learner == "" {
		return false, nil
	}
	switch err := o.m.o.Store.Promote(ctx, learner); {
	case errors.Is(err, store.ErrNotCaughtUp):
		return false, nil
	case err != nil:
		return false, err
	}
	o.m.o.Logger.Info("a master has its vote", "node", o.m.nameOf(learner), "voters", voters+1)
	o.m.o.Publisher.Log("MasterVotes", o.m.nameOf(learner), fmt.Sprintf("takes part in the store: %d masters vote", voters+1))
	return false, nil
}

// SetRole makes a sub a master, or a master a sub. The node takes its new role
// when it obeys the plan that follows.
func (m *Master) SetRole(ctx context.Context, id string, role topology.Role) (topology.Node, error) {
	r, err := m.nodes.collection.Get(ctx, id)
	if err != nil {
		return topology.Node{}, err
	}
	if role != topology.RoleMaster {
		if err := m.mayGo(ctx, r.Value); err != nil {
			return r.Value, err
		}
	}
	return m.changeNode(ctx, id, func(n *topology.Node) error {
		if n.Role == role {
			return nil
		}
		if n.Status != topology.StatusReady {
			return fmt.Errorf("make node %s a %s: %w: it is %s, and must be Ready", n.Name, role, topology.ErrTransition, n.Status)
		}
		n.Role = role
		return nil
	})
}

// mayGo refuses the removal of a master without which the store would have no
// quorum, or no data.
func (m *Master) mayGo(ctx context.Context, n topology.Node) error {
	if n.Role != topology.RoleMaster {
		return nil
	}
	peers, err := m.o.Store.Peers(ctx)
	if err != nil {
		return fmt.Errorf("let master %s go: %w", n.Name, err)
	}
	votes, left, reached := false, 0, 0
	for _, p := range peers {
		switch {
		case p.Learner:
		case p.Name == n.ID:
			votes = true
		default:
			left++
			if r, ok := m.nodes.get(p.Name); ok && m.lastHeard(r.Value) == nil {
				reached++
			}
		}
	}
	switch {
	case !votes:
		return nil
	case left == 0:
		return fmt.Errorf("let master %s go: %w: it alone holds the cluster's data: `piccolo reset` on it ends the cluster; two more masters make it one that can go", n.Name, topology.ErrNeeded)
	case reached <= left/2:
		return fmt.Errorf("let master %s go: %w: of the %d others that vote only %d are reached, and %d are needed: bring them back first", n.Name, topology.ErrNeeded, left, reached, left/2+1)
	}
	return nil
}
