package api_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/topology"
)

// events is a log with one line.
type events []json.RawMessage

func (e events) Events(int) []json.RawMessage { return e }

var oneEvent = events{json.RawMessage(`{"kind":"NodeStatus","message":"Ready"}`)}

// operation is one thing that can be asked of a service.
type operation struct {
	name string
	do   func(context.Context, *api.Service, auth.Principal) error
	// may says what happens to each of the principals, in their order: y, or
	// U (unauthenticated) or D (denied).
	may string
	// writes says that it changes something.
	writes bool
}

func err1[A any](_ A, err error) error         { return err }
func err2[A, B any](_ A, _ B, err error) error { return err }

// principals, in the order of the letters of operation.may.
func principals() []auth.Principal {
	return []auth.Principal{
		auth.Anonymous(), auth.Node("n-sub", topology.RoleSub), auth.Node("n-main", topology.RoleMaster), admin,
		auth.Local("n-main", topology.RoleMaster), auth.Local("n-sub", topology.RoleSub),
	}
}

func operations() []operation {
	return []operation{
		{"list nodes", func(c context.Context, s *api.Service, p auth.Principal) error { return err1(s.Nodes(c, p)) }, "UDyyyy", false},
		{"its own node", func(c context.Context, s *api.Service, p auth.Principal) error { return err1(s.Node(c, p, "n-sub")) }, "Uyyyyy", false},
		{"its own node by name", func(c context.Context, s *api.Service, p auth.Principal) error { return err1(s.Node(c, p, "board")) }, "Uyyyyy", false},
		{"another node", func(c context.Context, s *api.Service, p auth.Principal) error { return err1(s.Node(c, p, "n-down")) }, "UDyyyy", false},
		{"patch node", func(c context.Context, s *api.Service, p auth.Principal) error {
			return err1(s.PatchNode(c, p, "n-sub", api.NodePatch{LogLevel: new(string)}))
		}, "UDDyyD", true},
		{"remove node", func(c context.Context, s *api.Service, p auth.Principal) error {
			return err1(s.RemoveNode(c, p, "n-sub"))
		}, "UDDyyD", true},
		{"all containers", func(c context.Context, s *api.Service, p auth.Principal) error {
			return err1(s.Containers(c, p, "", false))
		}, "UDyyyy", false},
		{"its own containers", func(c context.Context, s *api.Service, p auth.Principal) error {
			return err1(s.Containers(c, p, "board", true))
		}, "Uyyyyy", false},
		{"other containers", func(c context.Context, s *api.Service, p auth.Principal) error {
			return err1(s.Containers(c, p, "main", false))
		}, "UDyyyy", false},
		{"topology", func(c context.Context, s *api.Service, p auth.Principal) error { return err1(s.Topology(c, p)) }, "UDyyyy", false},
		{"put topology", func(c context.Context, s *api.Service, p auth.Principal) error {
			return err1(s.PutTopology(c, p, topology.ClusterTopology{Name: "home", Type: topology.TypeBasic, Config: topology.DefaultConfig()}))
		}, "UDDyyD", true},
		{"alerts", func(c context.Context, s *api.Service, p auth.Principal) error { return err1(s.Alerts(c, p)) }, "UDyyyy", false},
		{"status", func(c context.Context, s *api.Service, p auth.Principal) error { return err1(s.Status(c, p)) }, "UDyyyy", false},
		{"events", func(c context.Context, s *api.Service, p auth.Principal) error {
			return err1(s.Events(c, p, oneEvent, 0))
		}, "UDyyyy", false},
		{"watch all", func(_ context.Context, s *api.Service, p auth.Principal) error { return s.AuthorizeWatch(p, nil) }, "UDyyyy", false},
		{"create token", func(c context.Context, s *api.Service, p auth.Principal) error {
			return err1(s.CreateToken(c, p, api.TokenRequest{}))
		}, "UDDyyD", true},
		{"list tokens", func(c context.Context, s *api.Service, p auth.Principal) error { return err1(s.ListTokens(c, p)) }, "UDDyyD", false},
		{"delete token", func(c context.Context, s *api.Service, p auth.Principal) error { return s.DeleteToken(c, p, "x") }, "UDDyyD", true},
		{"register", func(c context.Context, s *api.Service, p auth.Principal) error {
			return err1(s.Register(c, p, nil, workload.Registration{NodeID: "n-new"}))
		}, "yyyyyD", true},
		{"renew", func(c context.Context, s *api.Service, p auth.Principal) error {
			return err2(s.Renew(c, api.Caller{Principal: p}, nil))
		}, "UyyDyy", true},
		{"leave cluster", func(c context.Context, s *api.Service, p auth.Principal) error {
			return s.LeaveCluster(c, api.Caller{Principal: p}, "n-sub")
		}, "UyDDDy", true},
		{"attach", func(c context.Context, s *api.Service, p auth.Principal) error {
			return s.Attach(c, api.Caller{Principal: p}, workload.Hello{Node: "n-sub"}, nil, nil)
		}, "UyDDDy", true},
		{"heartbeat", func(c context.Context, s *api.Service, p auth.Principal) error {
			return err1(s.Heartbeat(c, api.Caller{Principal: p}, workload.Heartbeat{Node: "n-sub"}))
		}, "UyDDDy", true},
		{"report", func(c context.Context, s *api.Service, p auth.Principal) error {
			return s.Report(c, api.Caller{Principal: p}, workload.Report{Node: "n-sub"})
		}, "UyDDDy", true},
		{"plan", func(c context.Context, s *api.Service, p auth.Principal) error {
			return err1(s.Plan(c, api.Caller{Principal: p}, "n-sub", 0, ""))
		}, "UyDDDy", true},
		{"leave self", func(c context.Context, s *api.Service, p auth.Principal) error { return s.Leave(c, p) }, "UDDDyD", true},
	}
}

