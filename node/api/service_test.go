package api_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/topology"
)

func ptr[T any](v T) *T { return &v }

func TestNew(t *testing.T) {
	f := newFake()
	for field, o := range map[string]api.Options{"Knowledge": {Self: self{f, "n-1"}}, "Self": {Knowledge: f}} {
		if _, err := api.New(o); err == nil || !strings.Contains(err.Error(), field+" is missing") {
			t.Errorf("without %s: %v", field, err)
		}
	}
}

func TestLists(t *testing.T) {
	s := newService(t, newFake(), true)
	nodes, err := s.Nodes(t.Context(), admin)
	if err != nil || !slices.IsSortedFunc(nodes, func(a, b topology.Node) int { return strings.Compare(a.Name, b.Name) }) {
		t.Errorf("nodes: %v, %v", nodes, err)
	}
	list, err := s.Containers(t.Context(), admin, "", false)
	if err != nil || len(list) != 3 || list[0].Name != "db" || list[1].Name != "web" || list[2].Name != "app" {
		t.Errorf("containers are not by node and name: %v, %v", list, err)
	}
	if list, err := s.Containers(t.Context(), admin, "main", false); err != nil || len(list) != 1 {
		t.Errorf("of one node: %v, %v", list, err)
	}
	alerts, err := s.Alerts(t.Context(), admin)
	if err != nil || alerts[0].ID != "new" {
		t.Errorf("alerts are not the newest first: %v, %v", alerts, err)
	}
}

// TestFind: by id before name, and a reference that fits nothing is named
// without being repeated at length.
func TestFind(t *testing.T) {
	f := newFake()
	f.nodes = append(f.nodes, topology.Node{ID: "n-evil", Name: "n-sub"}) // named as another's id
	s := newService(t, f, true)
	for ref, id := range map[string]string{"n-sub": "n-sub", "board": "n-sub", "n-evil": "n-evil"} {
		if n, err := s.Node(t.Context(), admin, ref); err != nil || n.ID != id {
			t.Errorf("%s: %s, %v", ref, n.ID, err)
		}
	}
	for _, ref := range []string{"", "nobody", "BOARD", strings.Repeat("x", 10000)} {
		for name, err := range map[string]error{
			"show": err1(s.Node(t.Context(), admin, ref)), "patch": err1(s.PatchNode(t.Context(), admin, ref, api.NodePatch{})),
			"remove": err1(s.RemoveNode(t.Context(), admin, ref)),
		} {
			if kindOf(err) != api.KindNotFound || !strings.Contains(err.Error(), "piccolo node ls") || len(err.Error()) > 300 {
				t.Errorf("%s %.10q: %v", name, ref, err)
			}
		}
	}
	for _, e := range f.audit {
		if len(e.Resource) > 120 {
			t.Errorf("%d bytes in the audit", len(e.Resource))
		}
	}
}

