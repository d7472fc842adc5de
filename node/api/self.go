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
	nodes := s.Knowledge.Nodes()
	for _, n := range nodes {
		st.Nodes[n.Status]++
	}
	for _, c := range s.Knowledge.Containers("") {
		st.Containers++
		if c.State == "running" {
			st.Running++
		}
	}
	st.Advice = advice(st.Self, nodes, s.Now())
	return st, nil
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