// TestPermissions asks for everything as everybody, on a master. Who may not
// has done nothing, and is on record, unless it is a stranger: strangers must
// not be able to write to the flash.
func TestPermissions(t *testing.T) {
	for _, op := range operations() {
		for i, p := range principals() {
			f := newFake()
			err := op.do(t.Context(), newService(t, f, true), p)
			want := map[byte]api.Kind{'y': "", 'U': api.KindUnauthenticated, 'D': api.KindDenied}[op.may[i]]
			if got := kindOf(err); got != want {
				t.Errorf("%s as %s: %q (%v), want %q", op.name, p, got, err, want)
				continue
			}
			if err != nil && len(f.done) > 0 {
				t.Errorf("%s as %s was refused, and yet: %v", op.name, p, f.done)
			}
			if op.writes && err == nil && len(f.done) == 0 {
				t.Errorf("%s as %s did nothing", op.name, p)
			}
			if want == api.KindUnauthenticated && len(f.audit) > 0 {
				t.Errorf("%s as a stranger was recorded: %+v", op.name, f.audit)
			}
			for _, e := range f.audit {
				if e.Principal != p.String() || e.Action == "" || !e.At.Equal(now()) || (e.Outcome == "ok") != (err == nil) {
					t.Errorf("%s as %s: recorded as %+v", op.name, p, e)
				}
			}
		}
	}
}

// TestEveryChangeIsRecorded, done or denied, with what it was about.
func TestEveryChangeIsRecorded(t *testing.T) {
	for _, op := range operations() {
		f := newFake()
		s := newService(t, f, true)
		_ = op.do(t.Context(), s, auth.Node("n-down", topology.RoleSub))
		denied := len(f.audit)
		_ = op.do(t.Context(), s, admin)
		administers := op.writes && strings.HasPrefix(op.may, "UDDyy")
		if administers && (denied != 1 || f.audit[0].Outcome != "denied" || len(f.audit) != 2 || f.audit[1].Outcome != "ok") {
			t.Errorf("%s: %+v", op.name, f.audit)
		}
		if !op.writes && len(f.audit) > 0 {
			t.Errorf("%s only reads, and was recorded", op.name)
		}
	}
}

// TestOnASub: what only a master can do is refused with the way to one, and
// reading works.
func TestOnASub(t *testing.T) {
	root := auth.Local("n-sub", topology.RoleSub)
	for _, op := range operations() {
		if op.name == "leave self" || op.name == "its own node" || !op.writes {
			continue
		}
		for _, p := range []auth.Principal{root, admin, auth.Node("n-sub", topology.RoleSub)} {
			f := newFake()
			err := op.do(t.Context(), newService(t, f, false), p)
			if got := kindOf(err); got != api.KindUnavailable && got != api.KindDenied {
				t.Errorf("%s as %s: %q (%v)", op.name, p, got, err)
			}
			if len(f.done) > 0 {
				t.Errorf("%s as %s: %v", op.name, p, f.done)
			}
		}
	}
	f := newFake()
	s := newService(t, f, false)
	for master, hint := range map[string]string{"10.0.0.1:7443": "--server https://10.0.0.1:7443", "": "--server"} {
		f.master = master
		err := err1(s.CreateToken(t.Context(), admin, api.TokenRequest{}))
		if kindOf(err) != api.KindUnavailable || !strings.Contains(err.Error(), hint) {
			t.Errorf("with master %q: %v", master, err)
		}
	}
	if nodes, err := s.Nodes(t.Context(), root); err != nil || len(nodes) != 5 {
		t.Errorf("nodes: %v, %v", nodes, err)
	}
	if s.IsMaster() {
		t.Error("it takes itself for a master")
	}
	if err := s.Leave(t.Context(), root); err != nil || len(f.done) != 1 {
		t.Errorf("leave: %v, %v", err, f.done)
	}
}
