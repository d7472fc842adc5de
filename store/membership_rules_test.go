package store

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// modelMember is a board of the model.
type modelMember struct {
	address                  string
	learner, started, behind bool
	down                     bool
}

// modelCluster is what the boards really are. It knows nothing of decide, and
// counts for itself.
type modelCluster struct {
	members map[string]*modelMember
	leader  string
}

func (c *modelCluster) names() []string {
	var names []string
	for name := range c.members {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// voters counts those with a vote, and of these the ones that are up.
func (c *modelCluster) voters() (all, up int) {
	for _, m := range c.members {
		if m.learner {
			continue
		}
		all++
		if !m.down {
			up++
		}
	}
	return all, up
}

func (c *modelCluster) majority() bool { all, up := c.voters(); return 2*up > all }

// bearable is how many more voters may go down before there is no majority.
func (c *modelCluster) bearable() int {
	all, up := c.voters()
	n := 0
	for 2*(up-n-1) > all {
		n++
	}
	return n
}

func (c *modelCluster) down() bool {
	for _, m := range c.members {
		if m.down {
			return true
		}
	}
	return false
}

// seen is the cluster as its leader reports it.
func (c *modelCluster) seen() []Peer {
	var peers []Peer
	for _, name := range c.names() {
		m := c.members[name]
		peers = append(peers, Peer{Name: name, Address: m.address, Learner: m.learner, Started: m.started, Leader: name == c.leader,
			Health: &Health{Reachable: !m.down && m.started, CaughtUp: !m.down && m.started && !m.behind}})
	}
	return peers
}

// elect makes a voter that is up the leader, if the last one is gone.
func (c *modelCluster) elect() {
	if m := c.members[c.leader]; m != nil && !m.down && !m.learner {
		return
	}
	for _, name := range c.names() {
		if m := c.members[name]; !m.down && !m.learner {
			c.leader = name
			return
		}
	}
}

func (c *modelCluster) apply(ch change) {
	switch ch.kind {
	case addLearner:
		c.members[ch.name] = &modelMember{address: ch.address, learner: true, behind: true}
	case promoteMember:
		c.members[ch.name].learner = false
	case removeMember:
		delete(c.members, ch.name)
	case moveMember:
		c.members[ch.name].address = ch.address
	}
	c.elect()
}

func newModelCluster(voters int) *modelCluster {
	c := &modelCluster{members: map[string]*modelMember{}}
	for i := range voters {
		c.members[fmt.Sprint("m", i)] = &modelMember{address: fmt.Sprint("a", i), started: true}
	}
	c.elect()
	return c
}

// TestNoChangeLosesTheQuorum: whatever is asked for, in whatever order, while
// boards go down one at a time and come back: there is always a majority. A voter
// goes down only where there are three or more: of one or two none can be spared.
func TestNoChangeLosesTheQuorum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newModelCluster(rapid.SampledFrom([]int{1, 3, 5}).Draw(t, "founders"))
		pick := func(what string) *modelMember {
			return c.members[rapid.SampledFrom(c.names()).Draw(t, what)]
		}
		t.Repeat(map[string]func(*rapid.T){
			"change": func(t *rapid.T) { c.try(t, drawChange(t)) },
			"start":  func(t *rapid.T) { pick("starts").started = true },
			"learn": func(t *rapid.T) {
				if m := pick("catches up"); m.started && !m.down {
					m.behind = false
				}
			},
			"fault": func(t *rapid.T) {
				m := pick("goes down")
				if all, _ := c.voters(); !c.down() && m.started && (m.learner || all >= 3) {
					m.down, m.behind = true, true
					c.elect()
				}
			},
			"heal": func(t *rapid.T) { pick("comes back").down = false },
			"":     func(t *rapid.T) { c.check(t) },
		})
	})
}

func drawChange(t *rapid.T) change {
	return change{
		kind:    rapid.SampledFrom([]changeKind{addLearner, promoteMember, removeMember, moveMember}).Draw(t, "kind"),
		name:    fmt.Sprint("m", rapid.IntRange(0, 6).Draw(t, "name")),
		address: fmt.Sprint("a", rapid.IntRange(0, 8).Draw(t, "address")),
	}
}

// try does the change if it is accepted, and checks what that may cost.
func (c *modelCluster) try(t *rapid.T, ch change) {
	needed, err := decide(c.seen(), ch)
	if err != nil || !needed {
		return
	}
	before := c.bearable()
	all, up := c.voters()
	target := c.members[ch.name]
	if ch.kind == promoteMember {
		if !target.learner || target.down || target.behind || !target.started {
			t.Fatalf("%+v is given a vote", target)
		}
		if others := slices.ContainsFunc(c.seen(), func(p Peer) bool { return p.Learner && p.Health.CaughtUp && p.Name != ch.name }); all == 1 && !others {
			t.Fatal("a second voter without a third in sight")
		}
	}
	if ch.kind == moveMember && !target.learner && !target.down && ch.name != c.leader && 2*(up-1) <= all {
		t.Fatalf("%+v: if that is a mistake, there is no majority", ch)
	}
	smaller := ch.kind == removeMember && !target.learner && up == all // on purpose
	c.apply(ch)
	if after := c.bearable(); after < before && !smaller {
		t.Fatalf("%+v costs a loss that could be borne: %d, then %d", ch, before, after)
	}
	if needed, err := decide(c.seen(), ch); needed || err != nil && c.majority() && ch.kind != moveMember && ch.kind != addLearner {
		t.Fatalf("%+v, repeated: %v, %v", ch, needed, err)
	}
}