func TestPatchNode(t *testing.T) {
	labels := func(m map[string]*string) api.NodePatch { return api.NodePatch{Labels: m} }
	for name, try := range map[string]struct {
		node  string
		patch api.NodePatch
		kind  api.Kind
		hint  string
		done  []string
	}{
		"nothing":            {"n-sub", api.NodePatch{}, "", "", nil},
		"label":              {"n-sub", labels(map[string]*string{"a": ptr("b")}), "", "", []string{"edit n-sub"}},
		"remove label":       {"n-sub", labels(map[string]*string{"zone": nil, "never": nil}), "", "", []string{"edit n-sub"}},
		"bad label":          {"n-sub", labels(map[string]*string{"a b": ptr("c")}), api.KindInvalid, "a b", nil},
		"bad value":          {"n-sub", labels(map[string]*string{"a": ptr("c d")}), api.KindInvalid, "c d", nil},
		"log level":          {"n-sub", api.NodePatch{LogLevel: ptr("debug")}, "", "", []string{"edit n-sub"}},
		"no log level":       {"n-sub", api.NodePatch{LogLevel: ptr("")}, "", "", []string{"edit n-sub"}},
		"bad log level":      {"n-sub", api.NodePatch{LogLevel: ptr("loud")}, api.KindInvalid, "loud", nil},
		"maintenance":        {"n-sub", api.NodePatch{Status: ptr(topology.StatusMaintenance)}, "", "", []string{"signal maintain n-sub by admin root"}},
		"maintenance again":  {"n-kept", api.NodePatch{Status: ptr(topology.StatusMaintenance)}, api.KindConflict, "into maintenance: it is in Maintenance", nil},
		"resume":             {"n-kept", api.NodePatch{Status: ptr(topology.StatusReady)}, "", "", []string{"signal resume n-kept by admin root"}},
		"resume a ready one": {"n-sub", api.NodePatch{Status: ptr(topology.StatusReady)}, api.KindConflict, "resume node board: it is Ready", nil},
		"resume a lost one":  {"n-down", api.NodePatch{Status: ptr(topology.StatusReady)}, api.KindConflict, "when Unreachable is gone", nil},
		"approve":            {"n-wait", api.NodePatch{Status: ptr(topology.StatusInitializing)}, "", "", []string{"signal approved n-wait by admin root"}},
		"approve a member":   {"n-sub", api.NodePatch{Status: ptr(topology.StatusInitializing)}, api.KindConflict, "approve node board: it is Ready", nil},
		"approve a new one":  {"n-new", api.NodePatch{Status: ptr(topology.StatusInitializing)}, api.KindConflict, "approve node new: it is Initializing", nil},
		"terminate":          {"n-sub", api.NodePatch{Status: ptr(topology.StatusTerminating)}, api.KindInvalid, "Maintenance, Ready", nil},
		"made-up":            {"n-sub", api.NodePatch{Status: ptr(topology.NodeStatus("Happy"))}, api.KindInvalid, "Happy", nil},
		"both": {"n-sub", api.NodePatch{LogLevel: ptr("debug"), Status: ptr(topology.StatusMaintenance)}, "", "",
			[]string{"edit n-sub", "signal maintain n-sub by admin root"}},
		"label good, status bad": {"n-sub", api.NodePatch{Labels: map[string]*string{"a": ptr("b")}, Status: ptr(topology.StatusInitializing)}, api.KindConflict, "", nil},
		"status good, label bad": {"n-sub", api.NodePatch{Labels: map[string]*string{"": ptr("b")}, Status: ptr(topology.StatusMaintenance)}, api.KindInvalid, "", nil},
	} {
		f := newFake()
		f.nodes = append(f.nodes, topology.Node{ID: "n-new", Name: "new", Role: topology.RoleSub, Status: topology.StatusInitializing})
		before := f.Nodes()
		n, err := newService(t, f, true).PatchNode(t.Context(), admin, try.node, try.patch)
		if kindOf(err) != try.kind || err != nil && !strings.Contains(err.Error(), try.hint) {
			t.Errorf("%s: %v, want %q with %q", name, err, try.kind, try.hint)
		}
		if !slices.Equal(f.done, try.done) {
			t.Errorf("%s: done %v, want %v", name, f.done, try.done)
		}
		if err != nil && !reflect.DeepEqual(before, f.Nodes()) {
			t.Errorf("%s was refused, and yet something changed", name)
		}
		if err == nil && n.ID != try.node {
			t.Errorf("%s: it answers with %+v", name, n)
		}
	}
	f := newFake()
	n, err := newService(t, f, true).PatchNode(t.Context(), admin, "board", labels(map[string]*string{"a": ptr("b"), "zone": nil}))
	if want := map[string]string{"a": "b"}; err != nil || !reflect.DeepEqual(n.Labels, want) {
		t.Errorf("labels %v, %v", n.Labels, err)
	}
}

func TestRemoveNode(t *testing.T) {
	for ref, want := range map[string]string{"board": "signal remove n-sub by admin root", "wait": "signal rejected n-wait by admin root", "kept": "signal remove n-kept by admin root"} {
		f := newFake()
		n, err := newService(t, f, true).RemoveNode(t.Context(), admin, ref)
		if err != nil || n.Status != topology.StatusTerminating || !slices.Equal(f.done, []string{want}) {
			t.Errorf("%s: %v, %v", ref, f.done, err)
		}
	}
}

