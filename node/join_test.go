package node_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"piccolo.io/piccolo/node"
	"piccolo.io/piccolo/node/nodetest"
	"piccolo.io/piccolo/readiness"
	"piccolo.io/piccolo/topology"
)

// TestJoinAgainRefusesWhatItDoesNotDo: a member that is told to be another
// says so, and one that is asked for nothing new stays as it is.
func TestJoinAgainRefusesWhatItDoesNotDo(t *testing.T) {
	t.Parallel()
	c := nodetest.New(t, 2)
	sub := c.Node(1)
	for what, try := range map[string]struct {
		change func(*node.JoinOptions)
		want   string // empty where nothing is refused
	}{
		"as it is":        {func(*node.JoinOptions) {}, ""},
		"nothing said":    {func(o *node.JoinOptions) { o.Name, o.Role, o.Advertise = "", "", netip.AddrPort{} }, ""},
		"another name":    {func(o *node.JoinOptions) { o.Name = "other" }, "the name other"},
		"another role":    {func(o *node.JoinOptions) { o.Role = topology.RoleMaster }, "the role master"},
		"another address": {func(o *node.JoinOptions) { o.Advertise = netip.MustParseAddrPort("127.0.0.77:0") }, "the address 127.0.0.77"},
	} {
		o := c.JoinOptions(sub)
		o.Name = "sub-1"
		try.change(&o)
		res, err := node.Join(bounded(t), o)
		switch {
		case try.want == "" && (err != nil || !res.Already || res.Role != topology.RoleSub):
			t.Errorf("%s: %+v, %v", what, res, err)
		case try.want != "" && (!errors.Is(err, node.ErrMember) || !strings.Contains(err.Error(), try.want)):
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestInitWarnsOfAForeignAddress(t *testing.T) {
	t.Parallel()
	for address, foreign := range map[string]bool{"127.0.0.1:0": false, "192.0.2.250:0": true} {
		o := machine(t)
		o.Advertise = netip.MustParseAddrPort(address)
		res, err := node.Init(bounded(t), o)
		ok(t, err)
		if said := strings.Contains(strings.Join(res.Warnings, "\n"), "no interface of this machine has"); said != foreign {
			t.Errorf("%s: %q", address, res.Warnings)
		}
	}
}

// TestCheckOfPodmanSaysItOnce: what is wrong, and once what to try.
func TestCheckOfPodmanSaysItOnce(t *testing.T) {
	t.Parallel()
	o := machine(t)
	o.PodmanSocket = "/nowhere/podman.sock"
	_, err := node.Init(bounded(t), o)
	const want = "Podman's socket does not answer: there is no Podman socket (/nowhere/podman.sock)"
	if !errors.Is(err, node.ErrNotReady) || strings.Contains(err.Error(), "try:") || strings.Count(err.Error(), "join") != 1 {
		t.Errorf("%v", err)
	}
	report, _, err := node.Check(bounded(t), o.Options, node.CheckOptions{})
	ok(t, err)
	for _, r := range report.Results {
		if r.Check == "podman" && (r.Severity != readiness.SeverityError || r.Found != want && !strings.Contains(r.Found, "not installed")) {
			t.Errorf("%+v", r)
		}
	}
}

// TestCheckOfAMemberMakesEveryCheck though its own daemon holds the ports.
func TestCheckOfAMemberMakesEveryCheck(t *testing.T) {
	t.Parallel()
	c := nodetest.New(t, 1)
	stranger := machine(t)
	before, _, err := node.Check(bounded(t), stranger.Options, node.CheckOptions{})
	ok(t, err)
	report, _, err := node.Check(bounded(t), c.Master().Options, node.CheckOptions{})
	ok(t, err)
	if report.Gate != readiness.GateRunning || len(report.Results) != len(before.Results) {
		t.Errorf("gate %s with %d checks, %d before it was a member", report.Gate, len(report.Results), len(before.Results))
	}
	for _, r := range report.Results {
		if skipped := r.Check == "ports" || r.Check == "master" || r.Check == "gossip"; skipped != (r.Severity == readiness.SeveritySkipped) {
			t.Errorf("%+v", r)
		}
	}
}

// TestTraces: what a reset would find.
func TestTraces(t *testing.T) {
	t.Parallel()
	o := machine(t)
	traces := func(want bool) {
		t.Helper()
		if got, err := node.Traces(o.Options); err != nil || got != want {
			t.Errorf("%v, %v", got, err)
		}
	}
	traces(false)
	_, err := node.Init(bounded(t), o)
	ok(t, err)
	traces(true)
	ok(t, node.Reset(bounded(t), o.Options))
	traces(false)
}
