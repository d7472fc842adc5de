package workload

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"piccolo.io/piccolo/topology"
)

func plan() Plan {
	p := PlanFor(topology.DefaultConfig(), topology.Node{ID: "n-1", Name: "a", Labels: map[string]string{"k": "v"}})
	p.Revision = 7
	return p
}

func TestPlanFor(t *testing.T) {
	config := topology.DefaultConfig()
	n := topology.Node{ID: "n-1", Name: "a", Labels: map[string]string{"k": "v"}}
	got := PlanFor(config, n)
	want := Plan{Node: "n-1", Name: "a", Labels: map[string]string{"k": "v"}, HeartbeatInterval: config.HeartbeatInterval, LogLevel: "info"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
	got.Labels["k"] = "w"
	if n.Labels["k"] != "v" {
		t.Error("the plan shares its labels with the node")
	}
	n.LogLevel = "debug"
	if got := PlanFor(config, n); got.LogLevel != "debug" {
		t.Errorf("the node's own log level is lost: %q", got.LogLevel)
	}
}

// TestEqualInputEqualPlan: only what a plan is made of changes it, and what
// was stored as JSON compares equal to what is computed anew. Otherwise every
// heartbeat would rewrite every plan.
func TestEqualInputEqualPlan(t *testing.T) {
	labels := rapid.MapOfN(rapid.StringMatching(`[a-z]{1,5}`), rapid.StringMatching(`[a-z]{0,5}`), 0, 4)
	rapid.Check(t, func(t *rapid.T) {
		n := topology.Node{ID: "n-1", Name: "a", Labels: labels.Draw(t, "labels"), LogLevel: rapid.SampledFrom([]string{"", "warn"}).Draw(t, "level")}
		other := n.Clone()
		other.Status, other.Reasons = topology.StatusNotReady, topology.Reasons{topology.ReasonPodmanDown}
		other.IP, other.Usage = "10.0.0.9", &topology.Usage{Load1: 3}
		a, b := PlanFor(topology.DefaultConfig(), n), PlanFor(topology.DefaultConfig(), other)
		if !reflect.DeepEqual(a, b) {
			t.Fatalf("%+v is not %+v", a, b)
		}
		j, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		var stored Plan
		if err := json.Unmarshal(j, &stored); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(stored, b) {
			t.Fatalf("stored %+v is not %+v", stored, b)
		}
	})
}

func TestPlanValidate(t *testing.T) {
	if err := plan().Validate("n-1"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		change func(*Plan)
		hint   string
	}{
		{func(p *Plan) { p.Node = "n-2" }, "not for this one (n-1)"},
		{func(p *Plan) { p.Node = "" }, "not for this one"},
		{func(p *Plan) { p.Revision = 0 }, "no revision"},
		{func(p *Plan) { p.Revision = -1 }, "no revision"},
		{func(p *Plan) { p.HeartbeatInterval = 1 }, "heartbeat_interval"},
		{func(p *Plan) { p.LogLevel = "loud" }, "log_level"},
		{func(p *Plan) { p.Labels = map[string]string{"bad key": ""} }, "bad key"},
	} {
		p := plan()
		c.change(&p)
		if err := p.Validate("n-1"); err == nil || !strings.Contains(err.Error(), c.hint) {
			t.Errorf("%+v: %v; want %q", p, err, c.hint)
		}
	}
}

// FuzzPlan: a plan from the disk or the wire that passes the guard can be
// obeyed.
func FuzzPlan(f *testing.F) {
	good, err := json.Marshal(plan())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"node":"n-1","revision":1,"heartbeat_interval":"-1s"}`))
	f.Add([]byte(`{"node":"n-1","revision":9223372036854775807,"heartbeat_interval":"10s","log_level":"info","labels":{"":""}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var p Plan
		if json.Unmarshal(b, &p) != nil || p.Validate("n-1") != nil {
			return
		}
		c := topology.DefaultConfig()
		c.HeartbeatInterval, c.LogLevel = p.HeartbeatInterval, p.LogLevel
		if p.Node != "n-1" || p.Revision <= 0 || c.Validate() != nil || topology.ValidateLabels(p.Labels) != nil {
			t.Errorf("%s was let pass", b)
		}
	})
}

func TestViewMasters(t *testing.T) {
	v := View{Nodes: []topology.Node{
		{Name: "main", Role: topology.RoleMaster, IP: "10.0.0.1", APIPort: 7443},
		{Name: "six", Role: topology.RoleMaster, IP: "fd00::1", APIPort: 17443},
		{Name: "board", Role: topology.RoleSub, IP: "10.0.0.2"},
		{Name: "portless", Role: topology.RoleMaster, IP: "10.0.0.3"},
	}}
	if diff := cmp.Diff([]string{"10.0.0.1:7443", "[fd00::1]:17443"}, v.Masters()); diff != "" {
		t.Errorf("masters (-want +got):\n%s", diff)
	}
	if got := (View{}).Masters(); len(got) != 0 {
		t.Errorf("an empty view has masters: %v", got)
	}
}

// TestSecretsStayOut: what is written as JSON, to logs and disks, has neither
// the token nor the gossip keys.
func TestSecretsStayOut(t *testing.T) {
	for _, v := range []any{
		Registration{Token: "pic1.secret"}, Admission{Keyring: Keyring{Keys: [][]byte{[]byte("pic1.secret")}}},
	} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), "secret") || strings.Contains(string(b), "cGljMS5zZWNyZXQ") {
			t.Errorf("%s tells a secret", b)
		}
	}
}
