package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Traces reports whether there is anything of a node on this machine that
// Reset would remove.
func Traces(o Options) (bool, error) {
	entries, err := os.ReadDir(o.withDefaults().DataDir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, fmt.Errorf("read data directory: %w", err)
	}
	return slices.ContainsFunc(entries, func(e os.DirEntry) bool { return ownFile(e.Name()) && e.Name() != lockFile }), nil
}

// Reset makes this machine belong to nothing: it removes the identity, the
// keys, the cache and, on a master, the cluster's data. It refuses while a
// daemon runs on the data directory. What else lies there stays.
func Reset(ctx context.Context, o Options) (err error) {
	o = o.withDefaults()
	traces, err := Traces(o)
	if err != nil {
		return fmt.Errorf("reset node: %w", err)
	}
	if !traces {
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
