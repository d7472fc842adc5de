package store_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"piccolo.io/piccolo/store"
)

const crashes = 3 // of each kind

// ownMounts lets a child mount what only it sees.
func ownMounts(t testing.TB) *syscall.SysProcAttr {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can mount")
	}
	return &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Unshareflags: syscall.CLONE_NEWNS}
}

// newImage is a disk of 128 MiB with an empty ext4.
func newImage(t testing.TB) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), "disk.img")
	f := must[*os.File](t)(os.Create(image))
	if err := f.Truncate(128 << 20); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if out, err := exec.Command("mkfs.ext4", "-q", "-F", image).CombinedOutput(); err != nil {
		t.Skipf("cannot make a file system: %v: %s", err, out)
	}
	return image
}

// cutPower runs a child on an image, and returns a copy of the image as it was
// at some moment after the child had said n lines, with all that it had said by
// then: what the file system had not yet given to the disk is not in the copy.
func cutPower(t testing.TB, cmd *exec.Cmd, image string, n int) (copied string, said []string) {
	t.Helper()
	cmd.Env = append(cmd.Env, mountEnv+"="+image)
	cmd.SysProcAttr = ownMounts(t)
	out := must[io.ReadCloser](t)(cmd.StdoutPipe())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if said = append(said, lines.Text()); len(said) != n {
			continue
		}
		if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		copied = filepath.Join(t.TempDir(), "copy.img")
		if out, err := exec.Command("cp", "--sparse=always", image, copied).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		_ = cmd.Process.Kill()
	}
	_ = cmd.Wait() // "killed"
	if copied == "" {
		t.Fatalf("the child ended early:\n%s", strings.Join(said, "\n"))
	}
	return copied, said
}

// kill runs a child and kills it some time after it has said n lines.
func kill(t testing.TB, cmd *exec.Cmd, n int, after time.Duration) (said []string) {
	t.Helper()
	out := must[io.ReadCloser](t)(cmd.StdoutPipe())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if said = append(said, lines.Text()); len(said) == n {
			time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
		}
	}
	_ = cmd.Wait() // "killed"
	if len(said) < n {
		t.Fatalf("the child ended early:\n%s", strings.Join(said, "\n"))
	}
	return said
}

// acknowledged is the newest write that a child has seen acknowledged.
func acknowledged(said []string) (n int) {
	for _, line := range said {
		_, _ = fmt.Sscanf(line, "acknowledged %d", &n)
	}
	return n
}

// wantHistory checks that a member has every write up to n, and perhaps one more.
func wantHistory(t *testing.T, n int, out []byte, err error) {
	t.Helper()
	found := dumped(out)
	if err != nil || !strings.Contains(string(out), "result: other <nil>") ||
		!maps.Equal(found, historyAfter(n)) && !maps.Equal(found, historyAfter(n+1)) {
		t.Errorf("%d writes were acknowledged, found %v, %v\n%s", n, found, err, out)
	}
}

// TestPowerCutDisk: whatever the moment, all that was acknowledged is on the disk.
func TestPowerCutDisk(t *testing.T) {
	for range crashes {
		dir := t.TempDir()
		moment := 1 + rand.IntN(2500)
		image, said := cutPower(t, childCommand(t, "history", dir), newImage(t), moment)
		cmd := childCommand(t, "dump", dir)
		cmd.Env, cmd.SysProcAttr = append(cmd.Env, mountEnv+"="+image), ownMounts(t)
		out, err := cmd.CombinedOutput()
		wantHistory(t, acknowledged(said), out, err)
	}
}

// TestKilledWriting: the same for kill -9.
func TestKilledWriting(t *testing.T) {
	for range crashes {
		dir := t.TempDir()
		said := kill(t, childCommand(t, "history", dir), 1+rand.IntN(2500), 0)
		out, err := childCommand(t, "dump", dir).CombinedOutput()
		wantHistory(t, acknowledged(said), out, err)
	}
}

