package gossip

import "slices"

// watched is how many nodes watch each node.
const watched = 2

// ring is all living nodes, this one included, sorted by id. Nodes with one view have one ring, so nobody has to
// agree on who watches whom.
type ring []Member

// watchers gives who watches the node at place i: the next two whose link is no worse than its own, lest a node on
// cable be watched by one whose radio stalls; where there are fewer such nodes, the next of the others too.
func (g ring) watchers(i int) []Member {
	next := make([]Member, 0, len(g))
	for step := 1; step < len(g); step++ {
		next = append(next, g[(i+step)%len(g)])
	}
	slices.SortStableFunc(next, func(a, b Member) int {
		return worse(a, g[i]) - worse(b, g[i])
	})
	return next[:min(watched, len(next))]
}

// worse is 1 where a's link is worse than b's, otherwise 0.
func worse(a, b Member) int {
	if a.Meta.Profile.tuning().silence > b.Meta.Profile.tuning().silence {
		return 1
	}
	return 0
}

// subjects gives whom a node watches.
func (g ring) subjects(id string) (out []Member) {
	for i := range g {
		if slices.ContainsFunc(g.watchers(i), func(w Member) bool { return w.ID == id }) {
			out = append(out, g[i])
		}
	}
	return out
}

// unwatched gives the nodes whose watchers are all silent, or unwatched themselves: when several boards go at once,
// nobody is left to tell of them. The node self is never silent.
func (g ring) unwatched(self string, silent func(id string) bool) (out []string) {
	blind := map[string]bool{}
	for more := true; more; {
		more = false
		for i, n := range g {
			if n.ID == self || blind[n.ID] || silent(n.ID) || len(g) < 2 {
				continue
			}
			if !slices.ContainsFunc(g.watchers(i), func(w Member) bool { return !blind[w.ID] && !silent(w.ID) }) {
				blind[n.ID], more = true, true
				out = append(out, n.ID)
			}
		}
	}
	return out
}
