package api

import (
	"context"
	"fmt"

	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/topology"
)

// Status tells how the cluster and this node stand.
func (s *Service) Status(_ context.Context, p auth.Principal) (Status, error) {
	if err := auth.Authorize(p, auth.NodesRead, auth.Cluster()); err != nil {
		return Status{}, Classify(err)
	}
	st := Status{
		Cluster: s.Knowledge.Topology(),
		Self:    s.Self.Status(),
		Nodes:   map[topology.NodeStatus]int{},
		Alerts:  s.Knowledge.Alerts(),
		AsOf:    s.Knowledge.AsOf(),
	}
	masters := 0
	for _, n := range s.Knowledge.Nodes() {
		st.Nodes[n.Status]++
		if n.Role == topology.RoleMaster && n.Status != topology.StatusPending {
			masters++
		}
	}
	for _, c := range s.Knowledge.Containers("") {
		st.Containers++
		if c.State == "running" {
			st.Running++
		}
	}
	st.Advice = advice(masters, st)
	return st, nil
}

// advice says in words what the cluster survives and what to do about it.
func advice(masters int, st Status) []string {
	var out []string
	if masters <= 1 {
		out = append(out, "One master: containers go on running without it, but nothing can be changed while it is down.")
	}
	if n := st.Nodes[topology.StatusPending]; n > 0 {
		out = append(out, fmt.Sprintf("%d node(s) wait for approval: `piccolo node approve NODE`.", n))
	}
	return out
}

// Leave takes this node out of its cluster. Only root on the machine may ask
// for it.
func (s *Service) Leave(ctx context.Context, p auth.Principal) (err error) {
	defer func() { s.audit(p, auth.SelfWrite, s.Self.Status().ID, err) }()
	if err := auth.Authorize(p, auth.SelfWrite, auth.OwnedBy(s.Self.Status().ID)); err != nil {
		return Classify(err)
	}
	if p.Kind != auth.KindLocal {
		return Classify(fmt.Errorf("%w: only root on the machine itself can make its node leave", auth.ErrDenied))
	}
	return classified(s.Self.Leave(ctx))
}
