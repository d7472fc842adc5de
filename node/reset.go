package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Reset makes this machine belong to nothing: it removes the identity, the
// keys, the cache and, on a master, the cluster's data. It refuses while a
// daemon runs on the data directory. What else lies there stays.
func Reset(ctx context.Context, o Options) (err error) {
	o = o.withDefaults()
	entries, err := os.ReadDir(o.DataDir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("reset node: read data directory: %w", err)
	}
	if !slices.ContainsFunc(entries, func(e os.DirEntry) bool { return ownFile(e.Name()) }) {
		return nil
	}
	dir, _, err := takeDataDir(ctx, o.DataDir)
	if err != nil {
		return fmt.Errorf("reset node: %w", err)
	}
	defer func() { err = errors.Join(err, dir.close()) }()
	if err := dir.clear(); err != nil {
		return fmt.Errorf("reset node: %w", err)
	}
	if err := os.Remove(filepath.Join(o.RunDir, SocketName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("reset node: %w", err)
	}
	return nil
}
