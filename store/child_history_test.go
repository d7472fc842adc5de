package store_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"piccolo.io/piccolo/store"
)

// mountEnv says what a child mounts on its directory: "tmpfs" or the path of an
// image of a file system.
const mountEnv = "PICCOLO_TEST_MOUNT"

// mountDisk mounts a small disk in the child's own mount namespace, if there is
// one, and returns where the data are to be. The key file lies outside.
func mountDisk(dir string) (disk string, err error) {
	if os.Getenv(mountEnv) == "" {
		return dir, nil
	}
	disk = filepath.Join(dir, "disk")
	if err := os.MkdirAll(disk, 0o700); err != nil {
		return "", err
	}
	if what := os.Getenv(mountEnv); what != "tmpfs" {
		if out, err := exec.Command("mount", "-o", "loop", what, disk).CombinedOutput(); err != nil {
			return "", fmt.Errorf("mount: %w: %s", err, out)
		}
		return disk, nil
	}
	return disk, syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=128m,mode=0700")
}

// runHistory is a child that writes until it is killed or told to stop.
func runHistory(dir string) int {
	disk, err := mountDisk(dir)
	if err != nil {
		fmt.Println("mount:", err)
		return 1
	}
	err = runMemberAt(dir, disk, func(m *store.Member) {
		for i := 1; ; i++ {
			if err := historic(i).do(m); err != nil {
				fmt.Println("write:", err)
				return
			}
			fmt.Println("acknowledged", i)
			if _, err := os.Stat(filepath.Join(dir, "stop")); err == nil {
				return
			}
		}
	})
	fmt.Println("result:", verdict(err))
	return 0
}

// runDump is a child that shows all there is, and that it can be written to.
func runDump(dir string) int {
	disk, err := mountDisk(dir)
	if err != nil {
		fmt.Println("mount:", err)
		return 1
	}
	err = runMemberAt(dir, disk, func(m *store.Member) {
		list, _, err := fruits(m).List(bg())
		if err != nil {
			fmt.Println("list:", err)
			return
		}
		for _, r := range list {
			fmt.Println("record", r.Key, r.Value.Count)
		}
		_, _, err = fruits(m).Put(bg(), "new", fruit{"new", 1})
		fmt.Println("end of list", len(list), err)
	})
	fmt.Println("result:", verdict(err))
	return 0
}

// historic is write i of a history that can be told again: what it leaves is
// known for every i.
type historic int

const historyKeys = 60

func (i historic) key() string   { return fmt.Sprint("k", int(i)*7%historyKeys) }
func (i historic) deletes() bool { return i%10 == 9 }

func (i historic) do(m *store.Member) error {
	if i.deletes() {
		err := fruits(m).Delete(bg(), i.key(), store.AnyRevision)
		if errors.Is(err, store.ErrNotFound) {
			err = nil
		}
		return err
	}
	_, _, err := fruits(m).Put(bg(), i.key(), fruit{strings.Repeat("x", int(i)%300), int(i)})
	return err
}

// historyAfter is what is there after write n.
func historyAfter(n int) map[string]int {
	m := map[string]int{}
	for i := historic(1); int(i) <= n; i++ {
		if i.deletes() {
			delete(m, i.key())
		} else {
			m[i.key()] = int(i)
		}
	}
	return m
}

// writeHistory runs a child that writes at least n times and is then killed or
// stopped, and returns how many writes were acknowledged.
func writeHistory(t testing.TB, dir string, n int, kill bool) (acknowledged int) {
	t.Helper()
	cmd := childCommand(t, "history", dir)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	stopped := false
	for lines.Scan() {
		_, _ = fmt.Sscanf(lines.Text(), "acknowledged %d", &acknowledged)
		if acknowledged < n || stopped {
			continue
		}
		stopped = true
		if kill {
			_ = cmd.Process.Kill()
		} else if err := os.WriteFile(filepath.Join(dir, "stop"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_ = cmd.Wait() // "killed"
	if acknowledged < n {
		t.Fatalf("the child wrote %d times", acknowledged)
	}
	return acknowledged
}