func TestPutTopology(t *testing.T) {
	for name, try := range map[string]struct {
		change func(*topology.ClusterTopology)
		kind   api.Kind
		hint   string
	}{
		"as it is":       {func(*topology.ClusterTopology) {}, "", ""},
		"no lists":       {func(c *topology.ClusterTopology) { c.MasterNodes, c.SubNodes, c.ID = nil, nil, "" }, "", ""},
		"name":           {func(c *topology.ClusterTopology) { c.Name = "cabin" }, "", ""},
		"other id":       {func(c *topology.ClusterTopology) { c.ID = "c-2" }, api.KindInvalid, "cannot be changed"},
		"other masters":  {func(c *topology.ClusterTopology) { c.MasterNodes = []string{"board"} }, api.KindInvalid, "piccolo join"},
		"no subs":        {func(c *topology.ClusterTopology) { c.SubNodes = []string{} }, api.KindInvalid, "piccolo join"},
		"short interval": {func(c *topology.ClusterTopology) { c.Config.HeartbeatInterval = 1 }, api.KindInvalid, "the minimum is 5s"},
		"type":           {func(c *topology.ClusterTopology) { c.Type = topology.TypeEdgeCloud }, api.KindInvalid, "not supported"},
		"bad name":       {func(c *topology.ClusterTopology) { c.Name = "my home" }, api.KindInvalid, "a-z"},
	} {
		f := newFake()
		next := f.topo
		try.change(&next)
		got, err := newService(t, f, true).PutTopology(t.Context(), admin, next)
		if kindOf(err) != try.kind || err != nil && !strings.Contains(err.Error(), try.hint) {
			t.Errorf("%s: %v, want %q with %q", name, err, try.kind, try.hint)
		}
		if err == nil && (got.ID != "c-1" || len(f.done) != 1) || err != nil && len(f.done) != 0 {
			t.Errorf("%s: %+v, done %v", name, got, f.done)
		}
	}
	f := newFake()
	f.fails = store.ErrConflict
	if _, err := newService(t, f, true).PutTopology(t.Context(), admin, f.topo); kindOf(err) != api.KindConflict {
		t.Errorf("an old revision: %v", err)
	}
}

