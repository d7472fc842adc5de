package node_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"piccolo.io/piccolo/node"
	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/api/client"
	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/node/nodetest"
	"piccolo.io/piccolo/node/pki"
	"piccolo.io/piccolo/podman/podmantest"
	"piccolo.io/piccolo/topology"
)

// bounded is the context of a few calls.
func bounded(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), nodetest.Patience)
	t.Cleanup(cancel)
	return ctx
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func ptr[T any](v T) *T { return &v }

// TestCluster goes through what a person does with a new cluster.
func TestCluster(t *testing.T) {
	t.Parallel()
	c := nodetest.New(t, 3)
	for i := range 3 {
		n := c.WaitStatus(c.Node(i), topology.StatusReady)
		if n.Name != c.Node(i).Name || n.AppliedRevision != n.PlanRevision || n.LastHeartbeat == nil || n.Usage == nil || n.Resources.CPU == 0 || n.Platform.Kernel == "" {
			t.Errorf("%s: %+v", c.Node(i).Name, n)
		}
	}
	t.Run("status", func(t *testing.T) {
		st, err := c.Master().API().Status(bounded(t))
		ok(t, err)
		if st.Value.Nodes[topology.StatusReady] != 3 || st.Value.Self.Mode != "Online" || len(st.Value.Cluster.SubNodes) != 2 || st.AsOf != nil {
			t.Errorf("%+v", st)
		}
	})
	t.Run("containers", func(t *testing.T) { containers(t, c) })
	t.Run("configuration", func(t *testing.T) { configuration(t, c) })
	t.Run("over the network", func(t *testing.T) { overTheNetwork(t, c) })
	t.Run("on a sub", func(t *testing.T) { onASub(t, c) })
	t.Run("join twice", func(t *testing.T) {
		before := tree(t, c.Node(1).Options.DataDir)
		res, err := node.Join(bounded(t), c.JoinOptions(c.Node(1)))
		if err != nil || !res.Already || res.NodeID != c.Node(1).ID || res.Name != "sub-1" {
			t.Errorf("%+v, %v", res, err)
		}
		if after := tree(t, c.Node(1).Options.DataDir); before["node.json"] != after["node.json"] || before["node.key"] != after["node.key"] {
			t.Error("the identity changed")
		}
	})
	t.Run("two daemons", func(t *testing.T) {
		for i := range 2 {
			o := c.Node(i).Options
			o.RunDir = t.TempDir()
			if err := node.Run(bounded(t), o); !errors.Is(err, node.ErrLocked) || !strings.Contains(err.Error(), o.DataDir) {
				t.Errorf("%s: %v", c.Node(i).Name, err)
			}
			if err := node.Reset(bounded(t), o); !errors.Is(err, node.ErrLocked) {
				t.Errorf("reset of %s under its daemon: %v", c.Node(i).Name, err)
			}
		}
	})
	t.Run("private files", func(t *testing.T) {
		for i := range 2 {
			private(t, c.Node(i).Options.DataDir)
		}
	})
}

// private walks a data directory: files 0600, directories 0700.
func private(t *testing.T, dir string) {
	t.Helper()
	ok(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %s", path, info.Mode())
		}
		return err
	}))
}

// containers: what Podman runs on a board is seen at the master, and its end.
func containers(t *testing.T, c *nodetest.Cluster) {
	sub := c.Node(1)
	id := sub.Podman.Run(t, podmantest.Spec{Name: "web"})
	see := func(want string) {
		nodetest.Eventually(t, nodetest.Patience, "container on "+sub.Name, func() error {
			list, err := c.Master().API().Containers(bounded(t), "", true)
			if err != nil {
				return err
			}
			for _, x := range list.Value {
				if x.ID == id && x.State == want && x.NodeName == "sub-1" && (want != "running" || x.Stats != nil) {
					return nil
				}
			}
			return fmt.Errorf("%+v", list.Value)
		})
	}
	see("running")
	sub.Podman.Act(t, podmantest.Stop, id, "")
	see("exited")
}

// configuration: what is set through the API reaches every node, is obeyed and
// confirmed.
func configuration(t *testing.T, c *nodetest.Cluster) {
	api1 := c.Master().API()
	n, err := api1.PatchNode(bounded(t), "sub-1", api.NodePatch{Labels: map[string]*string{"zone": ptr("kitchen")}, LogLevel: ptr("debug")})
	ok(t, err)
	if n.Labels["zone"] != "kitchen" {
		t.Errorf("%+v", n)
	}
	topo, err := api1.Topology(bounded(t))
	ok(t, err)
	topo.Value.Config.HeartbeatInterval, topo.Value.Config.LogLevel = topology.Duration(5*time.Second), "error"
	_, err = api1.PutTopology(bounded(t), topo.Value)
	ok(t, err)
	nodetest.Eventually(t, nodetest.Patience, "every node has obeyed", func() error {
		list, err := api1.Nodes(bounded(t))
		if err != nil {
			return err
		}
		for _, n := range list.Value {
			if n.AppliedRevision != n.PlanRevision || n.ApplyError != "" {
				return fmt.Errorf("%s obeys %d of %d: %s", n.Name, n.AppliedRevision, n.PlanRevision, n.ApplyError)
			}
		}
		if a, b := c.Node(1).Level.Level(), c.Node(2).Level.Level(); a != slog.LevelDebug || b != slog.LevelError {
			return fmt.Errorf("they log %s and %s", a, b)
		}
		return nil
	})
	var e *api.Error
	topo.Value.Config.HeartbeatInterval, topo.Value.Revision = topology.Duration(time.Second), 0
	if _, err := api1.PutTopology(bounded(t), topo.Value); !errors.As(err, &e) || e.Kind != api.KindInvalid || !strings.Contains(err.Error(), "minimum is 5s") {
		t.Errorf("a heartbeat each second: %v", err)
	}
}

