package cache

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/google/renameio/v2"
)

var (
	// ErrNotFound: nothing was saved under this name.
	ErrNotFound = errors.New("not found")
	// ErrDamaged: neither the newest version nor the one before can be read.
	ErrDamaged = errors.New("damaged")
	// ErrTooLarge: the value is larger than Options.MaxBytes.
	ErrTooLarge = errors.New("too large")
	// ErrInvalid: an option or a name is not allowed.
	ErrInvalid = errors.New("invalid")
)

const (
	prevSuffix   = ".prev"
	maxNameBytes = 64
)

// Options of a Cache.
type Options struct {
	// Dir holds the files and nothing else; it is made (0700) if it is missing. Required, absolute.
	Dir string
	// MaxBytes bounds one value as JSON. Default 16 MiB.
	MaxBytes int
}

func (o Options) validate() error {
	if !filepath.IsAbs(o.Dir) {
		return fmt.Errorf("option Dir %q: want an absolute path: %w", o.Dir, ErrInvalid)
	}
	if o.MaxBytes < 1 || o.MaxBytes > 1<<30 {
		return fmt.Errorf("option MaxBytes %d: want 1 byte to 1 GiB: %w", o.MaxBytes, ErrInvalid)
	}
	return nil
}

// Cache is one directory of values. Its methods and functions are safe for
// concurrent use in one process; two processes must not share a directory.
type Cache struct {
	dir string
	max int
	mu  sync.Mutex // one Save or Load at a time
}

// New makes the directory and removes what an interrupted Save left there.
func New(opts Options) (*Cache, error) {
	if opts.MaxBytes == 0 {
		opts.MaxBytes = 16 << 20
	}
	if err := opts.validate(); err != nil {
		return nil, fmt.Errorf("make cache: %w", err)
	}
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open cache %s: %w", opts.Dir, err)
	}
	leftovers, err := filepath.Glob(filepath.Join(escapeGlob(opts.Dir), ".*"))
	if err != nil {
		return nil, fmt.Errorf("open cache %s: %w", opts.Dir, err)
	}
	for _, path := range leftovers {
		if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() {
			if err := os.Remove(path); err != nil {
				return nil, fmt.Errorf("open cache %s: %w", opts.Dir, err)
			}
		}
	}
	return &Cache{dir: opts.Dir, max: opts.MaxBytes}, nil
}

func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// Result is a loaded value and where it comes from.
type Result[T any] struct {
	Value T
	// Fallback: the newest version could not be read (Reason tells why), this is
	// the one before. It may be older than what the node has acted upon.
	Fallback bool
	Reason   string
}

// Save makes value what Load gives from now on, whatever happens to the power,
// and reports whether it had to write. name: lower-case letters, digits and "-",
// 64 bytes at most. If it fails, the value before is still there.
func Save[T any](c *Cache, name string, value T) (written bool, err error) {
	path, err := c.path(name)
	if err != nil {
		return false, err
	}
	body, err := json.Marshal(value)
	if err != nil {
		return false, fmt.Errorf("save %s: %w", path, err)
	}
	if len(body) > c.max {
		return false, fmt.Errorf("save %s: %d bytes, at most %d: %w", path, len(body), c.max, ErrTooLarge)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var old T
	oldBody, err := c.read(path, &old)
	intact := err == nil
	if intact && bytes.Equal(oldBody, body) {
		return false, nil
	}
	if err := c.replace(path, encode(body), intact); err != nil {
		return false, fmt.Errorf("save %s: %w", path, err)
	}
	return true, nil
}

// Load gives the newest value that can be read. ErrNotFound, ErrDamaged.
func Load[T any](c *Cache, name string) (Result[T], error) {
	path, err := c.path(name)
	if err != nil {
		return Result[T]{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var newest, prev T
	_, newestErr := c.read(path, &newest)
	if newestErr == nil {
		return Result[T]{Value: newest}, nil
	}
	_, prevErr := c.read(path+prevSuffix, &prev)
	switch {
	case prevErr == nil:
		return Result[T]{Value: prev, Fallback: true, Reason: newestErr.Error()}, nil
	case errors.Is(newestErr, fs.ErrNotExist) && errors.Is(prevErr, fs.ErrNotExist):
		return Result[T]{}, fmt.Errorf("load %s: %w", path, ErrNotFound)
	}
	return Result[T]{}, fmt.Errorf("load %s: %w: newest: %w; previous: %w", path, ErrDamaged, newestErr, prevErr)
}

// Remove forgets a value and the one before. It is no error if there is none.
func (c *Cache) Remove(name string) error {
	path, err := c.path(name)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range []string{path + prevSuffix, path} { // never leave only the older one
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove %s: %w", p, err)
		}
	}
	if err := c.syncDir(); err != nil {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	return nil
}

func (c *Cache) path(name string) (string, error) {
	bad := func(r rune) bool { return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-') }
	if name == "" || len(name) > maxNameBytes || strings.ContainsFunc(name, bad) {
		return "", fmt.Errorf("cache name %.80q: want 1 to %d of a-z, 0-9 and -: %w", name, maxNameBytes, ErrInvalid)
	}
	return filepath.Join(c.dir, name), nil
}

// read returns the checked body and decodes it into value.
func (c *Cache) read(path string, value any) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, int64(c.max+headBytes)+1))
	if err != nil {
		return nil, err
	}
	body, err := decode(data)
	if err == nil && len(body) > c.max {
		err = ErrTooLarge
	}
	if err == nil {
		err = json.Unmarshal(body, value)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return body, nil
}

// replace keeps an intact file as the previous one and puts data in its place.
// At each moment one of the two is whole; a damaged file never becomes the
// previous one.
func (c *Cache) replace(path string, data []byte, intact bool) error {
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(c.dir), renameio.WithStaticPermissions(0o600))
	if err != nil {
		return err
	}
	defer f.Cleanup() //nolint:errcheck // after a success there is nothing to clean up
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if intact {
		if err := keepPrevious(path); err != nil {
			return err
		}
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return err
	}
	return c.syncDir()
}

func keepPrevious(path string) error {
	prev := path + prevSuffix
	if err := os.Remove(prev); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Link(path, prev); err != nil {
		return os.Rename(path, prev) // a file system without hard links
	}
	return nil
}

func (c *Cache) syncDir() error {
	d, err := os.Open(c.dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
