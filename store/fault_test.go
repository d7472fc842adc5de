package store_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/store/storetest"
)

// goodDir is a directory that a member has used: some records, a clean stop.
func goodDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	err := runMember(dir, func(m *store.Member) {
		for i := range 200 {
			must[int64](t)(fruits(m).Create(bg(), fmt.Sprint("k", i), fruit{strings.Repeat("x", 100), i}))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func copyDir(t testing.TB, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	for _, private := range []string{"", "etcd", "store.key"} {
		mode := os.FileMode(0o700)
		if private == "store.key" {
			mode = 0o600
		}
		if err := os.Chmod(filepath.Join(to, private), mode); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// fingerprint changes when anything in dir does.
func fingerprint(t testing.TB, dir string) string {
	t.Helper()
	sum := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintln(sum, path, info.Mode(), info.Size(), info.ModTime())
		if d.Type().IsRegular() {
			data, err := os.ReadFile(path)
			sum.Write(data)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sum.Sum(nil))
}

// edit changes the bytes of a file.
func edit(t testing.TB, path string, change func([]byte) []byte) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, change(data), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func dbOf(dir string) string { return filepath.Join(dir, "etcd/member/snap/db") }

func walOf(t testing.TB, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "etcd/member/wal/*.wal"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	return files[0]
}

// used is the length of a preallocated log without the zeroes at its end.
func used(data []byte) int { return len(bytes.TrimRight(data, "\x00")) }

func TestDamagedDirectory(t *testing.T) {
	good := goodDir(t)
	for name, c := range map[string]struct {
		spoil func(t *testing.T, dir string)
		want  error
		text  string
	}{
		"database cut in half": {func(t *testing.T, dir string) {
			edit(t, dbOf(dir), func(b []byte) []byte { return b[:len(b)/8] })
		}, store.ErrDamaged, "/db: "},
		"database without head": {func(t *testing.T, dir string) {
			edit(t, dbOf(dir), func(b []byte) []byte { clear(b[:8192]); return b })
		}, store.ErrDamaged, "invalid database"},
		"database overwritten": {func(t *testing.T, dir string) {
			edit(t, dbOf(dir), func(b []byte) []byte {
				for i := 8192; i < len(b); i++ {
					b[i] = 0xff
				}
				return b
			})
		}, store.ErrDamaged, "/db: "},
		"log missing": {func(t *testing.T, dir string) {
			if err := os.RemoveAll(filepath.Dir(walOf(t, dir))); err != nil {
				t.Fatal(err)
			}
		}, store.ErrDamaged, "/wal is missing"},
		"log with a flipped bit": {func(t *testing.T, dir string) {
			edit(t, walOf(t, dir), func(b []byte) []byte { b[used(b)/2] ^= 1; return b })
		}, store.ErrDamaged, "/wal: "},
		"log overwritten": {func(t *testing.T, dir string) {
			edit(t, walOf(t, dir), func(b []byte) []byte { return bytes.Repeat([]byte{0xff}, len(b)) })
		}, store.ErrDamaged, "/wal: "},
		"log without its end": {func(t *testing.T, dir string) {
			edit(t, walOf(t, dir), func(b []byte) []byte { clear(b[used(b)*3/4&^4095:]); return b })
		}, store.ErrDamaged, "the end of the log is lost"},
		"log empty": {func(t *testing.T, dir string) {
			edit(t, walOf(t, dir), func([]byte) []byte { return nil })
		}, store.ErrDamaged, "/wal: "},
		"open to others": {func(t *testing.T, dir string) {
			if err := os.Chmod(filepath.Join(dir, "etcd"), 0o755); err != nil {
				t.Fatal(err)
			}
		}, store.ErrAccess, "chmod 700"},
		"a file in its place": {func(t *testing.T, dir string) {
			if err := os.RemoveAll(filepath.Join(dir, "etcd")); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "etcd"), nil, 0o700); err != nil {
				t.Fatal(err)
			}
		}, store.ErrAccess, "not a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := copyDir(t, good)
			c.spoil(t, dir)
			before := fingerprint(t, dir)
			err := runMember(dir, func(*store.Member) {})
			wantErr(t, "Run", err, c.want)
			if err != nil && (!strings.Contains(err.Error(), c.text) || !strings.Contains(err.Error(), dir)) {
				t.Errorf("%v: want directory and %q in it", err, c.text)
			}
			if fingerprint(t, dir) != before {
				t.Error("the directory was changed")
			}
		})
	}
}

// TestHealsItself: what a power cut leaves needs nobody.
func TestHealsItself(t *testing.T) {
	good := goodDir(t)
	for name, spoil := range map[string]func(t *testing.T, dir string){
		"nothing": func(*testing.T, string) {},
		"torn last entry, not yet in the database": func(t *testing.T, dir string) {
			edit(t, walOf(t, dir), func(b []byte) []byte {
				end := (used(b) + 7) &^ 7
				copy(b[end:], []byte{0xd0, 7, 0, 0, 0, 0, 0, 0, 8, 2, 16}) // the rest was in sectors that were never written
				return b
			})
		},
		"file of the log as etcd was about to lengthen it": func(t *testing.T, dir string) {
			edit(t, walOf(t, dir), func(b []byte) []byte { return b[:(used(b)+7)&^7] })
		},
		"spare file of the log, begun": func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(filepath.Dir(walOf(t, dir)), "0.tmp"), []byte("rubbish"), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"no database, whole log": func(t *testing.T, dir string) {
			if err := os.Remove(dbOf(dir)); err != nil {
				t.Fatal(err)
			}
		},
		"empty database, whole log": func(t *testing.T, dir string) {
			edit(t, dbOf(dir), func([]byte) []byte { return nil })
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := copyDir(t, good)
			spoil(t, dir)
			for range 2 {
				err := runMember(dir, func(m *store.Member) {
					if list, _, err := fruits(m).List(bg()); err != nil || len(list) != 200 {
						t.Errorf("%d records, %v", len(list), err)
					}
					if _, _, err := fruits(m).Put(bg(), "k1", fruit{"again", 1}); err != nil {
						t.Error(err)
					}
				})
				if err != nil {
					t.Error(err)
				}
			}
			if info := must[os.FileInfo](t)(os.Stat(walOf(t, dir))); info.Size() < 8<<20 {
				t.Errorf("the log has %d bytes", info.Size())
			}
			if broken, _ := filepath.Glob(walOf(t, dir) + ".broken"); len(broken) > 0 {
				t.Error("etcd had to repair")
			}
		})
	}
}

// TestDatabaseFromTheLeader: a power cut between the arrival of a newer database
// and the moment when it takes the place of the old one.
func TestDatabaseFromTheLeader(t *testing.T) {
	dir := t.TempDir()
	write := func(n int) {
		err := runMember(dir, func(m *store.Member) {
			for i := range n {
				if _, _, err := fruits(m).Put(bg(), fmt.Sprint("k", i%20), fruit{"x", i}); err != nil {
					t.Error(err)
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	write(10)
	old := must[[]byte](t)(os.ReadFile(dbOf(dir)))
	write(1100) // the log begins anew after a thousand entries
	snaps := must[[]string](t)(filepath.Glob(filepath.Join(filepath.Dir(dbOf(dir)), "*.snap")))
	var term, index uint64
	if _, err := fmt.Sscanf(filepath.Base(snaps[len(snaps)-1]), "%x-%x.snap", &term, &index); err != nil {
		t.Fatal(err)
	}
	sent := filepath.Join(filepath.Dir(dbOf(dir)), fmt.Sprintf("%016x.snap.db", index))
	if err := os.Rename(dbOf(dir), sent); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dbOf(dir), old, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(string) error{
		"missing": os.Remove,
		"damaged": func(path string) error { return os.Truncate(path, 9000) },
		"empty":   func(path string) error { return os.Truncate(path, 0) },
	} {
		bad := copyDir(t, dir)
		if err := spoil(filepath.Join(filepath.Dir(dbOf(bad)), filepath.Base(sent))); err != nil {
			t.Fatal(err)
		}
		wantErr(t, "Run, the newer database is "+name, runMember(bad, func(*store.Member) {}), store.ErrDamaged)
	}
	err := runMember(dir, func(m *store.Member) {
		if r, err := fruits(m).Get(bg(), "k19"); err != nil || r.Value.Count != 1099 {
			t.Errorf("%+v, %v", r, err)
		}
	})
	if err != nil {
		t.Error(err)
	}
}

// TestFirstStartInterrupted: an empty database and no log yet.
func TestFirstStartInterrupted(t *testing.T) {
	dir := t.TempDir()
	if err := runMember(dir, func(*store.Member) {}); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Dir(walOf(t, dir))); err != nil {
		t.Fatal(err)
	}
	edit(t, dbOf(dir), func([]byte) []byte { return nil })
	if err := runMember(dir, func(*store.Member) {}); err != nil {
		t.Error(err)
	}
}

// TestNotDamage: what the system refuses says nothing of the files, and harms none.
func TestNotDamage(t *testing.T) {
	dir := copyDir(t, goodDir(t))
	for files := 6; files < 14; files++ {
		cmd := childCommand(t, "starve", dir)
		cmd.Env = append(cmd.Env, fmt.Sprint(filesEnv, "=", files))
		out, _ := cmd.CombinedOutput() // some are too few even for the child
		if bytes.Contains(out, []byte("ErrDamaged")) {
			t.Errorf("%d files: %s", files, out)
		}
	}
	err := runMember(dir, func(m *store.Member) {
		if list, _, err := fruits(m).List(bg()); err != nil || len(list) != 200 {
			t.Errorf("%d records, %v", len(list), err)
		}
	})
	if err != nil {
		t.Error(err)
	}
}

// filesEnv says how many files a child can have open.
const filesEnv = "PICCOLO_TEST_FILES"

func runStarve(dir string) int {
	var files uint64
	if _, err := fmt.Sscan(os.Getenv(filesEnv), &files); err != nil {
		fmt.Println(err)
		return 1
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: files, Max: files}); err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("result:", verdict(runMember(dir, func(*store.Member) {})))
	return 0
}

func TestInUse(t *testing.T) {
	opts := storetest.Options(t)
	_, _ = storetest.Start(t, opts)
	opts.PeerListen = storetest.FreeAddr(t)
	m := must[*store.Member](t)(store.New(opts))
	wantErr(t, "Run", m.Run(bg()), store.ErrInUse)
}