func TestTokens(t *testing.T) {
	for name, try := range map[string]struct {
		request api.TokenRequest
		hint    string // empty: it is made
	}{
		"default":          {api.TokenRequest{}, ""},
		"a minute":         {api.TokenRequest{TTL: topology.Duration(time.Minute), Role: topology.RoleSub, Description: "kitchen"}, ""},
		"too short":        {api.TokenRequest{TTL: topology.Duration(time.Second)}, "1m to 8760h"},
		"negative":         {api.TokenRequest{TTL: -1}, "out of bounds"},
		"too long":         {api.TokenRequest{TTL: topology.Duration(366 * 24 * time.Hour)}, "8760h"},
		"long description": {api.TokenRequest{Description: strings.Repeat("x", 201)}, "201 bytes"},
		"role":             {api.TokenRequest{Role: "boss"}, "boss"},
		"for a master":     {api.TokenRequest{Role: topology.RoleMaster}, ""},
	} {
		f := newFake()
		got, err := newService(t, f, true).CreateToken(t.Context(), admin, try.request)
		if try.hint != "" {
			if kindOf(err) != api.KindInvalid || !strings.Contains(err.Error(), try.hint) || len(f.tokens) > 0 {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		token, parseErr := auth.ParseJoinToken(got.Token)
		if parseErr != nil || token.ID != got.ID || got.Hash != "" || f.tokens[0].Hash == "" || got.JoinCommand != "piccolo join 10.0.0.1:7443 --token "+got.Token+map[topology.Role]string{topology.RoleMaster: " --role master"}[got.Role] {
			t.Errorf("%s: %+v, %v", name, got, parseErr)
		}
		want := cmpOr(time.Duration(try.request.TTL), 24*time.Hour)
		if got.ExpiresAt.Sub(now()) != want || got.Role != cmp.Or(try.request.Role, topology.RoleSub) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	f := newFake()
	s := newService(t, f, true)
	for _, ttl := range []time.Duration{time.Hour, 3 * time.Hour, 2 * time.Hour} {
		if _, err := s.CreateToken(t.Context(), admin, api.TokenRequest{TTL: topology.Duration(ttl)}); err != nil {
			t.Fatal(err)
		}
	}
	list, err := s.ListTokens(t.Context(), admin)
	if err != nil || len(list) != 3 || !list[0].ExpiresAt.After(list[1].ExpiresAt) || !list[1].ExpiresAt.After(list[2].ExpiresAt) {
		t.Errorf("%v, %v", list, err)
	}
	for _, r := range list {
		if r.Hash != "" {
			t.Error("the list tells hashes")
		}
	}
	for _, e := range f.audit {
		if strings.Contains(e.Resource, "pic1") {
			t.Errorf("a token in the audit: %+v", e)
		}
	}
}

func cmpOr(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

// TestStats: a node that does not answer leaves its containers without
// figures, and nobody else's.
func TestStats(t *testing.T) {
	f := newFake()
	f.stats = func(_ context.Context, node string) (map[string]workload.ContainerStats, error) {
		if node == "n-main" {
			return nil, errors.New("it hangs")
		}
		return map[string]workload.ContainerStats{"c1": {CPUPercent: 1}, "c2": {CPUPercent: 2}, "c3": {CPUPercent: 9}}, nil
	}
	s := newService(t, f, true)
	list, err := s.Containers(t.Context(), admin, "", true)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, c := range list {
		if c.Stats != nil {
			got[c.ID] = c.Stats.CPUPercent
		}
	}
	if want := map[string]float64{"c1": 1, "c2": 2}; !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
	if list, _ := s.Containers(t.Context(), admin, "", false); list[0].Stats != nil {
		t.Error("figures that nobody asked for")
	}
	s.Figures = nil
	if _, err := s.Containers(t.Context(), admin, "", true); err != nil {
		t.Errorf("without figures: %v", err)
	}
}

func TestStatus(t *testing.T) {
	f := newFake()
	f.asOf = ptr(now())
	st, err := newService(t, f, true).Status(t.Context(), admin)
	if err != nil {
		t.Fatal(err)
	}
	want := map[topology.NodeStatus]int{topology.StatusReady: 2, topology.StatusNotReady: 1, topology.StatusMaintenance: 1, topology.StatusPending: 1}
	if !reflect.DeepEqual(st.Nodes, want) || st.Containers != 3 || st.Running != 2 || len(st.Alerts) != 2 || st.Self.ID != "n-main" || !st.AsOf.Equal(now()) {
		t.Errorf("%+v", st)
	}
	if len(st.Advice) != 3 || !strings.HasPrefix(st.Advice[0], "down is NotReady (Unreachable): ") || !strings.Contains(st.Advice[1], "survives") || !strings.Contains(st.Advice[2], "1 node(s) wait") {
		t.Errorf("%q", st.Advice)
	}
}

func TestEvents(t *testing.T) {
	s := newService(t, newFake(), true)
	list, err := s.Events(t.Context(), admin, oneEvent, 1)
	if err != nil || len(list) != 1 || list[0].Kind != "NodeStatus" {
		t.Errorf("%v, %v", list, err)
	}
	for _, limit := range []int{-1, api.MaxEvents + 1} {
		if _, err := s.Events(t.Context(), admin, oneEvent, limit); kindOf(err) != api.KindInvalid {
			t.Errorf("limit %d: %v", limit, err)
		}
	}
	if _, err := s.Events(t.Context(), admin, events{json.RawMessage("{")}, 0); kindOf(err) != api.KindInternal {
		t.Errorf("a damaged line: %v", err)
	}
	for _, kinds := range [][]string{{"node", "weather"}, {""}, {strings.Repeat("k", 5000)}} {
		if err := s.AuthorizeWatch(admin, kinds); kindOf(err) != api.KindInvalid || !strings.Contains(err.Error(), "topology") || len(err.Error()) > 400 {
			t.Errorf("watch %.10q: %v", kinds, err)
		}
	}
	for _, kind := range api.WatchKinds() {
		if err := s.AuthorizeWatch(admin, []string{kind}); err != nil {
			t.Errorf("watch %s: %v", kind, err)
		}
	}
}
