package node_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"piccolo.io/piccolo/node"
	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/node/nodetest"
	"piccolo.io/piccolo/node/pki"
	"piccolo.io/piccolo/podman/podmantest"
	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/topology"
)

// talker is a TCP server that speaks something else, or nothing for "".
func talker(t testing.TB, says string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	ended := make(chan struct{})
	t.Cleanup(func() {
		_ = l.Close()
		<-ended
	})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if says == "" {
				defer c.Close() // it stays open until the test ends
				continue
			}
			_, _ = io.WriteString(c, says)
			_ = c.Close()
		}
	}()
	return l.Addr().String()
}

// TestJoinRefuses: every kind of wrong token, master and name has a message of
// its own and leaves a machine that belongs to nothing.
func TestJoinRefuses(t *testing.T) {
	t.Parallel()
	c, other := nodetest.New(t, 2), nodetest.New(t, 1)
	https := httptest.NewUnstartedServer(http.NotFoundHandler())
	https.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	https.StartTLS()
	t.Cleanup(https.Close)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	ok(t, closed.Close())
	admin, err := os.ReadFile(c.Init.AdminToken)
	ok(t, err)
	forged, _, err := auth.NewJoinToken(auth.JoinOptions{Fingerprint: c.Init.Fingerprint, Now: time.Now()})
	ok(t, err)
	deadline, cancel := context.WithCancel(t.Context())
	cancel()
	token := func(s string) func(*node.JoinOptions) { return func(o *node.JoinOptions) { o.Token = s } }
	master := func(s string) func(*node.JoinOptions) { return func(o *node.JoinOptions) { o.Master = s } }
	name := func(s string) func(*node.JoinOptions) { return func(o *node.JoinOptions) { o.Name = s } }
	for what, try := range map[string]struct {
		change func(*node.JoinOptions)
		want   error
		hint   string
	}{
		"no token":        {token(""), topology.ErrInvalid, "piccolo token create"},
		"garbage":         {token("open sesame"), topology.ErrInvalid, "begins with"},
		"truncated token": {token(c.Init.JoinToken[:60]), topology.ErrInvalid, "a part is missing"},
		"mistyped token":  {token(swap(c.Init.JoinToken)), topology.ErrInvalid, "copy it again"},
		"API token":       {token(string(admin)), topology.ErrInvalid, "another kind"},
		"foreign token":   {token(other.Init.JoinToken), pki.ErrWrongFingerprint, "another cluster"},
		"unknown token":   {token(forged.Reveal()), nil, "not known here"},
		"no master":       {master(""), topology.ErrInvalid, "HOST"},
		"URL":             {master("https://" + c.Init.API), topology.ErrInvalid, "HOST:PORT"},
		"bad port":        {master("127.0.0.1:99999"), topology.ErrInvalid, "HOST:PORT"},
		"nobody":          {master(closed.Addr().String()), nil, "refused"},
		"speaks SSH":      {master(talker(t, "SSH-2.0-OpenSSH_9.2\r\n")), pki.ErrNotPiccolo, ""},
		"another https":   {master(https.Listener.Addr().String()), pki.ErrNotPiccolo, ""},
		"spaces":          {name("my board"), topology.ErrInvalid, "a-z"},
		"unicode":         {name("küche"), topology.ErrInvalid, "a-z"},
		"300 characters":  {name(strings.Repeat("x", 300)), topology.ErrInvalid, "300 bytes"},
		"name taken":      {name("sub-1"), nil, "--name"},
		"bad label":       {func(o *node.JoinOptions) { o.Labels = map[string]string{"a b": "c"} }, topology.ErrInvalid, "a b"},
		"bad role":        {func(o *node.JoinOptions) { o.Role = "boss" }, topology.ErrInvalid, "sub or master"},
		"as master": {func(o *node.JoinOptions) {
			o.Role, o.APIPort, o.EtcdPeerPort = topology.RoleMaster, nodetest.FreePort(t), nodetest.FreePort(t)
		}, nil, "as sub"},
		"relative path":   {func(o *node.JoinOptions) { o.DataDir = "data" }, nil, "absolute"},
		"bad port number": {func(o *node.JoinOptions) { o.GossipPort = 70000 }, nil, "gossip-port"},
		"no Podman":       {func(o *node.JoinOptions) { o.PodmanSocket = "/nowhere/podman.sock" }, node.ErrNotReady, "podman"},
	} {
		t.Run(what, func(t *testing.T) {
			n := c.Prepare("newcomer")
			o := c.JoinOptions(n)
			try.change(&o)
			_, err := node.Join(bounded(t), o)
			if err == nil || try.want != nil && !errors.Is(err, try.want) || !strings.Contains(err.Error(), try.hint) {
				t.Errorf("%v; want %v with %q", err, try.want, try.hint)
			}
			if err != nil && (len(err.Error()) > 700 || strings.Contains(err.Error(), c.Init.JoinToken[50:])) {
				t.Errorf("the message is too long or tells the token: %s", err)
			}
			if _, err := os.Stat(n.Options.DataDir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("it left behind %v", tree(t, n.Options.DataDir))
			}
		})
	}
	t.Run("silent master", func(t *testing.T) {
		n := c.Prepare("newcomer")
		o := c.JoinOptions(n)
		o.Master = talker(t, "")
		if _, err := node.Join(bounded(t), o); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), o.Master) {
			t.Errorf("%v", err)
		}
		if _, err := node.Join(deadline, o); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
	})
}

