package piccolov1

import (
	"google.golang.org/protobuf/types/known/durationpb"

	"piccolo.io/piccolo/node/workload"
)

// FromPresence writes p as a message to another master.
func FromPresence(p workload.Presence) *Presence {
	x := &Presence{NodeId: p.Node, Attached: p.Attached}
	if p.Heard {
		x.HeardAgo, x.Heartbeat = durationpb.New(p.HeardAgo), FromHeartbeat(p.Heartbeat)
	}
	return x
}

// ToPresence reads what another master says of a node.
func (x *Presence) ToPresence() workload.Presence {
	p := workload.Presence{Node: x.GetNodeId(), Attached: x.GetAttached()}
	if x.GetHeardAgo() != nil {
		p.Heard, p.HeardAgo, p.Heartbeat = true, x.GetHeardAgo().AsDuration(), x.GetHeartbeat().Heartbeat()
	}
	return p
}

// FromStatsAnswer writes figures as the answer to an inquiry; nil is that the
// node lives.
func FromStatsAnswer(a *workload.StatsAnswer) *StatsAnswer {
	if a == nil {
		return &StatsAnswer{}
	}
	return FromAnswer(workload.Answer{Stats: a}).GetStats()
}

// ToStatsAnswer reads figures.
func (x *StatsAnswer) ToStatsAnswer() *workload.StatsAnswer {
	m := &AgentMessage{Message: &AgentMessage_Stats{Stats: x}}
	return m.Answer().Stats
}
