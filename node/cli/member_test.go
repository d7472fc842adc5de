package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"piccolo.io/piccolo/node"
	"piccolo.io/piccolo/topology"
)

func TestJoinAgain(t *testing.T) {
	b := newBench(t)
	b.booted, b.member, b.service.running = true, true, true
	b.serve()
	b.want(0, b.do(t.Context(), "join", "m", "--token", "t", "--label", "a=b"), "is a sub of cluster farm",
		"belongs to cluster farm already; nothing was changed, and 10.0.0.1:7443 was not asked.\nLabels of a member are changed with: piccolo node label board-1", "join")
	b.booted, b.did = false, nil
	b.want(0, b.do(t.Context(), "join", "m", "--token", "t", "--foreground"), "is a sub of cluster farm", "belongs to cluster farm already", "join")
	if b.join.Role != "" {
		t.Errorf("nobody has said the role %q", b.join.Role)
	}
}

func TestJoinAgainWithoutADaemonBringsItUp(t *testing.T) {
	b := newBench(t)
	b.booted, b.member = true, true
	b.want(0, b.do(t.Context(), "join", "m", "--token", "t"), "Ready after", "its daemon does not answer; it is started now", "join", "install", "start")

	b = newBench(t) // no systemd here
	b.member = true
	ctx, cancel := context.WithCancel(t.Context())
	a := b.app(writerFunc(func(p []byte) { b.out.Write(p); cancel() }))
	b.want(0, a.run(ctx, []string{"piccolo", "join", "m", "--token", "t"}), "Ready after", "The daemon runs in this terminal", "join", "run")
}

func TestJoinOfARemovedNodeSaysSo(t *testing.T) {
	b := newBench(t)
	b.member, b.daemon.removed = true, true
	b.serve()
	b.want(4, b.do(t.Context(), "join", "m", "--token", "t"), "", "no longer a node of its cluster: board-1 was removed\nHint: `piccolo leave` clears it", "join")
}

func TestJoinBringsUpARemovedNodeAndSaysSo(t *testing.T) {
	for _, systemd := range []bool{true, false} {
		b := newBench(t)
		b.member, b.booted, b.daemon.removed, b.daemon.status = true, systemd, true, topology.StatusInitializing
		code := b.do(t.Context(), "join", "m", "--token", "t")
		if code != 4 || !strings.Contains(b.err.String(), "board-1 was removed") || b.out.Len() > 0 {
			t.Errorf("systemd %v: exit %d: %s%s", systemd, code, b.out.String(), b.err.String())
		}
	}
}

func TestJoinFindsAnotherNodesDaemon(t *testing.T) {
	b := newBench(t)
	b.member, b.daemon.other = true, true
	b.serve()
	b.want(4, b.do(t.Context(), "join", "m", "--token", "t"), "", "another node's: board-9", "join")
}

func TestInterruptedSaysSo(t *testing.T) {
	b := newBench(t)
	b.fail = fmt.Errorf("join cluster at m: wait for approval: %w; the request stands", context.Canceled)
	b.want(5, b.do(t.Context(), "join", "m", "--token", "t"), "", "context canceled", "join") // nobody has pressed Ctrl-C
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b.did = nil
	b.want(130, b.do(ctx, "join", "m", "--token", "t"), "", "Error: join cluster at m: wait for approval: interrupted; the request stands\n", "join")
}

func TestStatusOfAnotherMachine(t *testing.T) {
	for remote, want := range map[bool]string{false: "This node      board-1", true: "Answered by    board-1"} {
		b := newBench(t)
		a := b.app(&b.out)
		a.remote = remote
		a.statusPage(&b.out, b.daemon.statusAnswer())
		if !strings.Contains(b.out.String(), want) {
			t.Errorf("remote %v: %s", remote, b.out.String())
		}
	}
	b := newBench(t)
	if _, err := b.app(&b.out).dialServer("https://10.0.0.1", "nonsense"); classify(err).Kind.Codes().Exit != 2 {
		t.Errorf("%v", err)
	}
}

func TestDumbTerminalHasNoColour(t *testing.T) {
	for env, colour := range map[string]bool{"TERM=xterm": true, "TERM=dumb": false, "TERM=": true, "NO_COLOR=1": false} {
		b := newBench(t)
		name, value, _ := strings.Cut(env, "=")
		b.env[name] = value
		a := b.app(&b.out)
		a.terminal = func(any) bool { return true }
		if got := a.paint(red, "x"); (got != "x") != colour {
			t.Errorf("%s: %q", env, got)
		}
	}
}

func TestWithoutAClusterLeaveAndRunEndAlike(t *testing.T) {
	b := newBench(t)
	b.want(3, b.do(t.Context(), "leave"), "", "this machine belongs to no cluster")
	b.fail = node.Member(node.Options{DataDir: b.dir})
	b.want(3, b.do(t.Context(), "run"), "", "this machine belongs to no cluster", "run")
	// A member whose daemon does not answer is another matter.
	b = newBench(t)
	if err := os.MkdirAll(b.env["PICCOLO_DATA_DIR"], 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(b.env["PICCOLO_DATA_DIR"], "node.json"), []byte(`{"version":1,"id":"n-1","role":"sub"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	b.want(5, b.do(t.Context(), "leave", "--yes"), "", "no piccolo daemon answers")
}

func TestLeaveAndReset(t *testing.T) {
	b := newBench(t)
	b.booted = true
	b.serve()
	b.want(0, b.do(t.Context(), "leave", "--yes"), "has left its cluster", "", "disable")
	if got := <-b.daemon.last; got != "leave" {
		t.Error(got)
	}
	b.did = nil
	b.want(0, b.do(t.Context(), "reset", "-y"), "Deleted the node in "+b.env["PICCOLO_DATA_DIR"], "", "reset", "disable")
	b.did, b.fail = nil, node.ErrLocked
	b.want(4, b.do(t.Context(), "reset", "-y"), "", "another piccolo runs", "reset")
	b.did, b.fail = nil, nil
	b.want(0, b.do(t.Context(), "reset", "-y", "--data-dir", "/elsewhere"), "", "", "reset") // another node's service stays

	// Where there is nothing, nobody is asked to confirm it.
	b.did, b.empty = nil, true
	b.want(0, b.do(t.Context(), "reset"), "There is no node in "+b.env["PICCOLO_DATA_DIR"]+": nothing was deleted.", "")
}

func TestLeaveOfARemovedNode(t *testing.T) {
	b := newBench(t)
	b.daemon.removed = true
	b.serve()
	b.want(0, b.do(t.Context(), "leave", "--yes"), "has removed this node already", "")
}