// swap changes one character of a token's secret.
func swap(s string) string {
	i := len(s) - 10
	with := "a"
	if s[i] == 'a' {
		with = "b"
	}
	return s[:i] + with + s[i+1:]
}

// machine is a prepared machine without a cluster around it.
func machine(t testing.TB) node.InitOptions {
	t.Helper()
	run, err := os.MkdirTemp("", "pn")
	ok(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(run) })
	return node.InitOptions{Options: node.Options{
		DataDir: filepath.Join(t.TempDir(), "data"), RunDir: run, PodmanSocket: podmantest.NewFake(t, "").Socket(), PodmanRoot: t.TempDir(),
		APIPort: nodetest.FreePort(t), GossipPort: nodetest.FreePort(t), EtcdPeerPort: nodetest.FreePort(t), Version: "test",
	}, Name: "main", Advertise: netip.MustParseAddrPort("127.0.0.1:0")}
}

func TestInitRefuses(t *testing.T) {
	t.Parallel()
	for what, try := range map[string]struct {
		change func(*node.InitOptions)
		hint   string
	}{
		"name":           {func(o *node.InitOptions) { o.Name = "my board" }, "a-z"},
		"cluster":        {func(o *node.InitOptions) { o.Cluster = "Zuhause" }, "cluster"},
		"label":          {func(o *node.InitOptions) { o.Labels = map[string]string{"a": "b c"} }, "b c"},
		"relative path":  {func(o *node.InitOptions) { o.DataDir = "data" }, "absolute"},
		"port":           {func(o *node.InitOptions) { o.EtcdPeerPort = -1 }, "etcd-peer-port"},
		"no Podman":      {func(o *node.InitOptions) { o.PodmanSocket = "/nowhere/podman.sock" }, "podman"},
		"no permissions": {func(o *node.InitOptions) { o.DataDir = "/proc/piccolo" }, "/proc/piccolo"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			o := machine(t)
			try.change(&o)
			if _, err := node.Init(bounded(t), o); err == nil || !strings.Contains(err.Error(), try.hint) {
				t.Errorf("%v; want %q", err, try.hint)
			}
			left := tree(t, o.DataDir)
			delete(left, "lock")
			if len(left) > 0 {
				t.Errorf("it left behind %v", left)
			}
		})
	}
}

