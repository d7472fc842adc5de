package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"piccolo.io/piccolo/node/runtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a script that does what the text says.
func fake(t *testing.T, text string) Script {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lab")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
	return Script{Path: path, Name: "test-1-2"}
}

func TestFind(t *testing.T) {
	s, err := Find()
	if err != nil || !strings.HasSuffix(s.Path, "/scripts/lab/lab") {
		t.Errorf("%+v, %v", s, err)
	}
	t.Chdir(t.TempDir())
	if _, err := Find(); err == nil || !strings.Contains(err.Error(), "run this inside the project") {
		t.Errorf("outside the project: %v", err)
	}
}

func TestRun(t *testing.T) {
	s := fake(t, `cat; echo "$PICCOLO_LAB $PICCOLO_BIN $*"`)
	t.Setenv("PICCOLO_BIN", "/from/outside")
	for binary, want := range map[string]string{"": "/from/outside", "/own": "/own"} {
		s.Binary = binary
		got, err := s.Run(t.Context(), strings.NewReader("in "), "up", "3")
		if want := "in /var/lib/piccolo-lab/test-1-2 " + want + " up 3\n"; err != nil || got != want {
			t.Errorf("%q, %v, want %q", got, err, want)
		}
	}
	s.Path += "-none"
	if _, err := s.Run(t.Context(), nil, "up"); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "run lab up: ") {
		t.Errorf("no script: %v", err)
	}
}

func TestErrors(t *testing.T) {
	s := fake(t, `echo answer; head -c 3000 /dev/zero | tr '\0' x >&2; echo why >&2; exit 7`)
	out, err := s.Run(t.Context(), nil, "exec", "board1", "--token", "pic1.secret")
	var failed *Error
	if !errors.As(err, &failed) || failed.Code != 7 || out != "answer\n" || len(failed.Stderr) != 3004 {
		t.Fatalf("%q, %v", out, err)
	}
	text := err.Error()
	if !strings.HasPrefix(text, "lab exec board1 --token …: exit code 7: x") {
		t.Errorf("the error: %s", text)
	}
	if !strings.HasSuffix(text, "xwhy") || len(text) > 2200 {
		t.Errorf("%d bytes, and the end is not kept: %s", len(text), text)
	}
}

// What the script has started ends with the caller's patience, and the error says that it was that.
func TestCallerGivesUp(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	s := fake(t, `mkfifo "$1"; sleep 1000 & echo $! >"$1"; wait`)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := s.Run(ctx, nil, pipe)
		ended <- err
	}()
	runtest.Eventually(t, "the script runs", func() string {
		if _, err := os.Stat(pipe); err != nil {
			return err.Error()
		}
		return ""
	})
	child, err := os.ReadFile(pipe)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want that it was cancelled", err)
	}
	runtest.Eventually(t, "the end of the script's child", func() string {
		state, err := os.ReadFile("/proc/" + strings.TrimSpace(string(child)) + "/stat")
		if err != nil || strings.Contains(string(state), ") Z ") {
			return ""
		}
		return "it lives on: " + string(state)
	})
}

func TestOrphaned(t *testing.T) {
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	pid := gone.Process.Pid
	for name, want := range map[string]bool{
		fmt.Sprintf("test-%d-1", pid):   true,
		fmt.Sprintf("test-%d", pid):     false, // a name that a person gives
		fmt.Sprintf("bench-%d-1", pid):  false,
		"test-mine-1":                   false,
		Script{}.Own("test", 3).Name:    false,
		Script{}.Own("another", 3).Name: false,
	} {
		if got := orphaned(name, "test"); got != want {
			t.Errorf("orphaned(%q) = %v, want %v", name, got, want)
		}
	}
}
