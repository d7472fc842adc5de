package pki

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// Names of the files in a data directory. node.crt holds the node's
// certificate and then the CA's, the order that TLS (and etcd's) expects.
const (
	NodeKeyFile = "node.key"
	NodeCrtFile = "node.crt"
	CACrtFile   = "ca.crt"
	CAKeyFile   = "ca.key"
)

// maxPEMFile bounds a certificate or key file, in bytes.
const maxPEMFile = 64 << 10

var errTooLarge = errors.New("the file is too large")

// writeFile replaces a file so that after a power cut it is the old one or the
// new one, whole: renameio syncs the file, and the directory is synced here.
func writeFile(path string, data []byte) error {
	if err := renameio.WriteFile(path, data, 0o600, renameio.WithStaticPermissions(0o600)); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("sync folder of %s: %w", path, err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("sync folder of %s: %w", path, err)
	}
	return nil
}

func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, limit)
}

func readAll(f *os.File, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s: %w (more than %d bytes)", f.Name(), errTooLarge, limit)
	}
	return b, nil
}

// readPrivate reads a file that nobody but its owner may be able to read. The
// check is made on the open file, so that it cannot be exchanged in between.
func readPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("%s: %w (mode %04o): run chmod 600 %s, and consider the key as known to them", path, ErrPermissions, mode, path)
	}
	return readAll(f, maxPEMFile)
}
