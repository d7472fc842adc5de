package gossip

// Stats are figures of the mesh since Run. Bytes are those of packets and streams, encrypted, without the headers
// of IP, UDP and TCP.
type Stats struct {
	Alive, Lost, Left int // other members by state; a suspect is Alive

	// Health is memberlist's score of this node itself: 0 is well; up to 2, and the higher it is the slower this
	// node probes, because it doubts itself.
	Health int

	PacketsIn, PacketsOut uint64 // UDP
	StreamsIn, StreamsOut uint64 // TCP
	BytesIn, BytesOut     uint64 // both

	Dials   uint64 // tries to reach an address at which nobody was seen
	Rejoins uint64 // of these, the ones that exchanged the views
}

// Stats gives the current figures; all zero before Run.
func (m *Mesh) Stats() Stats {
	s := Stats{Dials: m.dials.Load(), Rejoins: m.rejoins.Load()}
	for _, o := range m.view.list() {
		switch o.State {
		case Alive:
			s.Alive++
		case Lost:
			s.Lost++
		case Left:
			s.Left++
		}
	}
	r := m.run.Load()
	if r == nil {
		return s
	}
	s.Health = r.list.GetHealthScore()
	t := &r.wire.traffic
	s.PacketsIn, s.PacketsOut = t.packetsIn.Load(), t.packetsOut.Load()
	s.StreamsIn, s.StreamsOut = t.streamsIn.Load(), t.streamsOut.Load()
	s.BytesIn, s.BytesOut = t.bytesIn.Load(), t.bytesOut.Load()
	return s
}
