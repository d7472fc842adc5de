package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/topology"
)

// Options of a Service. Knowledge and Self are always there; the rest is nil
// on a sub, where what needs it is refused with the way to a master.
type Options struct {
	Knowledge      Knowledge
	Self           Self
	Figures        Figures
	Administration Administration
	Tokens         Tokens
	Enrolment      Enrolment
	Sessions       Sessions
	Masters        Masters
	// Fingerprint of the cluster's CA, for join tokens.
	Fingerprint string
	// MasterAddress is the host:port that a join line names.
	MasterAddress string
	// Now is the trusted clock; time.Now where nil.
	Now    func() time.Time
	Logger *slog.Logger
}

// Service is every operation of the API, each once. Its methods may be called
// by many goroutines at once.
type Service struct {
	Options
}

// New checks the options.
func New(o Options) (*Service, error) {
	switch {
	case o.Knowledge == nil:
		return nil, errors.New("api: Knowledge is missing")
	case o.Self == nil:
		return nil, errors.New("api: Self is missing")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Service{Options: o}, nil
}

// IsMaster reports whether this node can change the cluster.
func (s *Service) IsMaster() bool { return s.Administration != nil }

// AsOf is nil where answers are live.
func (s *Service) AsOf() *time.Time { return s.Knowledge.AsOf() }

// Nodes lists the nodes that p may see, ordered by name.
func (s *Service) Nodes(_ context.Context, p auth.Principal) ([]topology.Node, error) {
	if err := auth.Authorize(p, auth.NodesRead, auth.Cluster()); err != nil {
		return nil, Classify(err)
	}
	nodes := s.Knowledge.Nodes()
	slices.SortFunc(nodes, func(a, b topology.Node) int { return strings.Compare(a.Name, b.Name) })
	return nodes, nil
}

// Node returns one node by its id or name.
func (s *Service) Node(_ context.Context, p auth.Principal, ref string) (topology.Node, error) {
	n, err := s.find(ref)
	if err != nil {
		if denied := auth.Authorize(p, auth.NodesRead, auth.Cluster()); denied != nil {
			return n, Classify(denied)
		}
		return n, err
	}
	if err := auth.Authorize(p, auth.NodesRead, auth.OwnedBy(n.ID)); err != nil {
		return topology.Node{}, Classify(err)
	}
	return n, nil
}

// PatchNode changes labels, log level or state of one node. Either all of
// the patch is carried out or, when a part is not valid, none.
func (s *Service) PatchNode(ctx context.Context, p auth.Principal, ref string, patch NodePatch) (n topology.Node, err error) {
	defer func() { s.audit(p, auth.NodesWrite, ref, err) }()
	if err := s.authorizeChange(p, auth.NodesWrite); err != nil {
		return n, err
	}
	if n, err = s.find(ref); err != nil {
		return n, err
	}
	if patch.Role != nil {
		return s.setRole(ctx, n, patch)
	}
	signal, err := patch.signal(n)
	if err != nil {
		return n, err
	}
	if patch.Labels != nil || patch.LogLevel != nil {
		if n, err = s.Administration.EditNode(ctx, n.ID, patch.edit); err != nil {
			return n, Classify(err)
		}
	}
	if signal == "" {
		return n, nil
	}
	now, err := s.Administration.SignalNode(ctx, n.ID, signal, p.String())
	if errors.Is(err, topology.ErrTransition) { // somebody else was faster
		if now, findErr := s.find(n.ID); findErr == nil {
			n = now
		}
		return n, refused(n, signal)
	}
	return now, classified(err)
}

// setRole changes the role of a node, which is a request of its own: the node
// restarts in its new role.
func (s *Service) setRole(ctx context.Context, n topology.Node, patch NodePatch) (topology.Node, error) {
	switch {
	case patch.Labels != nil || patch.LogLevel != nil || patch.Status != nil:
		return n, Invalidf("change node %s: the role is changed alone", n.Name)
	case !patch.Role.Valid():
		return n, Invalidf("change node %s: role %q is not valid: use sub or master", n.Name, *patch.Role)
	}
	n, err := s.Administration.SetRole(ctx, n.ID, *patch.Role)
	return n, classified(err)
}

// edit applies labels and log level to n.
func (patch NodePatch) edit(n *topology.Node) error {
	if n.Labels == nil {
		n.Labels = map[string]string{}
	}
	for k, v := range patch.Labels {
		if v == nil {
			delete(n.Labels, k)
			continue
		}
		n.Labels[k] = *v
	}
	if err := topology.ValidateLabels(n.Labels); err != nil {
		return Invalidf("change labels of node %s: %w", n.Name, err)
	}
	if patch.LogLevel != nil {
		if *patch.LogLevel != "" {
			if err := topology.ValidateLogLevel(*patch.LogLevel); err != nil {
				return Invalidf("change node %s: %w", n.Name, err)
			}
		}
		n.LogLevel = *patch.LogLevel
	}
	return nil
}

// signal is what the wanted status asks for; it checks the table before
// anything is changed.
func (patch NodePatch) signal(n topology.Node) (topology.Signal, error) {
	if err := patch.edit(ptr(n.Clone())); err != nil {
		return "", err
	}
	if patch.Status == nil {
		return "", nil
	}
	signals := map[topology.NodeStatus]topology.Signal{
		topology.StatusMaintenance:  topology.SignalMaintain,
		topology.StatusReady:        topology.SignalResume,
		topology.StatusInitializing: topology.SignalApproved,
	}
	signal, ok := signals[*patch.Status]
	if !ok {
		return "", Invalidf("status %q cannot be asked for: use Maintenance, Ready (to resume) or Initializing (to approve)", *patch.Status)
	}
	if _, err := topology.Apply(n, signal, n.Reasons, n.StatusSince); err != nil {
		return "", refused(n, signal)
	}
	return signal, nil
}

// refused says why the state of n does not allow an administrator's signal.
func refused(n topology.Node, signal topology.Signal) *Error {
	is := n.Status.Word()
	if n.Status == topology.StatusMaintenance {
		is = "in Maintenance"
	}
	var e *Error
	switch signal {
	case topology.SignalApproved:
		e = Conflictf("approve node %s: it is %s, and only a Pending node waits for that", n.Name, is)
	case topology.SignalResume:
		e = Conflictf("resume node %s: it is %s, and only a node in Maintenance can resume", n.Name, is)
		if n.Status == topology.StatusNotReady {
			e = e.WithHint("it becomes Ready by itself when %s is gone; `piccolo status` says what to try", n.Reasons)
		}
	default:
		e = Conflictf("put node %s into maintenance: it is %s, and that takes a Ready or NotReady node", n.Name, is)
	}
	e.Err = topology.ErrTransition
	return e
}

// RemoveNode takes a node out of the cluster; a pending one is rejected.
func (s *Service) RemoveNode(ctx context.Context, p auth.Principal, ref string) (n topology.Node, err error) {
	defer func() { s.audit(p, auth.NodesWrite, ref, err) }()
	if err := s.authorizeChange(p, auth.NodesWrite); err != nil {
		return n, err
	}
	if n, err = s.find(ref); err != nil {
		return n, err
	}
	signal := topology.SignalRemove
	if n.Status == topology.StatusPending {
		signal = topology.SignalRejected
	}
	n, err = s.Administration.SignalNode(ctx, n.ID, signal, p.String())
	return n, classified(err)
}

// Containers lists the containers of one node (by id or name) or of all for
// "". With stats the figures of CPU and memory are fetched from the nodes.
func (s *Service) Containers(ctx context.Context, p auth.Principal, ref string, stats bool) ([]workload.Container, error) {
	id := ""
	if ref != "" {
		n, err := s.find(ref)
		if err != nil {
			if denied := auth.Authorize(p, auth.ContainersRead, auth.Cluster()); denied != nil {
				return nil, Classify(denied) // and nothing of which names there are
			}
			return nil, err
		}
		id = n.ID
	}
	if err := auth.Authorize(p, auth.ContainersRead, auth.OwnedBy(id)); err != nil {
		return nil, Classify(err)
	}
	list := s.Knowledge.Containers(id)
	slices.SortFunc(list, func(a, b workload.Container) int {
		return strings.Compare(a.NodeName+"\x00"+a.Name, b.NodeName+"\x00"+b.Name)
	})
	if stats {
		s.addStats(ctx, list)
	}
	return list, nil
}

// addStats asks every node that has containers in the list, all at once. A
// node that does not answer in time leaves its containers without figures.
func (s *Service) addStats(ctx context.Context, list []workload.Container) {
	if s.Figures == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	type answer struct {
		node  string
		stats map[string]workload.ContainerStats
	}
	nodes := map[string]bool{}
	for _, c := range list {
		nodes[c.Node] = true
	}
	answers := make(chan answer, len(nodes))
	for id := range nodes {
		go func() {
			stats, err := s.Figures.ContainerStats(ctx, id)
			if err != nil {
				s.Logger.Info("no container figures", "node", id, "error", err)
			}
			answers <- answer{id, stats}
		}()
	}
	for range nodes {
		a := <-answers
		for i := range list {
			if st, ok := a.stats[list[i].ID]; ok && list[i].Node == a.node {
				list[i].Stats = &st
			}
		}
	}
}

// Topology returns the cluster as a whole.
func (s *Service) Topology(_ context.Context, p auth.Principal) (topology.ClusterTopology, error) {
	if err := auth.Authorize(p, auth.TopologyRead, auth.Cluster()); err != nil {
		return topology.ClusterTopology{}, Classify(err)
	}
	return s.Knowledge.Topology(), nil
}

// PutTopology replaces name and configuration of the cluster.
func (s *Service) PutTopology(ctx context.Context, p auth.Principal, t topology.ClusterTopology) (_ topology.ClusterTopology, err error) {
	defer func() { s.audit(p, auth.TopologyWrite, t.Name, err) }()
	if err := s.authorizeChange(p, auth.TopologyWrite); err != nil {
		return t, err
	}
	now := s.Knowledge.Topology()
	switch {
	case t.ID != "" && t.ID != now.ID:
		return t, Invalidf("change topology: id %q is not this cluster's (%s) and cannot be changed", t.ID, now.ID)
	case t.MasterNodes != nil && !slices.Equal(t.MasterNodes, now.MasterNodes),
		t.SubNodes != nil && !slices.Equal(t.SubNodes, now.SubNodes):
		return t, Invalidf("change topology: master_nodes and sub_nodes follow from the nodes and cannot be set").
			WithHint("leave them out; nodes come by `piccolo join` and go by `piccolo node rm`")
	}
	if err := t.Validate(); err != nil {
		return t, Invalidf("change topology: %w", err)
	}
	t.ID = now.ID
	t, err = s.Administration.PutTopology(ctx, t)
	return t, classified(err)
}

// Alerts lists the alerts that stand, newest first.
func (s *Service) Alerts(_ context.Context, p auth.Principal) ([]workload.Alert, error) {
	if err := auth.Authorize(p, auth.NodesRead, auth.Cluster()); err != nil {
		return nil, Classify(err)
	}
	list := s.Knowledge.Alerts()
	slices.SortFunc(list, func(a, b workload.Alert) int { return b.RaisedAt.Compare(a.RaisedAt) })
	return list, nil
}

// find looks a node up by id, then by name.
func (s *Service) find(ref string) (topology.Node, error) {
	nodes := s.Knowledge.Nodes()
	for _, by := range []func(topology.Node) string{
		func(n topology.Node) string { return n.ID },
		func(n topology.Node) string { return n.Name },
	} {
		if i := slices.IndexFunc(nodes, func(n topology.Node) bool { return by(n) == ref }); i >= 0 {
			return nodes[i], nil
		}
	}
	return topology.Node{}, NotFoundf("node %q is not in this cluster", shorten(ref)).WithHint("`piccolo node ls` lists the nodes")
}

// authorizeChange also refuses what only a master can do, with the way to
// one: on a sub even root lacks the permission, and that is no help.
func (s *Service) authorizeChange(p auth.Principal, action auth.Action) error {
	err := auth.Authorize(p, action, auth.Cluster())
	if !s.IsMaster() && (err == nil || p.Kind == auth.KindLocal) {
		return s.notAMaster()
	}
	return classified(err)
}

// audit keeps what was changed or denied. Who does not belong here must not
// be able to write to the flash: neither strangers nor nodes that were removed.
func (s *Service) audit(p auth.Principal, action auth.Action, resource string, err error) {
	if s.Administration == nil {
		return
	}
	outcome := "ok"
	if err != nil {
		outcome = string(Classify(err).Kind)
	}
	switch {
	case outcome == string(KindUnauthenticated), outcome == string(KindTooMany):
		return
	case outcome != "ok" && p.Kind == auth.KindNode && !s.belongs(p.ID):
		return
	}
	s.Administration.Record(auth.AuditEntry{At: s.Now(), Principal: p.String(), Action: string(action), Resource: shorten(resource), Outcome: outcome})
}

// belongs reports whether the cluster has this node and wants to keep it.
func (s *Service) belongs(id string) bool {
	return slices.ContainsFunc(s.Knowledge.Nodes(), func(n topology.Node) bool { return n.ID == id && n.Status != topology.StatusTerminating })
}

// classified is Classify for a plain error result: a nil *Error must not
// become a non-nil error.
func classified(err error) error {
	if err == nil {
		return nil
	}
	return Classify(err)
}

func ptr[T any](v T) *T { return &v }

func shorten(s string) string {
	if len(s) <= 80 {
		return s
	}
	return fmt.Sprintf("%s… (%d bytes)", s[:80], len(s))
}