// overTheNetwork: an administrator needs the token that init has left.
func overTheNetwork(t *testing.T, c *nodetest.Cluster) {
	clock, err := pki.NewClock(pki.ClockOptions{})
	ok(t, err)
	dial := func(token string) *client.HTTP {
		config, _, err := pki.EnrolTLS(c.Init.Fingerprint, clock)
		ok(t, err)
		h, err := client.NewHTTP(client.HTTPOptions{Server: "https://" + c.Init.API, TLS: config, Token: auth.Secret(token)})
		ok(t, err)
		t.Cleanup(h.Close)
		return h
	}
	b, err := os.ReadFile(c.Init.AdminToken)
	ok(t, err)
	admin := dial(strings.TrimSpace(string(b)))
	list, err := admin.Nodes(bounded(t))
	if err != nil || len(list.Value) != 3 {
		t.Errorf("%+v, %v", list, err)
	}
	metrics, err := admin.Metrics(bounded(t))
	ok(t, err)
	for _, want := range []string{`piccolo_nodes{status="Ready"} 3`, "piccolo_sessions 3", "etcd_", "go_goroutines", "piccolo_gossip_members"} {
		if !strings.Contains(string(metrics), want) {
			t.Errorf("/metrics has no %q", want)
		}
	}
	ok(t, admin.Ready(bounded(t)))
	var e *api.Error
	for name, h := range map[string]*client.HTTP{"without a token": dial(""), "with the join token": dial(c.Init.JoinToken)} {
		if _, err := h.Nodes(bounded(t)); !errors.As(err, &e) || e.Kind != api.KindUnauthenticated {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := admin.Leave(bounded(t)); !errors.As(err, &e) || e.Kind != api.KindDenied {
		t.Errorf("leave over the network: %v", err)
	}
	// A token created now lets a board in.
	created, err := admin.CreateToken(bounded(t), api.TokenRequest{Description: "garage"})
	if err != nil || !strings.HasPrefix(created.JoinCommand, "piccolo join "+c.Init.API+" --token pic1.") {
		t.Errorf("%+v, %v", created, err)
	}
	ok(t, admin.DeleteToken(bounded(t), created.ID))
	late := c.Prepare("late")
	o := c.JoinOptions(late)
	o.Token = created.Token
	if _, err := node.Join(bounded(t), o); err == nil || !strings.Contains(err.Error(), "deleted") {
		t.Errorf("a deleted token: %v", err)
	}
	// etcd's client port is not on the network, and its peer port wants a
	// certificate.
	conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", c.Master().Options.EtcdPeerPort), &tls.Config{InsecureSkipVerify: true})
	if err == nil {
		_, err = conn.Read(make([]byte, 1))
		_ = conn.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "certificate required") && !strings.Contains(err.Error(), "bad certificate") {
		t.Errorf("a stranger at etcd's peer port: %v", err)
	}
}

// onASub: its socket answers what it knows, and refuses the rest with the way
// to a master.
func onASub(t *testing.T, c *nodetest.Cluster) {
	sub := c.Node(1).API()
	nodetest.Eventually(t, nodetest.Patience, "the sub knows the cluster's settings", func() error {
		here, err := sub.Topology(bounded(t))
		there, err2 := c.Master().API().Topology(bounded(t))
		if err = errors.Join(err, err2); err != nil {
			return err
		}
		if here.Value.Config != there.Value.Config || !slices.Equal(here.Value.SubNodes, there.Value.SubNodes) {
			return fmt.Errorf("%+v, but the master says %+v", here.Value, there.Value)
		}
		return nil
	})
	list, err := sub.Nodes(bounded(t))
	if err != nil || len(list.Value) < 3 || list.AsOf == nil || time.Since(*list.AsOf).Abs() > time.Minute {
		t.Errorf("%+v, %v", list, err)
	}
	st, err := sub.Status(bounded(t))
	if err != nil || st.Value.Self.Mode != "Online" || st.Value.Self.Master != c.Init.API || st.Value.Self.Role != topology.RoleSub {
		t.Errorf("%+v, %v", st.Value.Self, err)
	}
	own, err := sub.Containers(bounded(t), "", false)
	if err != nil || len(own.Value) != 1 {
		t.Errorf("%+v, %v", own, err)
	}
	var e *api.Error
	if _, err := sub.RemoveNode(bounded(t), "sub-2"); !errors.As(err, &e) || e.Kind != api.KindUnavailable || !strings.Contains(err.Error(), c.Init.API) {
		t.Errorf("a sub removes another: %v", err)
	}
	metrics, err := sub.Metrics(bounded(t))
	if err != nil || !strings.Contains(string(metrics), "piccolo_online 1") || strings.Contains(string(metrics), "etcd_") {
		t.Errorf("metrics of a sub: %v", err)
	}
}

// tree is the content of every file below dir, by its path.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		info, statErr := os.Stat(path)
		if statErr == nil {
			out[strings.TrimPrefix(path, dir+"/")] = info.Mode().String() + " " + string(b)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return out
}
