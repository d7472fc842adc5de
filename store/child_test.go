package store_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"piccolo.io/piccolo/store"
)

// A child is this test program, started again, running one of the functions of
// runChild on a directory. It prints lines; its exit code is 0 unless it crashed.
const (
	childEnv = "PICCOLO_TEST_CHILD"
	dirEnv   = "PICCOLO_TEST_DIR"
)

func childCommand(t testing.TB, name, dir string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+name, dirEnv+"="+dir)
	return cmd
}

func runChild(name string) int {
	dir := os.Getenv(dirEnv)
	switch name {
	case "open":
		err := runMember(dir, func(*store.Member) {})
		fmt.Println("result:", verdict(err))
	case "put":
		err := runMember(dir, func(m *store.Member) {
			for i := 0; ; i++ { // until killed
				if _, _, err := fruits(m).Put(bg(), "a", fruit{"a", i}); err != nil {
					fmt.Println("put:", err)
					return
				}
				fmt.Println("acknowledged", i)
			}
		})
		fmt.Println("result:", verdict(err))
	case "member":
		return runClusterChild(dir)
	case "history":
		return runHistory(dir)
	case "dump":
		return runDump(dir)
	case "restore":
		return runRestore(dir)
	case "replace":
		return runReplace(dir)
	case "shelve":
		return runShelve(dir)
	case "full":
		return runFull(dir)
	case "small":
		return runSmall(dir)
	case "starve":
		return runStarve(dir)
	}
	return 0
}

// verdict is err in words that a parent can look for.
func verdict(err error) string {
	for name, sentinel := range map[string]error{
		"ErrDamaged": store.ErrDamaged, "ErrInUse": store.ErrInUse, "ErrDiskFull": store.ErrDiskFull, "ErrAccess": store.ErrAccess,
	} {
		if errors.Is(err, sentinel) {
			return name + " " + err.Error()
		}
	}
	return fmt.Sprint("other ", err)
}

// runMember runs a member in dir/etcd, calls fn once it serves, and stops it,
// unless it has ended by itself.
func runMember(dir string, fn func(*store.Member)) error {
	return runMemberAt(dir, dir, fn)
}

// runMemberAt is runMember with the key file in another directory.
func runMemberAt(keyDir, dir string, fn func(*store.Member)) error {
	keys := filepath.Join(keyDir, "store.key")
	if err := store.CreateKeyFile(keys); err != nil && !errors.Is(err, store.ErrExists) {
		return err
	}
	sealer, err := store.LoadKeyFile(keys)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	addr := l.Addr().String()
	l.Close()
	m, err := store.New(store.Options{
		Name: "n-child", Dir: filepath.Join(dir, "etcd"), PeerListen: addr, Sealer: sealer,
		Logger:    slog.New(slog.NewTextHandler(os.Stdout, nil)),
		Heartbeat: 10 * time.Millisecond, StartTimeout: 10 * time.Second, StopTimeout: time.Second,
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	select {
	case <-m.Ready():
		fn(m)
	case err := <-ended:
		return err
	case <-time.After(20 * time.Second):
		return errors.New("neither ready nor ended")
	}
	select {
	case err := <-ended:
		return err
	case <-time.After(100 * time.Millisecond): // it may be about to say why
	}
	cancel()
	return <-ended
}

// TestKill: what was acknowledged is there after kill -9, however late the
// database is committed, and nobody has to mend anything.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	for range 3 {
		cmd := childCommand(t, "put", dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		acknowledged, lines := -1, bufio.NewScanner(out)
		for acknowledged < 100 && lines.Scan() {
			_, _ = fmt.Sscanf(lines.Text(), "acknowledged %d", &acknowledged)
		}
		_ = cmd.Process.Kill()
		for lines.Scan() {
			_, _ = fmt.Sscanf(lines.Text(), "acknowledged %d", &acknowledged)
		}
		_ = cmd.Wait() // "killed"
		if acknowledged < 100 {
			t.Fatal("the child did not write")
		}
		err = runMember(dir, func(m *store.Member) {
			r, err := fruits(m).Get(bg(), "a")
			if err != nil || r.Value.Count < acknowledged {
				t.Errorf("%d was acknowledged, found %d, %v", acknowledged, r.Value.Count, err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
