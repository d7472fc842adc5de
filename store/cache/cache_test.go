package cache

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type plan struct {
	Revision int    `json:"revision"`
	Text     string `json:"text"`
}

func newCache(t testing.TB) *Cache {
	t.Helper()
	c, err := New(Options{Dir: filepath.Join(t.TempDir(), "plan")})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func save(t testing.TB, c *Cache, p plan, want bool) {
	t.Helper()
	if written, err := Save(c, "plan", p); err != nil || written != want {
		t.Fatalf("Save(%v) = %v, %v, want written %v", p, written, err, want)
	}
}

func TestSaveAndLoad(t *testing.T) {
	c := newCache(t)
	if _, err := Load[plan](c, "plan"); !errors.Is(err, ErrNotFound) {
		t.Fatalf("Load of nothing: %v", err)
	}
	one, two := plan{1, "a"}, plan{2, "b"}
	save(t, c, one, true)
	before, err := os.Stat(filepath.Join(c.dir, "plan"))
	if err != nil {
		t.Fatal(err)
	}
	if mode := before.Mode(); mode != 0o600 {
		t.Errorf("mode %v", mode)
	}
	save(t, c, one, false)
	if after, err := os.Stat(filepath.Join(c.dir, "plan")); err != nil || !os.SameFile(before, after) {
		t.Error("an unchanged value was written")
	}
	save(t, c, two, true)
	got, err := Load[plan](c, "plan")
	if err != nil || got.Value != two || got.Fallback {
		t.Fatalf("Load = %+v, %v", got, err)
	}
	if err := c.Remove("plan"); err != nil {
		t.Fatal(err)
	}
	if _, err := Load[plan](c, "plan"); !errors.Is(err, ErrNotFound) {
		t.Fatalf("Load after Remove: %v", err)
	}
	if err := c.Remove("plan"); err != nil {
		t.Fatalf("Remove again: %v", err)
	}
}

// TestDamage spoils the newest file in every way that a card can, and expects
// the one before, with a reason; then the next Save heals it.
func TestDamage(t *testing.T) {
	c := newCache(t)
	one, two := plan{1, "first"}, plan{2, "second"}
	save(t, c, one, true)
	save(t, c, two, true)
	path := filepath.Join(c.dir, "plan")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, data []byte) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := Load[plan](c, "plan")
		if err != nil || got.Value != one || !got.Fallback || !strings.Contains(got.Reason, path) {
			t.Fatalf("%s: Load = %+v, %v", what, got, err)
		}
	}
	for n := range good {
		check("truncated", good[:n])
		for bit := range 8 {
			bad := bytes.Clone(good)
			bad[n] ^= 1 << bit
			check("flipped", bad)
		}
	}
	check("longer", append(bytes.Clone(good), 0))
	check("zeroes", make([]byte, len(good)))

	save(t, c, plan{3, "third"}, true)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	got, err := Load[plan](c, "plan")
	if err != nil || got.Value != one || !got.Fallback {
		t.Fatalf("a damaged file became the previous one: %+v, %v", got, err)
	}
}

