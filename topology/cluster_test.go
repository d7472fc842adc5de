package topology

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestConfigValidate(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Errorf("the default is not valid: %v", err)
	}
	for _, c := range []struct {
		change func(*Config)
		hint   string // empty: it is valid
	}{
		{func(c *Config) { c.HeartbeatInterval = Duration(MinHeartbeatInterval) }, ""},
		{func(c *Config) { c.HeartbeatInterval = Duration(MaxHeartbeatInterval) }, ""},
		{func(c *Config) { c.HeartbeatInterval = Duration(MinHeartbeatInterval - 1) }, "the minimum is 5s"},
		{func(c *Config) { c.HeartbeatInterval = 0 }, "heartbeat_interval"},
		{func(c *Config) { c.HeartbeatInterval = -1 }, "heartbeat_interval"},
		{func(c *Config) { c.HeartbeatInterval = Duration(MaxHeartbeatInterval + 1) }, "the maximum is 10m0s"},
		{func(c *Config) { c.LogLevel = "debug" }, ""},
		{func(c *Config) { c.LogLevel = "" }, "log_level"},
		{func(c *Config) { c.LogLevel = "DEBUG" }, "log_level"},
		{func(c *Config) { c.LogLevel = strings.Repeat("x", 1000) }, "log_level"},
		{func(c *Config) { c.Approval = ApprovalManual }, ""},
		{func(c *Config) { c.Approval = "perhaps" }, "approval"},
	} {
		config := DefaultConfig()
		c.change(&config)
		err := config.Validate()
		if c.hint == "" && err != nil || c.hint != "" && (err == nil || !strings.Contains(err.Error(), c.hint)) {
			t.Errorf("%+v: %v; want %q", config, err, c.hint)
		}
	}
}

func TestClusterValidate(t *testing.T) {
	good := ClusterTopology{ID: "c-1", Name: "home", Type: TypeBasic, Config: DefaultConfig()}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		change func(*ClusterTopology)
		hint   string
	}{
		{func(c *ClusterTopology) { c.Name = "no name" }, "cluster"},
		{func(c *ClusterTopology) { c.Type = "star" }, "this version has"},
		{func(c *ClusterTopology) { c.Type = TypeEdgeCloud }, "not supported"},
		{func(c *ClusterTopology) { c.Type = TypeMultiCluster }, "not supported"},
		{func(c *ClusterTopology) { c.Type = TypeGeoDistributed }, "not supported"},
		{func(c *ClusterTopology) { c.ParentCluster = "mother" }, "parent_cluster"},
		{func(c *ClusterTopology) { c.Config.LogLevel = "loud" }, "log_level"},
	} {
		bad := good
		c.change(&bad)
		if err := bad.Validate(); err == nil || !strings.Contains(err.Error(), c.hint) {
			t.Errorf("%+v: %v; want %q", bad, err, c.hint)
		}
	}
}

// TestDurationJSON: every duration survives the way through JSON.
func TestDurationJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := Duration(rapid.Int64().Draw(t, "d"))
		b, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		var back Duration
		if err := json.Unmarshal(b, &back); err != nil || back != d {
			t.Fatalf("%s became %s: %v", time.Duration(d), time.Duration(back), err)
		}
	})
	for _, bad := range []string{`10`, `"10"`, `"ten"`, `null2`, `{}`, `""`, `"` + strings.Repeat("9", 500) + `s"`} {
		var d Duration
		err := json.Unmarshal([]byte(bad), &d)
		if err == nil {
			t.Errorf("%.20s was accepted as %s", bad, time.Duration(d))
		} else if len(err.Error()) > 300 {
			t.Errorf("%.20s: the message has %d bytes", bad, len(err.Error()))
		}
	}
}

// TestCloneSharesNothing fills every field, clones, and changes the clone.
func TestCloneSharesNothing(t *testing.T) {
	at, warm := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), 40.5
	n := Node{
		ID: "n-1", Name: "a", Reasons: Reasons{ReasonPodmanDown}, Labels: map[string]string{"k": "v"},
		LastHeartbeat: &at, Usage: &Usage{At: at, Load1: 1, Temperature: &warm},
	}
	c := n.Clone()
	if !reflect.DeepEqual(c, n) {
		t.Fatalf("%+v is not %+v", c, n)
	}
	c.Reasons[0], c.Labels["k"], c.Usage.Load1 = ReasonUnreachable, "w", 2
	*c.LastHeartbeat, *c.Usage.Temperature = at.Add(1), 41
	if n.Reasons[0] != ReasonPodmanDown || n.Labels["k"] != "v" || !n.LastHeartbeat.Equal(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)) ||
		n.Usage.Load1 != 1 || *n.Usage.Temperature != 40.5 {
		t.Errorf("the original changed with its clone: %+v", n)
	}
	if empty := (Node{}).Clone(); !reflect.DeepEqual(empty, Node{}) {
		t.Errorf("the clone of nothing is %+v", empty)
	}
}

func TestRoleValid(t *testing.T) {
	for r, want := range map[Role]bool{RoleMaster: true, RoleSub: true, "": false, "Master": false, "boss": false} {
		if r.Valid() != want {
			t.Errorf("%q: %v", r, r.Valid())
		}
	}
}