// TestKilledRestoring: there is nothing, or all of it.
func TestKilledRestoring(t *testing.T) {
	dir := snapshotDir(t)
	for range 2 * crashes {
		said := kill(t, childCommand(t, "restore", dir), 1+rand.IntN(4), time.Duration(rand.IntN(60))*time.Millisecond)
		whole := 0
		for i := range len(said) + 1 {
			restored := filepath.Join(dir, fmt.Sprint("life", i))
			if _, err := os.Stat(filepath.Join(restored, "etcd")); os.IsNotExist(err) {
				continue
			}
			whole++
			if i < len(said)-1 {
				continue // only the last ones were near the end
			}
			if err := os.Link(filepath.Join(dir, "store.key"), filepath.Join(restored, "store.key")); err != nil {
				t.Fatal(err)
			}
			wantSnapshot(t, restored)
		}
		if whole < len(said) {
			t.Errorf("%d directories were restored, %d are there", len(said), whole)
		}
		for i := range len(said) + 1 {
			if err := os.RemoveAll(filepath.Join(dir, fmt.Sprint("life", i))); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestKilledReplacing: there is the old one or the new one.
func TestKilledReplacing(t *testing.T) {
	dir := snapshotDir(t)
	for range 2 * crashes {
		kill(t, childCommand(t, "replace", dir), 1+rand.IntN(4), time.Duration(rand.IntN(60))*time.Millisecond)
		wantSnapshot(t, dir)
	}
}

// TestPowerCutReplacing: the same on a disk.
func TestPowerCutReplacing(t *testing.T) {
	for range crashes {
		dir := snapshotDir(t)
		image, _ := cutPower(t, childCommand(t, "replace", dir), newImage(t), 1+rand.IntN(6))
		cmd := childCommand(t, "dump", dir)
		cmd.Env, cmd.SysProcAttr = append(cmd.Env, mountEnv+"="+image), ownMounts(t)
		out, err := cmd.CombinedOutput()
		if found := dumped(out); err != nil || !maps.Equal(found, historyAfter(30)) {
			t.Errorf("found %v, %v\n%s", found, err, out)
		}
	}
}

// TestKilledShelving: every snapshot that bears a name is good.
func TestKilledShelving(t *testing.T) {
	dir := t.TempDir()
	for range crashes {
		kill(t, childCommand(t, "shelve", dir), 1+rand.IntN(5), time.Duration(rand.IntN(30))*time.Millisecond)
	}
	sealer := must[*store.Sealer](t)(store.LoadKeyFile(filepath.Join(dir, "store.key")))
	list := must[[]store.Shelved](t)(newShelf(t, store.ShelfOptions{Dir: filepath.Join(dir, "snapshots"), Sealer: sealer}).List(bg()))
	for _, one := range list {
		if one.Err != nil {
			t.Errorf("%s: %v", one.Path, one.Err)
		}
	}
	if len(list) < crashes {
		t.Errorf("%d snapshots", len(list))
	}
}

// snapshotDir holds a snapshot of the first 30 writes of history, and its key.
func snapshotDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	err := runMember(dir, func(m *store.Member) {
		for i := historic(1); i <= 30; i++ {
			if err := i.do(m); err != nil {
				t.Fatal(err)
			}
		}
		snapshotTo(t, m, filepath.Join(dir, "snapshot"))
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func wantSnapshot(t testing.TB, dir string) {
	t.Helper()
	out, err := childCommand(t, "dump", dir).CombinedOutput()
	if found := dumped(out); err != nil || !maps.Equal(found, historyAfter(30)) {
		t.Fatalf("found %v, %v\n%s", found, err, out)
	}
}

// runRestore is a child that restores into one directory after the other.
func runRestore(dir string) int {
	opts, from, err := restoring(dir, dir)
	for i := 0; err == nil; i++ {
		life := filepath.Join(dir, fmt.Sprint("life", i))
		if err = os.Mkdir(life, 0o700); err != nil {
			break
		}
		opts.Dir = filepath.Join(life, "etcd")
		_, err = store.Restore(context.Background(), from, opts)
		fmt.Println("restored", i, err)
	}
	fmt.Println(err)
	return 1
}

// runReplace is a child that replaces a directory over and over.
func runReplace(dir string) int {
	disk, err := mountDisk(dir)
	if err != nil {
		fmt.Println("mount:", err)
		return 1
	}
	opts, from, err := restoring(dir, disk)
	if _, statErr := os.Stat(opts.Dir); err == nil && os.IsNotExist(statErr) {
		_, err = store.Restore(context.Background(), from, opts)
	}
	for i := 0; err == nil; i++ {
		_, _, err = store.Replace(context.Background(), from, opts, time.Now())
		fmt.Println("replaced", i, err)
	}
	fmt.Println(err)
	return 1
}

// restoring is what a child needs to restore the snapshot in dir onto disk.
func restoring(dir, disk string) (store.Options, store.RestoreFrom, error) {
	sealer, err := store.LoadKeyFile(filepath.Join(dir, "store.key"))
	opts := store.Options{Name: "n-child", Dir: filepath.Join(disk, "etcd"), PeerListen: "127.0.0.1:2380", Sealer: sealer}
	return opts, store.RestoreFrom{Snapshot: filepath.Join(dir, "snapshot")}, err
}

// runShelve is a child that writes and takes snapshots.
func runShelve(dir string) int {
	err := runMember(dir, func(m *store.Member) {
		sealer, err := store.LoadKeyFile(filepath.Join(dir, "store.key"))
		if err != nil {
			fmt.Println(err)
			return
		}
		shelf, err := store.NewShelf(store.ShelfOptions{Dir: filepath.Join(dir, "snapshots"), Sealer: sealer})
		for i := historic(1); err == nil; i++ {
			if err = i.do(m); err == nil {
				_, err = shelf.Save(bg(), m)
				fmt.Println("saved", i)
			}
		}
		fmt.Println(err)
	})
	fmt.Println("result:", verdict(err))
	return 0
}
