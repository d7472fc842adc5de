package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func testSealer(t testing.TB) (*Sealer, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "store.key")
	if err := CreateKeyFile(path); err != nil {
		t.Fatal(err)
	}
	s, err := LoadKeyFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return s, path
}

func TestKeyFile(t *testing.T) {
	_, path := testSealer(t)
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := CreateKeyFile(path); !errors.Is(err, ErrExists) {
		t.Errorf("CreateKeyFile twice: %v", err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKeyFile(path); !errors.Is(err, ErrKeyFile) || !strings.Contains(err.Error(), "chmod 600 "+path) {
		t.Errorf("LoadKeyFile of a readable file: %v", err)
	}
	if err := RotateKeyFile(path); !errors.Is(err, ErrKeyFile) {
		t.Errorf("RotateKeyFile of a readable file: %v", err)
	}
	if _, err := LoadKeyFile(path + "x"); !errors.Is(err, ErrKeyFile) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("LoadKeyFile of nothing: %v", err)
	}
	if _, err := LoadKeyFile(filepath.Dir(path)); !errors.Is(err, ErrKeyFile) {
		t.Errorf("LoadKeyFile of a directory: %v", err)
	}
	line := "key1 " + strings.Repeat("ab", 32) + "\n"
	for _, text := range []string{"", "# nothing\n", "key1 ab\n", "key2 " + line[5:], line + line, line + "x\n", strings.Repeat("#\n", maxKeyFileBytes)} {
		bad := filepath.Join(t.TempDir(), "bad")
		if err := os.WriteFile(bad, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadKeyFile(bad); !errors.Is(err, ErrKeyFile) || strings.Contains(err.Error(), "abab") {
			t.Errorf("LoadKeyFile of %.20q: %v", text, err)
		}
	}
}

func TestRotation(t *testing.T) {
	old, path := testSealer(t)
	place, text := []byte("place"), []byte("text")
	sealed := old.Seal(place, text)
	if err := RotateKeyFile(path); err != nil {
		t.Fatal(err)
	}
	both, err := LoadKeyFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := both.Open(place, sealed); err != nil || !bytes.Equal(got, text) {
		t.Errorf("the new file does not open what the old key sealed: %q, %v", got, err)
	}
	newer := both.Seal(place, text)
	if both.KeyID() == old.KeyID() || bytes.Contains(newer, text) {
		t.Error("not sealed with the newest key")
	}
	if _, err := old.Open(place, newer); !errors.Is(err, ErrUnreadable) || !strings.Contains(err.Error(), both.KeyID()) {
		t.Errorf("Open without the key: %v", err)
	}
}

func TestSealBreaks(t *testing.T) {
	s, path := testSealer(t)
	place := []byte("/piccolo/nodes/a")
	sealed := s.Seal(place, []byte("text"))
	if bytes.Equal(sealed, s.Seal(place, []byte("text"))) {
		t.Error("two seals are the same")
	}
	for n := range sealed {
		if _, err := s.Open(place, sealed[:n]); !errors.Is(err, ErrUnreadable) {
			t.Errorf("truncated at %d: %v", n, err)
		}
		for bit := range 8 {
			bad := bytes.Clone(sealed)
			bad[n] ^= 1 << bit
			if _, err := s.Open(place, bad); !errors.Is(err, ErrUnreadable) {
				t.Errorf("bit %d of byte %d flipped: %v", bit, n, err)
			}
		}
	}
	if _, err := s.Open([]byte("/piccolo/nodes/b"), sealed); !errors.Is(err, ErrUnreadable) {
		t.Errorf("moved: %v", err)
	}
	key, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	secret := strings.TrimSpace(string(key[bytes.Index(key, []byte("key1 "))+5:]))
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "sealer", s)
	for _, text := range []string{fmt.Sprintf("%v %+v %#v %s", s, s, s, s), log.String()} {
		if strings.Contains(text, secret) || !strings.Contains(text, s.KeyID()) {
			t.Errorf("printed as %q", text)
		}
	}
}

func TestEnvelope(t *testing.T) {
	for _, c := range []struct{ plain, want string }{
		{`{"v":1,"kind":"node","data":{"a":1}}`, ""},
		{`{"v":2,"kind":"node","data":{"a":1}}`, "version 2"},
		{`{"kind":"node","data":{"a":1}}`, "version 0"},
		{`{"v":1,"kind":"app","data":{"a":1}}`, `a "app", not a "node"`},
		{`{"v":1,"kind":"node"}`, "empty"},
		{`{"v":1,"kind":"node","data":`, "unexpected end"},
		{``, "unexpected end"},
		{`[]`, "cannot unmarshal"},
	} {
		data, err := decodeEnvelope("node", []byte(c.plain))
		if c.want == "" {
			if err != nil || string(data) != `{"a":1}` {
				t.Errorf("%s: %s, %v", c.plain, data, err)
			}
		} else if !errors.Is(err, ErrUnreadable) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.plain, err, c.want)
		}
	}
	s, _ := testSealer(t)
	_, _, err := decodeRecord[int](s, "/piccolo/x/y", "node", s.Seal([]byte("/piccolo/x/y"), []byte(`{"v":1,"kind":"node","data":"text"}`)))
	if !errors.Is(err, ErrUnreadable) || !strings.Contains(err.Error(), "/piccolo/x/y") {
		t.Errorf("text as a number: %v", err)
	}
}

func FuzzDecodeEnvelope(f *testing.F) {
	f.Add([]byte(`{"v":1,"kind":"node","data":{"a":1}}`))
	f.Add([]byte(`{"v":2,"kind":"node","data":null}`))
	f.Fuzz(func(t *testing.T, plain []byte) {
		data, err := decodeEnvelope("node", plain)
		if err != nil {
			if !errors.Is(err, ErrUnreadable) {
				t.Fatal(err)
			}
			return
		}
		if !json.Valid(data) {
			t.Fatalf("accepted %q", data)
		}
	})
}

func FuzzOpen(f *testing.F) {
	s, err := newSealer("", [][]byte{make([]byte, keyBytes)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte("place"), s.Seal([]byte("place"), []byte("text")))
	f.Add([]byte(""), []byte(sealMagic))
	f.Fuzz(func(t *testing.T, place, sealed []byte) {
		if _, err := s.Open(place, sealed); err != nil && !errors.Is(err, ErrUnreadable) {
			t.Fatal(err)
		}
		plain, err := s.Open(place, s.Seal(place, sealed))
		if err != nil || !bytes.Equal(plain, sealed) {
			t.Fatalf("%q became %q, %v", sealed, plain, err)
		}
	})
}

func FuzzParseKeys(f *testing.F) {
	f.Add([]byte(keyFileComment + "key1 " + strings.Repeat("0f", keyBytes) + "\n"))
	f.Add([]byte("key1 \n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := parseKeys(text)
		if err != nil {
			if !errors.Is(err, ErrKeyFile) {
				t.Fatal(err)
			}
			return
		}
		for _, key := range keys {
			if len(key) != keyBytes {
				t.Fatalf("key of %d bytes", len(key))
			}
		}
	})
}

func FuzzValidateKey(f *testing.F) {
	f.Add("nodes/n-1")
	f.Add("a/../b")
	f.Fuzz(func(t *testing.T, key string) {
		if ValidateKey(key) == nil && (filepath.Clean("/x/"+key) != "/x/"+key || len(key) > MaxKeyBytes) {
			t.Fatalf("%q accepted", key)
		}
	})
}