func TestBothDamaged(t *testing.T) {
	c := newCache(t)
	save(t, c, plan{1, "a"}, true)
	save(t, c, plan{2, "b"}, true)
	for _, name := range []string{"plan", "plan.prev"} {
		if err := os.WriteFile(filepath.Join(c.dir, name), []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Load[plan](c, "plan"); !errors.Is(err, ErrDamaged) {
		t.Fatalf("Load: %v", err)
	}
	save(t, c, plan{3, "c"}, true)
	if got, err := Load[plan](c, "plan"); err != nil || got.Fallback || got.Value.Revision != 3 {
		t.Fatalf("Load after healing: %+v, %v", got, err)
	}
}

// TestInterrupted is what a power cut between any two steps of Save leaves.
func TestInterrupted(t *testing.T) {
	c := newCache(t)
	save(t, c, plan{1, "a"}, true)
	save(t, c, plan{2, "b"}, true)
	path := filepath.Join(c.dir, "plan")
	for _, step := range []func() error{
		func() error { return os.WriteFile(filepath.Join(c.dir, ".plan123"), []byte("half"), 0o600) },
		func() error { return os.Remove(path + ".prev") },
		func() error { return os.Link(path, path+".prev") },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
		again, err := New(Options{Dir: c.dir})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Load[plan](again, "plan"); err != nil || got.Fallback || got.Value.Revision != 2 {
			t.Fatalf("Load = %+v, %v", got, err)
		}
	}
	if _, err := os.Stat(filepath.Join(c.dir, ".plan123")); err == nil {
		t.Error("New left an interrupted Save's file behind")
	}
}

func TestRefused(t *testing.T) {
	for _, o := range []Options{{}, {Dir: "relative"}, {Dir: t.TempDir(), MaxBytes: -1}} {
		if _, err := New(o); !errors.Is(err, ErrInvalid) {
			t.Errorf("New(%+v): %v", o, err)
		}
	}
	c, err := New(Options{Dir: t.TempDir(), MaxBytes: 10})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "a/b", "..", ".x", "A", "ü", strings.Repeat("a", 65), "plan.prev"} {
		if _, err := Save(c, name, 1); !errors.Is(err, ErrInvalid) {
			t.Errorf("Save(%q): %v", name, err)
		}
		if _, err := Load[int](c, name); !errors.Is(err, ErrInvalid) {
			t.Errorf("Load(%q): %v", name, err)
		}
	}
	if _, err := Save(c, "a", "12345678901"); !errors.Is(err, ErrTooLarge) {
		t.Errorf("Save of too much: %v", err)
	}
	if _, err := Save(c, "a", func() {}); err == nil {
		t.Error("Save of a function succeeded")
	}
}

// TestFailedSave: what was there stays, and no temporary file is left.
func TestFailedSave(t *testing.T) {
	c := newCache(t)
	save(t, c, plan{1, "a"}, true)
	// A directory in the place of the previous version cannot be removed.
	if err := os.MkdirAll(filepath.Join(c.dir, "plan.prev", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Save(c, "plan", plan{2, "b"}); err == nil {
		t.Fatal("Save succeeded")
	}
	if got, err := Load[plan](c, "plan"); err != nil || got.Value.Revision != 1 {
		t.Fatalf("Load = %+v, %v", got, err)
	}
	if left, _ := filepath.Glob(filepath.Join(c.dir, ".*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestModel: whatever is saved and spoiled, Load gives the newest intact value.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := newCache(t)
		var newest, prev *plan
		n := 0
		rt.Repeat(map[string]func(*rapid.T){
			"save": func(rt *rapid.T) {
				n++
				p := plan{n, rapid.StringN(0, 20, 100).Draw(rt, "text")}
				save(t, c, p, true)
				if newest != nil {
					prev = newest
				}
				newest = &p
			},
			"spoil": func(rt *rapid.T) {
				if newest == nil {
					return
				}
				path := filepath.Join(c.dir, "plan")
				data, err := os.ReadFile(path)
				if err != nil {
					rt.Fatal(err)
				}
				if err := os.WriteFile(path, data[:rapid.IntRange(0, len(data)-1).Draw(rt, "cut")], 0o600); err != nil {
					rt.Fatal(err)
				}
				newest = nil
			},
			"": func(rt *rapid.T) {
				got, err := Load[plan](c, "plan")
				switch {
				case newest != nil:
					if err != nil || got.Fallback || got.Value != *newest {
						rt.Fatalf("%+v, %v, want %v", got, err, newest)
					}
				case prev != nil:
					if err != nil || !got.Fallback || got.Value != *prev {
						rt.Fatalf("%+v, %v, want fallback %v", got, err, prev)
					}
				case n == 0 && !errors.Is(err, ErrNotFound), n > 0 && !errors.Is(err, ErrDamaged):
					rt.Fatalf("%+v, %v", got, err)
				}
			},
		})
	})
}

func FuzzDecode(f *testing.F) {
	f.Add(encode(nil))
	f.Add(encode([]byte(`{"revision":1}`)))
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, data []byte) {
		if body, err := decode(data); err == nil && !bytes.Equal(encode(body), data) {
			t.Fatalf("decode accepted what encode does not write: %q", data)
		}
	})
}
