//go:build lab

package lab

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func TestLabsSideBySide(t *testing.T) {
	t.Parallel()
	first, second := Up(t, 2, Options{}), Up(t, 1, Options{})
	second.Board(1).WriteFile("/etc/second", "x")
	if _, err := first.Board(1).TryExec(t.Context(), "test", "-e", "/etc/second"); err == nil {
		t.Error("board1 of one lab has a file of board1 of the other")
	}
	second.Down()
	reaches(t, first.Board(1), first.Board(2), true)
}

func TestDownLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		crash func(t *testing.T, l *Lab)
	}{
		{"in order", func(*testing.T, *Lab) {}},
		{"after power cuts", func(_ *testing.T, l *Lab) { l.Board(1).PowerCut() }},
		{"frozen", func(_ *testing.T, l *Lab) { l.Board(1).Freeze(WholeBoard) }},
		{"after a crash", func(t *testing.T, l *Lab) {
			pid := l.Board(1).InitPID()
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Errorf("kill the init %d: %v", pid, err)
			}
			if err := os.RemoveAll(filepath.Join(l.Dir(), "boards", "board2")); err != nil {
				t.Error(err)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			l := Up(t, 2, Options{Switch: "tap"})
			l.Board(1).Containers(2)
			l.Board(1).Spawn("sleep", "1004")
			if len(leftovers(t, l)) < 5 {
				t.Error("the search for leftovers does not see a standing lab")
			}
			test.crash(t, l)
			l.Down()
			if left := leftovers(t, l); len(left) > 0 {
				t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
			}
		})
	}
}

// leftovers is all on this machine that bears the lab's name: namespaces, mounts, loop devices, cgroups, processes
// and files.
func leftovers(t *testing.T, l *Lab) []string {
	t.Helper()
	name := l.Name
	var left []string
	grep := func(kind, text, part string) {
		for line := range strings.Lines(text) {
			if strings.Contains(line, part) {
				left = append(left, kind+" "+strings.TrimSpace(line))
			}
		}
	}
	namespaces, err := exec.CommandContext(t.Context(), "ip", "netns", "list").Output()
	if err != nil {
		t.Fatalf("list namespaces: %v", err)
	}
	grep("namespace", string(namespaces), "pl-"+name+"-")
	loops, err := exec.CommandContext(t.Context(), "losetup", "--noheadings", "--output", "NAME,BACK-FILE").Output()
	if err != nil {
		t.Fatalf("list loop devices: %v", err)
	}
	grep("loop", string(loops), l.Dir()+"/")
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	grep("mount", string(mounts), name+"/")
	grep("mount", string(mounts), "pl-"+name+"-")
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && entry.Name() == name {
			left = append(left, "cgroup "+path)
		}
		return nil // another lab's groups may vanish under the walk
	})
	left = append(left, processes(t, name)...)
	if _, err := os.Stat(l.Dir()); err == nil {
		left = append(left, "directory "+l.Dir())
	}
	return left
}

// processes are those in a cgroup of the lab, or with its name in their arguments.
func processes(t *testing.T, name string) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err != nil || pid == os.Getpid() {
			continue
		}
		groups, _ := os.ReadFile(filepath.Join("/proc", entry.Name(), "cgroup"))
		args, _ := os.ReadFile(filepath.Join("/proc", entry.Name(), "cmdline"))
		if len(args) > 0 && (strings.Contains(string(groups), "/"+name+"/") || strings.Contains(string(args), name+"/")) {
			found = append(found, "process "+entry.Name()+" "+strings.ReplaceAll(string(args), "\x00", " "))
		}
	}
	return found
}