// TestDirectories: what lies in a data directory that is somebody else's, or
// another cluster's, is never touched.
func TestDirectories(t *testing.T) {
	t.Parallel()
	o := machine(t)
	// Somebody's home.
	home := filepath.Join(t.TempDir(), "home")
	ok(t, os.MkdirAll(filepath.Join(home, "photos"), 0o755))
	ok(t, os.WriteFile(filepath.Join(home, "photos", "cat.jpg"), []byte("cat"), 0o644))
	before := tree(t, home)
	foreign := o
	foreign.DataDir = home
	_, err := node.Init(bounded(t), foreign)
	if err == nil || !strings.Contains(err.Error(), `"photos"`) || !strings.Contains(err.Error(), "--data-dir") {
		t.Errorf("init in somebody's home: %v", err)
	}
	token, _, err := auth.NewJoinToken(auth.JoinOptions{Fingerprint: strings.Repeat("a", 32), Now: time.Now()})
	ok(t, err)
	_, err = node.Join(bounded(t), node.JoinOptions{Options: foreign.Options, Master: "127.0.0.1:1", Token: token.Reveal(), Name: "a"})
	if err == nil || !strings.Contains(err.Error(), `"photos"`) {
		t.Errorf("join in somebody's home: %v", err)
	}
	ok(t, node.Reset(bounded(t), foreign.Options))
	info, err := os.Stat(home)
	ok(t, err)
	if !reflect.DeepEqual(before, tree(t, home)) || info.Mode().Perm() != 0o755 {
		t.Errorf("it was touched: %v, mode %s", tree(t, home), info.Mode())
	}
	// A file.
	file := o
	file.DataDir = filepath.Join(home, "photos", "cat.jpg")
	for what, err := range map[string]error{
		"init": second(node.Init(bounded(t), file)), "run": node.Run(bounded(t), file.Options), "reset": node.Reset(bounded(t), file.Options),
	} {
		if err == nil || !strings.Contains(err.Error(), "cat.jpg") {
			t.Errorf("%s in a file: %v", what, err)
		}
	}

	// Nothing, then a cluster, then nothing again.
	if err := node.Run(bounded(t), o.Options); !errors.Is(err, node.ErrNotMember) {
		t.Errorf("run of nothing: %v", err)
	}
	ok(t, node.Reset(bounded(t), o.Options))
	res, err := node.Init(bounded(t), o)
	ok(t, err)
	if res.Name != "main" || res.Cluster != node.DefaultCluster || !strings.HasPrefix(res.JoinCommand, "piccolo join 127.0.0.1:") {
		t.Errorf("%+v", res)
	}
	private(t, o.DataDir)
	before = tree(t, o.DataDir)
	if _, err := node.Init(bounded(t), o); !errors.Is(err, node.ErrMember) || !strings.Contains(err.Error(), "piccolo reset") {
		t.Errorf("init twice: %v", err)
	}
	_, err = node.Join(bounded(t), node.JoinOptions{Options: o.Options, Master: "127.0.0.1:1", Token: token.Reveal(), Name: "a"})
	if !errors.Is(err, node.ErrMember) {
		t.Errorf("join of another cluster: %v", err)
	}
	if !reflect.DeepEqual(before, tree(t, o.DataDir)) {
		t.Error("the cluster was touched")
	}
	ok(t, os.WriteFile(filepath.Join(o.DataDir, "note.txt"), []byte("mine"), 0o600))
	ok(t, node.Reset(bounded(t), o.Options))
	left := tree(t, o.DataDir)
	delete(left, "lock")
	if len(left) != 1 || left["note.txt"] == "" {
		t.Errorf("after the reset: %v", left)
	}
}

func second[T any](_ T, err error) error { return err }

