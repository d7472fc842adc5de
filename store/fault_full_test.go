package store_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"piccolo.io/piccolo/store"
)

// TestDiskFull: writes are refused in time, reads go on, what etcd does by itself
// too, a start on a full disk succeeds, and nobody has to do anything when there
// is space again.
func TestDiskFull(t *testing.T) {
	for _, disk := range []string{"tmpfs", "ext4"} {
		t.Run(disk, func(t *testing.T) {
			cmd := childCommand(t, "full", t.TempDir())
			cmd.SysProcAttr = ownMounts(t)
			if disk == "ext4" {
				disk = newImage(t)
			}
			cmd.Env = append(cmd.Env, mountEnv+"="+disk)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			for _, want := range []string{
				"first write: ok",
				"write when nearly full: ErrDiskFull",
				"lease when nearly full: ErrDiskFull",
				"write when full: ErrDiskFull",
				"read when full and leases have run out: ok",
				"write with space: ok",
				"first life ended: ok",
				"read after a start on a full disk: ok",
				"write after a start on a full disk: ErrDiskFull",
				"write with space again: ok",
				"second life ended: ok",
			} {
				if !strings.Contains(string(out), want) {
					t.Errorf("output lacks %q", want)
				}
			}
			if strings.Contains(string(out), "level=ERROR") {
				t.Error("etcd met the end of the disk")
			}
			if t.Failed() {
				t.Logf("%s", out)
			}
		})
	}
}

// TestDiskTooSmall: a new member says what it needs.
func TestDiskTooSmall(t *testing.T) {
	cmd := childCommand(t, "small", t.TempDir())
	cmd.SysProcAttr = ownMounts(t)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "result: ErrDiskFull") || !strings.Contains(string(out), "KiB are needed") {
		t.Errorf("%v\n%s", err, out)
	}
}

// filler takes space away from the others.
type filler struct{ path string }

// leave fills the disk until so many bytes are left at most.
func (f filler) leave(bytes uint64) {
	file, err := os.OpenFile(f.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		panic(err)
	}
	defer file.Close()
	for block := make([]byte, 1<<20); len(block) > 0; {
		if f.free() <= bytes {
			return
		}
		if f.free() < bytes+uint64(len(block)) {
			block = block[:len(block)/2]
			continue
		}
		if _, err := file.Write(block); err != nil {
			block = block[:len(block)/2]
		}
	}
	_ = file.Sync()
}

func (f filler) free() uint64 {
	var s syscall.Statfs_t
	if err := syscall.Statfs(filepath.Dir(f.path), &s); err != nil {
		panic(err)
	}
	return s.Bavail * uint64(s.Bsize)
}

func (f filler) remove() { _ = os.Remove(f.path) }

// runFull is a child whose disk is filled by somebody else.
func runFull(dir string) int {
	disk, err := mountDisk(dir)
	if err != nil {
		fmt.Println("mount:", err)
		return 1
	}
	f := filler{filepath.Join(disk, "filler")}
	say := func(what string, err error) {
		text := "ok"
		if err != nil {
			text = verdict(err)
		}
		fmt.Printf("%s: %s (%d KiB free)\n", what, text, f.free()>>10)
	}
	put := func(m *store.Member, key string) error {
		_, _, err := fruits(m).Put(bg(), key, fruit{strings.Repeat("x", 500), int(time.Now().UnixNano())})
		return err
	}
	get := func(m *store.Member) error { _, err := fruits(m).Get(bg(), "a"); return err }
	say("first life ended", runMemberAt(dir, disk, func(m *store.Member) {
		say("first write", put(m, "a"))
		for i := range 20 {
			l, err := m.Grant(bg(), 2*time.Second)
			if err == nil {
				_, err = fruits(m).Create(bg(), fmt.Sprint("leased", i), fruit{strings.Repeat("x", 500), 1}, store.WithLease(l.ID))
			}
			if err != nil {
				say("lease", err)
			}
		}
		f.leave(12 << 20)
		say("write when nearly full", put(m, "a"))
		_, err := m.Grant(bg(), time.Minute)
		say("lease when nearly full", err)
		f.leave(0)
		say("write when full", put(m, "a"))
		deadline := time.Now().Add(20 * time.Second)
		for i := range 20 {
			for err = nil; err == nil && time.Now().Before(deadline); {
				_, err = fruits(m).Get(bg(), fmt.Sprint("leased", i))
			}
			if !errors.Is(err, store.ErrNotFound) {
				say("expiry", fmt.Errorf("record %d: %w", i, err))
			}
		}
		say("read when full and leases have run out", get(m))
		f.remove()
		say("write with space", put(m, "a"))
		f.leave(0)
	}))
	say("second life ended", runMemberAt(dir, disk, func(m *store.Member) {
		say("read after a start on a full disk", get(m))
		say("write after a start on a full disk", put(m, "a"))
		f.remove()
		say("write with space again", put(m, "a"))
	}))
	return 0
}

// runSmall is a child whose disk is too small for a member.
func runSmall(dir string) int {
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m,mode=0700"); err != nil {
		fmt.Println("mount:", err)
		return 1
	}
	fmt.Println("result:", verdict(runMember(dir, func(*store.Member) {})))
	return 0
}