func (c *modelCluster) check(t *rapid.T) {
	if !c.majority() {
		all, up := c.voters()
		t.Fatalf("%d of %d voters are up", up, all)
	}
	learners, notStarted := 0, 0
	addresses := map[string]bool{}
	for _, m := range c.members {
		if m.learner {
			learners++
		}
		if !m.started {
			notStarted++
			if !m.learner {
				t.Fatal("a voter has not started")
			}
		}
		addresses[m.address] = true
	}
	if learners > maxLearners || notStarted > 1 || len(addresses) < len(c.members) {
		t.Fatalf("%d learners, %d not started, %d members at %d addresses", learners, notStarted, len(c.members), len(addresses))
	}
	c.checkPossible(t)
}

// checkPossible: rules that refuse everything would endanger nothing either.
func (c *modelCluster) checkPossible(t *rapid.T) {
	wellKnown := true
	learners := 0
	for _, m := range c.members {
		wellKnown = wellKnown && m.started && !m.behind && !m.down
		if m.learner {
			learners++
		}
	}
	all, _ := c.voters()
	for _, name := range c.names() {
		m := c.members[name]
		remove, removeErr := decide(c.seen(), change{kind: removeMember, name: name})
		if (m.down || m.learner || wellKnown && all > 1) && (!remove || removeErr != nil) {
			t.Fatalf("%s (%+v) cannot be removed: %v", name, m, removeErr)
		}
		promote, promoteErr := decide(c.seen(), change{kind: promoteMember, name: name})
		if m.learner && wellKnown && (all > 1 || learners > 1) && (!promote || promoteErr != nil) {
			t.Fatalf("%s cannot be promoted: %v", name, promoteErr)
		}
	}
	add, addErr := decide(c.seen(), change{kind: addLearner, name: "new", address: "new"})
	if wellKnown && learners < maxLearners && (!add || addErr != nil) {
		t.Fatalf("nobody can be added: %v", addErr)
	}
}

// TestRefusals: each rule by an example, with the reason that is given.
func TestRefusals(t *testing.T) {
	healthy, ill := &Health{Reachable: true, CaughtUp: true}, &Health{}
	voter := func(name string, h *Health) Peer { return Peer{Name: name, Address: name, Started: true, Health: h} }
	learner := func(name string, h *Health) Peer {
		return Peer{Name: name, Address: name, Started: true, Learner: true, Health: h}
	}
	a, b, c, d := voter("a", healthy), voter("b", healthy), voter("c", healthy), voter("d", healthy)
	for name, x := range map[string]struct {
		peers []Peer
		c     change
		want  error
	}{
		"add while one has not started":       {[]Peer{a, {Name: "l", Learner: true, Health: ill}}, change{addLearner, "n", "n"}, ErrChangePending},
		"add a third learner":                 {[]Peer{a, learner("l", healthy), learner("m", healthy)}, change{addLearner, "n", "n"}, ErrChangePending},
		"add at an address in use":            {[]Peer{a, b, c}, change{addLearner, "n", "b"}, ErrConflict},
		"add what is there, elsewhere":        {[]Peer{a, b, c}, change{addLearner, "b", "n"}, ErrConflict},
		"add without a majority":              {[]Peer{a, voter("b", ill)}, change{addLearner, "n", "n"}, ErrQuorumAtRisk},
		"promote a stranger":                  {[]Peer{a}, change{promoteMember, "n", ""}, ErrNotFound},
		"promote the standby of two":          {[]Peer{a, learner("l", healthy)}, change{promoteMember, "l", ""}, ErrQuorumAtRisk},
		"promote one that is silent":          {[]Peer{a, b, c, learner("l", ill)}, change{promoteMember, "l", ""}, ErrNotCaughtUp},
		"promote one that lacks much":         {[]Peer{a, b, c, learner("l", &Health{Reachable: true, Behind: 1000})}, change{promoteMember, "l", ""}, ErrNotCaughtUp},
		"remove the only voter":               {[]Peer{a, learner("l", healthy)}, change{removeMember, "a", ""}, ErrQuorumAtRisk},
		"remove one of the two that are left": {[]Peer{a, b, voter("c", ill)}, change{removeMember, "b", ""}, ErrQuorumAtRisk},
		"remove a healthy one of five":        {[]Peer{a, b, c, d, voter("e", ill)}, change{removeMember, "b", ""}, ErrQuorumAtRisk},
		"move one that the other needs":       {[]Peer{a, b, voter("c", ill)}, change{moveMember, "b", "n"}, ErrQuorumAtRisk},
		"move a stranger":                     {[]Peer{a}, change{moveMember, "n", "n"}, ErrNotFound},
		"remove the dead one of three":        {[]Peer{a, b, voter("c", ill)}, change{removeMember, "c", ""}, nil},
		"move the dead one of three":          {[]Peer{a, b, voter("c", ill)}, change{moveMember, "c", "n"}, nil},
		"promote one of two learners":         {[]Peer{a, learner("l", healthy), learner("m", healthy)}, change{promoteMember, "l", ""}, nil},
		"promote to three":                    {[]Peer{a, b, learner("l", healthy)}, change{promoteMember, "l", ""}, nil},
		"make three smaller":                  {[]Peer{a, b, c}, change{removeMember, "c", ""}, nil},
	} {
		needed, err := decide(x.peers, x.c)
		if !errors.Is(err, x.want) || needed != (x.want == nil) {
			t.Errorf("%s: %v, %v, want %v", name, needed, err, x.want)
		}
	}
}
