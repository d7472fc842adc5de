package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"piccolo.io/piccolo/node"
	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/node/unit"
	"piccolo.io/piccolo/readiness"
	"piccolo.io/piccolo/topology"
)

// bench is one machine for the command line to work on, with a fake daemon.
type bench struct {
	t        *testing.T
	dir      string
	in       string
	out, err bytes.Buffer
	env      map[string]string
	daemon   *fakeServer
	service  *fakeService
	booted   bool
	member   bool
	empty    bool // nothing of a node is there
	// did lists what was done to the machine, in order.
	did  []string
	init node.InitOptions
	join node.JoinOptions
	fail error
}

func newBench(t *testing.T) *bench {
	dir, err := os.MkdirTemp("", "pcl") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	b := &bench{t: t, dir: dir, daemon: newFakeServer(), env: map[string]string{
		"PICCOLO_CONFIG": filepath.Join(dir, "piccolo.yaml"), "PICCOLO_RUN_DIR": filepath.Join(dir, "run"), "PICCOLO_DATA_DIR": filepath.Join(dir, "data"), "HOME": dir,
	}}
	if err := os.WriteFile(b.env["PICCOLO_CONFIG"], []byte("data_dir: "+b.env["PICCOLO_DATA_DIR"]+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.service = &fakeService{bench: b}
	return b
}

// serve starts the daemon's socket.
func (b *bench) serve() { b.daemon.listen(b.t, filepath.Join(b.dir, "run", "piccolo.sock")) }

func (b *bench) machine() machine {
	return machine{
		init: func(_ context.Context, o node.InitOptions) (node.InitResult, error) {
			b.did, b.init = append(b.did, "init"), o
			return node.InitResult{NodeID: "n-000000000001", Name: "board-1", Cluster: "farm", API: "10.0.0.1:7443", JoinCommand: "piccolo join 10.0.0.1:7443 --token pic1.a.b.c", AdminToken: "/d/admin.token"}, b.fail
		},
		join: func(_ context.Context, o node.JoinOptions) (node.JoinResult, error) {
			b.did, b.join = append(b.did, "join"), o
			if o.Role == "" {
				o.Role = topology.RoleSub
			}
			return node.JoinResult{NodeID: "n-000000000001", Name: "board-1", Cluster: "farm", Role: o.Role, Master: "10.0.0.1:7443", Already: b.member, Warnings: []string{"slow card"}}, b.fail
		},
		run: func(ctx context.Context, o node.Options) error {
			b.did = append(b.did, "run")
			if b.fail != nil {
				return b.fail
			}
			b.serve()
			o.Ready()
			<-ctx.Done()
			return nil
		},
		traces: func(node.Options) (bool, error) { return !b.empty, nil },
		reset:  func(context.Context, node.Options) error { b.did = append(b.did, "reset"); return b.fail },
		check: func(_ context.Context, _ node.Options, c node.CheckOptions) (readiness.Report, []readiness.FixResult, error) {
			b.did = append(b.did, fmt.Sprintf("check %s %v", c.Master, c.Fix))
			r := readiness.Report{Gate: readiness.GateJoin, Results: []readiness.Result{
				{Check: "gossip", Severity: readiness.SeveritySkipped, Found: "not asked"},
				{Check: "memory_cgroup", Severity: readiness.SeverityError, Found: "switched off", Mend: "add cgroup_enable=memory", Fix: readiness.FixMemoryCgroup, RebootNeeded: true},
				{Check: "clock", Severity: readiness.SeverityOK, Found: "right"},
			}}
			if b.member {
				r.Gate = readiness.GateRunning
			}
			if c.Fix && c.Master == "manual" {
				return r, []readiness.FixResult{{Check: "disk_space", Outcome: readiness.OutcomeManual, Detail: "make room"}}, b.fail
			}
			if c.Fix {
				r.Results[1].Severity = readiness.SeverityWarning
				return r, []readiness.FixResult{{Check: "memory_cgroup", Outcome: readiness.OutcomeApplied, Detail: "edited cmdline.txt", RebootNeeded: true},
					{Check: "disk_space", Outcome: readiness.OutcomeManual, Detail: "make room"}}, b.fail
			}
			return r, nil, b.fail
		},
	}
}

type fakeService struct {
	*bench
	running bool
	opts    unit.Options
	failing error
}

func (s *fakeService) Running(context.Context) (bool, error) { return s.running, nil }
func (s *fakeService) Install(context.Context) error         { s.did = append(s.did, "install"); return nil }
func (s *fakeService) Disable(context.Context) error         { s.did = append(s.did, "disable"); return nil }
func (s *fakeService) Start(context.Context) error {
	s.did = append(s.did, "start")
	if s.failing == nil {
		s.serve()
	}
	return s.failing
}

// do runs one command line.
func (b *bench) do(ctx context.Context, args ...string) int {
	b.out.Reset()
	b.err.Reset()
	return b.app(&b.out).run(ctx, append([]string{"piccolo"}, args...))
}

// app is one command line on this machine that answers to out.
func (b *bench) app(out io.Writer) *app {
	a := newApp(Streams{In: strings.NewReader(b.in), Out: out, Err: &b.err}, Environment{Lookup: from(b.env), Build: Build{Version: "v1", Time: "2026-11-01T00:00:00Z"}})
	a.machine = b.machine()
	a.booted = func() bool { return b.booted }
	a.root = func() bool { return true }
	a.newUnit = func(o unit.Options) (service, error) { b.service.opts = o; return b.service, nil }
	return a
}

func (b *bench) want(code int, got int, out, errs string, did ...string) {
	b.t.Helper()
	if got != code || !strings.Contains(b.out.String(), out) || !strings.Contains(b.err.String(), errs) {
		b.t.Errorf("exit %d, want %d\nstdout %q, want %q\nstderr %q, want %q", got, code, b.out.String(), out, b.err.String(), errs)
	}
	if !slices.Equal(did, b.did) {
		b.t.Errorf("done: %q, want %q", b.did, did)
	}
}

func TestInitUnderSystemd(t *testing.T) {
	b := newBench(t)
	b.booted = true
	code := b.do(t.Context(), "init", "--advertise", "10.0.0.1:7500", "--name", "board-1", "--label", "a=b", "--log-level", "debug")
	b.want(0, code, "\npiccolo join 10.0.0.1:7443 --token pic1.a.b.c\n", "", "init", "install", "start")
	if !strings.Contains(b.out.String(), "Ready after ") || b.err.Len() > 0 {
		t.Errorf("%s%s", b.out.String(), b.err.String())
	}
	if b.init.APIPort != 7500 || b.init.Advertise.Addr().String() != "10.0.0.1" || b.init.Name != "board-1" || b.init.Labels["a"] != "b" || b.init.Version != "v1" || b.init.BuildTime.IsZero() {
		t.Errorf("%+v", b.init)
	}
	// The daemon finds in the file what init was told on the command line.
	file, err := os.ReadFile(b.env["PICCOLO_CONFIG"])
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"api_port: 7500\n", "log_level: debug\n", "run_dir: " + b.env["PICCOLO_RUN_DIR"] + "\n"} {
		if !strings.Contains(string(file), line) {
			t.Errorf("%q is missing in the file:\n%s", line, file)
		}
	}
	if b.service.opts.DataDir != b.env["PICCOLO_DATA_DIR"] || b.service.opts.Config != b.env["PICCOLO_CONFIG"] {
		t.Errorf("%+v", b.service.opts)
	}
}

func TestInitWhenTheServiceFailsStillTellsTheToken(t *testing.T) {
	b := newBench(t)
	b.booted, b.service.failing = true, errors.New("start piccolo.service: systemd says: failed")
	code := b.do(t.Context(), "init")
	b.want(1, code, "piccolo join ", "systemd says: failed", "init", "install", "start")
	if strings.Contains(b.out.String(), "Ready") {
		t.Error(b.out.String())
	}
}

func TestInitForeground(t *testing.T) {
	for _, args := range [][]string{{"init", "--foreground", "-o", "json"}, {"init", "-o", "json"}} {
		b := newBench(t)
		b.booted = args[1] == "--foreground" // the other time there is no systemd
		ctx, cancel := context.WithCancel(t.Context())
		a := newApp(Streams{In: strings.NewReader(""), Out: writerFunc(func(p []byte) { b.out.Write(p); cancel() }), Err: &b.err}, Environment{Lookup: from(b.env)})
		a.machine, a.booted, a.root = b.machine(), func() bool { return b.booted }, func() bool { return true }
		code := a.run(ctx, append([]string{"piccolo"}, args...))
		b.want(0, code, `"join_command": "piccolo join `, "", "init", "run")
		var answer initAnswer
		if err := json.Unmarshal(b.out.Bytes(), &answer); err != nil || answer.ReadySeconds <= 0 || answer.NodeID != "n-000000000001" {
			t.Errorf("%v: %s", err, b.out.String())
		}
		if said := strings.Contains(b.err.String(), "runs in this terminal, because systemd"); said == b.booted {
			t.Errorf("%v: %s", args, b.err.String())
		}
	}
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) { f(p); return len(p), nil }

func TestSecondNodeUnderSystemdIsRefused(t *testing.T) {
	b := newBench(t)
	b.booted, b.service.running = true, true
	code := b.do(t.Context(), "init", "--data-dir", "/elsewhere")
	b.want(4, code, "", "piccolo.service runs a node already, with its data in "+b.env["PICCOLO_DATA_DIR"])
}

func TestNodeErrorsHaveExitCodes(t *testing.T) {
	for _, tc := range []struct {
		err  error
		code int
		want string
	}{
		{fmt.Errorf("make cluster: %w", node.ErrMember), 4, "Hint: `piccolo status` shows it"},
		{fmt.Errorf("run: %w", node.ErrLocked), 4, "another piccolo runs"},
		{fmt.Errorf("run: %w", node.ErrNotMember), 3, "belongs to no cluster"},
		{fmt.Errorf("x: %w", node.ErrNotReady), 5, "Hint: `piccolo check` shows"},
		{fmt.Errorf("x: %w", auth.ErrTokenExpired), 6, "the token has expired"},
		{fmt.Errorf("x: %w: %w", auth.ErrBadToken, auth.ErrTokenMistyped), 2, "Error: x: its check sum is wrong\nHint: copy the token again"},
		{fmt.Errorf("x: %w: %w", auth.ErrBadToken, auth.ErrTokenKind), 2, "Hint: `piccolo token create` on a master makes a join token"},
		{fmt.Errorf("x: %w", fs.ErrPermission), 6, "Hint: run this as root"},
		{fmt.Errorf("x: %w", context.DeadlineExceeded), 5, ""},
		{fmt.Errorf("x: %w", topology.ErrInvalid), 2, ""},
		{errors.New("a\x1b[2J fault"), 1, "Error: a[2J fault\n"},
	} {
		b := newBench(t)
		b.fail = tc.err
		b.want(tc.code, b.do(t.Context(), "run"), "", tc.want, "run")
	}
}

func TestInitBesideARunningDaemonNamesItsCluster(t *testing.T) {
	b := newBench(t)
	b.fail = fmt.Errorf("make cluster: %w", node.ErrLocked)
	b.want(4, b.do(t.Context(), "init", "--foreground"), "", "another piccolo runs", "init")
	b.serve()
	b.did = nil
	b.want(4, b.do(t.Context(), "init", "--foreground"), "", "belongs to a cluster already: it runs as node board-1 of cluster farm", "init")
}

func TestJoin(t *testing.T) {
	b := newBench(t)
	b.booted = true
	code := b.do(t.Context(), "join", "10.0.0.1", "--token", "pic1.x", "--role=sub", "--label", "a=1", "--label", "b=2,3=x")
	b.want(2, code, "", `label b: value "2,3=x" is not valid`)
	code = b.do(t.Context(), "join", "10.0.0.1", "--token", "pic1.x", "--label", "a=1", "--label", "b=2")
	b.want(0, code, "Ready after ", "Warning: slow card", "join", "install", "start")
	if b.join.Master != "10.0.0.1" || b.join.Token != "pic1.x" || b.join.Role != "" || len(b.join.Labels) != 2 {
		t.Errorf("%+v", b.join)
	}
	if strings.Contains(b.out.String()+b.err.String(), "pic1.x") {
		t.Error("the token is told")
	}
}

func TestFailedJoinSaysNothingOfADaemon(t *testing.T) {
	b := newBench(t) // no systemd here
	b.fail = node.ErrNotReady
	b.want(5, b.do(t.Context(), "join", "m", "--token", "t"), "", "not ready to join", "join")
	if strings.Contains(b.err.String(), "in this terminal") {
		t.Error(b.err.String())
	}
}

func TestFreshDaemonTellsNoPaceOfWriting(t *testing.T) {
	b := newBench(t)
	b.daemon.fresh = true
	b.serve()
	b.want(0, b.do(t.Context(), "status"), "flash        - (a pace is known 10m after the start)", "")
}

func TestWhereTheTokenComesFrom(t *testing.T) {
	b := newBench(t)
	b.booted, b.member, b.service.running = true, true, true
	b.serve()
	file := filepath.Join(b.dir, "token")
	if err := os.WriteFile(file, []byte("  from.file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.in = "from.stdin\n"
	for _, tc := range []struct {
		env, want string
		args      []string
	}{
		{"", "a", []string{"--token", "a"}},
		{"env", "a", []string{"--token", "a"}},
		{"env", "env", nil},
		{"env", "from.file", []string{"--token-file", file}},
		{"env", "from.stdin", []string{"--token-file", "-"}},
	} {
		b.env["PICCOLO_TOKEN"] = tc.env
		if code := b.do(t.Context(), append([]string{"join", "m"}, tc.args...)...); code != 0 || b.join.Token != tc.want {
			t.Errorf("%+v: exit %d, token %q: %s", tc, code, b.join.Token, b.err.String())
		}
	}
}

func TestCheck(t *testing.T) {
	b := newBench(t)
	b.want(5, b.do(t.Context(), "check", "--master", "10.0.0.1"), "memory_cgroup: add cgroup_enable=memory (then reboot)", "", "check 10.0.0.1 false")
	if !strings.Contains(b.out.String(), "cannot join yet") || !strings.Contains(b.out.String(), "--fix` does what is safe") {
		t.Error(b.out.String())
	}
	b.did = nil
	b.want(0, b.do(t.Context(), "check", "--fix"), "Fix memory_cgroup: applied: edited cmdline.txt (works after a reboot)", "", "check  true")
	if strings.Contains(b.out.String(), "make room") {
		t.Errorf("what is no fix is listed as one: %s", b.out.String())
	}
	b.did = nil
	b.want(5, b.do(t.Context(), "check", "-o", "json"), `"ready": false`, "", "check  false")
	b.did = nil
	b.want(5, b.do(t.Context(), "check", "--fix", "--master", "manual"), "Nothing of it can be mended without you.", "", "check manual true")
	if !strings.Contains(b.out.String(), "gossip          skipped") {
		t.Error(b.out.String())
	}
	b.did, b.member = nil, true
	b.want(5, b.do(t.Context(), "check"), "This node is NotReady until the errors are mended.", "", "check  false")
	b.did = nil
	b.want(0, b.do(t.Context(), "check", "--fix"), "This board is fit to go on; look at the warnings.", "", "check  true")
}

func TestNotReadyInTimeSaysWhy(t *testing.T) {
	b := newBench(t)
	b.daemon.status = topology.StatusInitializing
	b.serve()
	a := newApp(Streams{Out: &b.out, Err: &b.err}, Environment{Lookup: from(b.env)})
	s, err := resolve(from(nil), from(b.env))
	if err != nil {
		t.Fatal(err)
	}
	a.settings = s
	err = a.waitReadyFor(t.Context(), "n-000000000001", 300_000_000)
	if err == nil || classify(err).Kind.Codes().Exit != 5 || !strings.Contains(err.Error(), "it is Initializing") {
		t.Errorf("%v", err)
	}

	// A sub that only remembers that it was Ready.
	b = newBench(t)
	b.daemon.stale = true
	b.serve()
	if s, err = resolve(from(nil), from(b.env)); err != nil {
		t.Fatal(err)
	}
	a.settings = s
	err = a.waitReadyFor(t.Context(), "n-000000000001", 300_000_000)
	if err == nil || classify(err).Kind.Codes().Exit != 5 || !strings.Contains(err.Error(), "it is Offline: no master answers") {
		t.Errorf("%v", err)
	}
}
