package store

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
)

const (
	keyFilePrefix   = "key1 " // one line "key1 <64 hex digits>" for each key, the newest last
	keyFileComment  = "# Piccolo: the keys that the store is sealed with, the newest last.\n# Without this file nothing in the store can be read. Keep a copy in a safe place.\n"
	maxKeyFileBytes = 64 << 10
	maxKeys         = 256
)

// CreateKeyFile makes a key file with one new random key, mode 0600. It refuses
// to touch a file that is there: without its keys a store is lost.
func CreateKeyFile(path string) error {
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("create key file %s: it is there already: %w", path, ErrExists)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("create key file %s: %w", path, err)
	}
	if err := writeKeys(path, [][]byte{newKey()}); err != nil {
		return fmt.Errorf("create key file %s: %w", path, err)
	}
	return nil
}

// RotateKeyFile adds a new random key to the file. A Sealer that is loaded
// afterwards seals with it and still opens what the older ones have sealed.
// Every member that reads the store must have the new file before one of them
// seals with the new key.
func RotateKeyFile(path string) error {
	keys, err := readKeys(path)
	if err == nil && len(keys) >= maxKeys {
		err = fmt.Errorf("it holds %d keys already: %w", len(keys), ErrKeyFile)
	}
	if err == nil {
		err = writeKeys(path, append(keys, newKey()))
	}
	if err != nil {
		return fmt.Errorf("rotate key file %s: %w", path, err)
	}
	return nil
}

// LoadKeyFile reads the keys. It fails with ErrKeyFile if the file is missing,
// malformed, or readable by anybody but its owner, and says how to mend it.
func LoadKeyFile(path string) (*Sealer, error) {
	keys, err := readKeys(path)
	if err != nil {
		return nil, fmt.Errorf("load key file %s: %w", path, err)
	}
	s, err := newSealer(path, keys)
	if err != nil {
		return nil, fmt.Errorf("load key file %s: %w: %w", path, err, ErrKeyFile)
	}
	return s, nil
}

func newKey() []byte {
	key := make([]byte, keyBytes)
	rand.Read(key) //nolint:errcheck // never fails: crypto/rand ends the process instead
	return key
}

func readKeys(path string) ([][]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, ErrKeyFile)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("it is not a regular file: %w", ErrKeyFile)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("others can use it (mode %04o); if nobody has read it, run: chmod 600 %s: %w", mode, path, ErrKeyFile)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFileBytes+1))
	if err != nil {
		return nil, err
	}
	return parseKeys(text)
}

// parseKeys never repeats a line of the file in its errors.
func parseKeys(text []byte) ([][]byte, error) {
	if len(text) > maxKeyFileBytes {
		return nil, fmt.Errorf("it is larger than %d bytes: %w", maxKeyFileBytes, ErrKeyFile)
	}
	var keys [][]byte
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		digits, ok := strings.CutPrefix(line, keyFilePrefix)
		key, err := hex.DecodeString(digits)
		if !ok || err != nil || len(key) != keyBytes {
			return nil, fmt.Errorf("line %d is not %q and %d hex digits: %w", n, strings.TrimSpace(keyFilePrefix), 2*keyBytes, ErrKeyFile)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 || len(keys) > maxKeys {
		return nil, fmt.Errorf("it holds %d keys, want 1 to %d: %w", len(keys), maxKeys, ErrKeyFile)
	}
	return keys, nil
}

func writeKeys(path string, keys [][]byte) error {
	var text bytes.Buffer
	text.WriteString(keyFileComment)
	for _, key := range keys {
		fmt.Fprintf(&text, "%s%x\n", keyFilePrefix, key)
	}
	dir := filepath.Dir(path)
	if err := renameio.WriteFile(path, text.Bytes(), 0, renameio.WithTempDir(dir), renameio.WithStaticPermissions(0o600)); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes a rename in dir survive a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