// TestDamage: each file of the data directory that is missing, damaged or open
// to others keeps the daemon from starting, is named, and stays as it is.
func TestDamage(t *testing.T) {
	t.Parallel()
	garbage := func(name string) func(string) error {
		return func(dir string) error { return os.WriteFile(filepath.Join(dir, name), []byte("half a fi"), 0o600) }
	}
	gone := func(name string) func(string) error {
		return func(dir string) error { return os.Remove(filepath.Join(dir, name)) }
	}
	open := func(name string) func(string) error {
		return func(dir string) error { return os.Chmod(filepath.Join(dir, name), 0o644) }
	}
	for what, try := range map[string]struct {
		damage func(dir string) error
		hint   string
	}{
		"node.json damaged": {garbage("node.json"), "node.json"}, "node.json gone": {gone("node.json"), "piccolo join"},
		"node.json of the future": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "node.json"), []byte(`{"version":99,"id":"n-1","role":"master"}`), 0o600)
		}, "not of this version"},
		"node.json is a directory": {func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "node.json")), os.Mkdir(filepath.Join(dir, "node.json"), 0o700))
		}, "node.json"},
		"key damaged": {garbage("node.key"), "node.key"}, "key gone": {gone("node.key"), "node.key"}, "key open": {open("node.key"), "chmod 600"},
		"CA damaged": {garbage("ca.crt"), "ca.crt"}, "CA key damaged": {garbage("ca.key"), "ca.key"}, "CA key gone": {gone("ca.key"), "ca.key"},
		"gossip keys damaged": {garbage("gossip.keys"), "gossip.keys"}, "gossip keys gone": {gone("gossip.keys"), "gossip.keys"},
		"store key damaged": {garbage("store.key"), "store.key"}, "store key gone": {gone("store.key"), "store.key"}, "store key open": {open("store.key"), "chmod 600"},
		"seed damaged": {garbage("seed.json"), "seed.json"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			o := machine(t)
			_, err := node.Init(bounded(t), o)
			ok(t, err)
			ok(t, try.damage(o.DataDir))
			before := tree(t, o.DataDir)
			err = node.Run(bounded(t), o.Options)
			if err == nil || !strings.Contains(err.Error(), try.hint) {
				t.Errorf("%v; want %q", err, try.hint)
			}
			// What to try stands in the error itself or beside it.
			var h interface{ Hint() string }
			if text := fmt.Sprint(err); !errors.As(err, &h) && !strings.Contains(text, "piccolo ") && !strings.Contains(text, "chmod") && !strings.Contains(text, "is a directory") {
				t.Errorf("%v; it does not say what to try", err)
			} else if h != nil && !strings.Contains(h.Hint(), "piccolo reset") {
				t.Errorf("%v; try: %q", err, h.Hint())
			}
			if after := tree(t, o.DataDir); !reflect.DeepEqual(before, after) {
				t.Errorf("it was changed:\n%v\n%v", before, after)
			}
		})
	}
}

// TestStoreWithoutNode: the store is there and node.json is not. That is no
// half-written init: nothing may be cleared away.
func TestStoreWithoutNode(t *testing.T) {
	t.Parallel()
	c := nodetest.New(t, 1)
	m := c.Master()
	ok(t, m.Stop())
	path := filepath.Join(m.Options.DataDir, "node.json")
	b, err := os.ReadFile(path)
	ok(t, err)
	ok(t, os.Remove(path))
	before := tree(t, m.Options.DataDir)
	if _, err := node.Init(bounded(t), node.InitOptions{Options: m.Options, Name: "main"}); err == nil || !strings.Contains(err.Error(), "node.json is missing") {
		t.Errorf("init: %v", err)
	}
	if !reflect.DeepEqual(before, tree(t, m.Options.DataDir)) {
		t.Error("the store was touched")
	}
	ok(t, os.WriteFile(path, b, 0o600))
	m.Start()
	c.WaitStatus(m, topology.StatusReady)

	// A damaged store says so and stays as it is.
	ok(t, m.Stop())
	db := filepath.Join(m.Options.DataDir, "etcd", "member", "snap", "db")
	ok(t, os.WriteFile(db, []byte("half a database"), 0o600))
	err = node.Run(bounded(t), m.Options)
	var h interface{ Hint() string }
	if !errors.Is(err, store.ErrDamaged) || !errors.As(err, &h) || !strings.Contains(h.Hint(), "from a copy") {
		t.Errorf("run: %v", err)
	}
	if b, err := os.ReadFile(db); err != nil || string(b) != "half a database" {
		t.Errorf("the database was touched: %q, %v", b, err)
	}
}

// TestPortTaken: the daemon says which, and starts when it is free.
func TestPortTaken(t *testing.T) {
	t.Parallel()
	c := nodetest.New(t, 1)
	m := c.Master()
	ok(t, m.Stop())
	for what, port := range map[string]int{"API": m.Options.APIPort, "etcd": m.Options.EtcdPeerPort} {
		l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		ok(t, err)
		if err := node.Run(bounded(t), m.Options); err == nil || !strings.Contains(err.Error(), fmt.Sprint(port)) || !strings.Contains(err.Error(), "in use") {
			t.Errorf("%s: %v", what, err)
		}
		ok(t, l.Close())
	}
	m.Start()
	c.WaitStatus(m, topology.StatusReady)
}
