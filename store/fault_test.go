package store_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
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
		}, store.ErrDamaged, "is missing: restore"},
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
			edit(t, walOf(t, dir), func(b []byte) []byte { return append(b[:used(b):used(b)], 0x08, 0, 0, 0, 0, 0, 0) })
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
			err := runMember(dir, func(m *store.Member) {
				if list, _, err := fruits(m).List(bg()); err != nil || len(list) != 200 {
					t.Errorf("%d records, %v", len(list), err)
				}
			})
			if err != nil {
				t.Error(err)
			}
		})
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

// TestRandomDamage: etcd ends the process over much of what can be wrong on disk;
// here it must be an error, or no harm. Each try has a process of its own.
func TestRandomDamage(t *testing.T) {
	good := goodDir(t)
	for seed := range uint64(10) {
		random := rand.New(rand.NewPCG(seed, 1))
		dir := copyDir(t, good)
		spoil := func(b []byte) []byte {
			n := used(b)
			switch random.IntN(3) {
			case 0: // flipped bits
				for range 1 + random.IntN(20) {
					b[random.IntN(n)] ^= 1 << random.IntN(8)
				}
			case 1: // a lost block
				at := random.IntN(n)
				clear(b[at:min(at+4096, len(b))])
			case 2: // a lost end
				clear(b[random.IntN(n):])
			}
			return b
		}
		which := dbOf(dir)
		if seed%2 == 0 {
			which = walOf(t, dir)
		}
		edit(t, which, spoil)
		out, err := childCommand(t, "open", dir).CombinedOutput()
		if err != nil || !(bytes.Contains(out, []byte("result: ErrDamaged")) || bytes.Contains(out, []byte("result: other <nil>"))) {
			t.Errorf("seed %d, %s: %v\n%s", seed, filepath.Base(which), err, out)
		}
	}
}

func TestInUse(t *testing.T) {
	opts := storetest.Options(t)
	_, _ = storetest.Start(t, opts)
	opts.PeerListen = storetest.FreeAddr(t)
	m := must[*store.Member](t)(store.New(opts))
	wantErr(t, "Run", m.Run(bg()), store.ErrInUse)
}
