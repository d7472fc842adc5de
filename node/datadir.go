package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"

	"piccolo.io/piccolo/node/pki"
	"piccolo.io/piccolo/topology"
)

// Files of the data directory that are this package's own. Those of the
// identity are named in package pki.
const (
	lockFile    = "lock"
	memberFile  = "node.json"
	gossipFile  = "gossip.keys"
	storeKey    = "store.key"
	seedFile    = "seed.json"
	clockFile   = "clock"
	cacheDir    = "cache"
	etcdDir     = "etcd"
	memberStamp = 1
)

// Membership is what node.json holds: who this node is and whose. It is
// written last, so that a board that lost power in the middle of init or join
// belongs to nothing.
type Membership struct {
	Version     int           `json:"version"`
	ID          string        `json:"id"`
	Name        string        `json:"name"`
	Role        topology.Role `json:"role"`
	ClusterID   string        `json:"cluster_id"`
	Cluster     string        `json:"cluster"`
	Fingerprint string        `json:"fingerprint"`
	// Address is the one that others use. Fixed says that a person chose it;
	// otherwise it follows the address from which masters are reached.
	Address string `json:"address"`
	Fixed   bool   `json:"address_fixed"`
	// Ports that the node was made with.
	APIPort      int `json:"api_port"`
	GossipPort   int `json:"gossip_port"`
	EtcdPeerPort int `json:"etcd_peer_port,omitempty"`
	// Masters that were known at the time, host:port.
	Masters []string `json:"masters"`
	// Peers are the etcd addresses, IP:port, of the masters that a new master
	// joined; empty on the one that made the cluster.
	Peers []string `json:"peers,omitempty"`
}

// dataDir is the data directory while this process holds its lock.
type dataDir struct {
	path string
	lock *flock.Flock
}

// stopPatience is how long a command waits for a daemon that has left its
// cluster and is stopping.
const stopPatience = 10 * time.Second

// takeDataDir is openDataDir for a command. A daemon that holds a directory
// that belongs to no cluster is on its way out, and is waited for. created
// says that the directory was not there before.
func takeDataDir(ctx context.Context, path string) (d *dataDir, created bool, err error) {
	_, err = os.Stat(path)
	created = errors.Is(err, fs.ErrNotExist)
	d, err = openDataDir(path)
	if _, member := readMembership(path); !errors.Is(err, ErrLocked) || !errors.Is(member, ErrNotMember) {
		return d, created, err
	}
	ctx, cancel := context.WithTimeout(ctx, stopPatience)
	defer cancel()
	lock := flock.New(filepath.Join(path, lockFile), flock.SetPermissions(0o600))
	// A lock has no event that can be given up.
	if held, _ := lock.TryLockContext(ctx, 50*time.Millisecond); !held {
		return nil, created, err
	}
	return &dataDir{path: path, lock: lock}, created, nil
}

// openDataDir makes the directory where it is missing and locks it. Another
// process on it is ErrLocked.
func openDataDir(path string) (*dataDir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("open data directory %s: %w", path, err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("open data directory %s: %w", path, err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		if err := os.Chmod(path, 0o700); err != nil {
			return nil, fmt.Errorf("open data directory %s: others may read it and that cannot be changed: %w", path, err)
		}
	}
	lock := flock.New(filepath.Join(path, lockFile), flock.SetPermissions(0o600))
	held, err := lock.TryLock()
	switch {
	case err != nil:
		return nil, fmt.Errorf("lock data directory %s: %w", path, err)
	case !held:
		return nil, fmt.Errorf("open data directory %s: %w: stop it first (`systemctl stop piccolo`), or choose another with --data-dir", path, ErrLocked)
	}
	return &dataDir{path: path, lock: lock}, nil
}

// close gives the lock back.
func (d *dataDir) close() error { return d.lock.Unlock() }

func (d *dataDir) join(name string) string { return filepath.Join(d.path, name) }

// membership reads node.json; ErrNotMember where there is none.
func (d *dataDir) membership() (Membership, error) { return readMembership(d.path) }

// Member returns nil where the data directory belongs to a cluster, and
// ErrNotMember, or why that cannot be told, where not.
func Member(o Options) error {
	_, err := readMembership(o.withDefaults().DataDir)
	return err
}

func readMembership(dir string) (Membership, error) {
	var m Membership
	path := filepath.Join(dir, memberFile)
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return m, fmt.Errorf("read %s: %w: `piccolo init` makes one, `piccolo join` enters one", path, ErrNotMember)
	case err != nil:
		return m, fmt.Errorf("read %s: %w", path, err)
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("read %s: the file is damaged: %w; `piccolo reset` clears this node, then join it anew", path, err)
	}
	if m.Version != memberStamp || m.ID == "" || !m.Role.Valid() {
		return m, fmt.Errorf("read %s: it is not of this version of piccolo, or damaged; `piccolo reset` clears this node, then join it anew", path)
	}
	return m, nil
}

// keep writes node.json, and with it the node's membership.
func (d *dataDir) keep(m Membership) error {
	m.Version = memberStamp
	return d.writeJSON(memberFile, m)
}

func (d *dataDir) writeJSON(name string, value any) error {
	b, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", d.join(name), err)
	}
	return d.write(name, append(b, '\n'))
}

// read is a private file of a few kilobytes.
func (d *dataDir) read(name string) ([]byte, error) {
	b, err := os.ReadFile(d.join(name))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", d.join(name), err)
	}
	return b, nil
}

// write replaces a private file at once or not at all, and returns when a
// power cut can no longer undo it.
func (d *dataDir) write(name string, b []byte) error {
	if err := renameio.WriteFile(d.join(name), b, 0o600, renameio.WithStaticPermissions(0o600), renameio.IgnoreUmask()); err != nil {
		return fmt.Errorf("write %s: %w", d.join(name), err)
	}
	if err := d.sync(); err != nil {
		return fmt.Errorf("write %s: %w", d.join(name), err)
	}
	return nil
}

// sync makes what was created and removed in the directory last.
func (d *dataDir) sync() error {
	folder, err := os.Open(d.path)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// forget removes node.json and the node's key: from then on the node belongs
// to nothing and is nobody, whatever happens to the power.
func (d *dataDir) forget() error {
	for _, name := range []string{memberFile, pki.NodeKeyFile} {
		if err := os.Remove(d.join(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("forget the cluster: %w", err)
		}
	}
	if err := d.sync(); err != nil {
		return fmt.Errorf("forget the cluster: %w", err)
	}
	return nil
}

// clear removes everything that is piccolo's but the lock and the names to
// keep, node.json first: from then on the node belongs to nothing, whatever
// happens to the power.
func (d *dataDir) clear(keep ...string) error {
	err := os.Remove(d.join(memberFile))
	if err == nil {
		err = d.sync()
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("clear data directory: %w", err)
	}
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return fmt.Errorf("clear data directory: %w", err)
	}
	for _, e := range entries {
		if e.Name() == lockFile || !ownFile(e.Name()) || slices.Contains(keep, e.Name()) {
			continue
		}
		if err := os.RemoveAll(d.join(e.Name())); err != nil {
			return fmt.Errorf("clear data directory: %w", err)
		}
	}
	return nil
}

// fresh checks that a new membership may be written here.
func (d *dataDir) fresh() error {
	m, err := d.membership()
	switch {
	case err == nil:
		return fmt.Errorf("%w: it is node %s of cluster %s: `piccolo reset` clears it", ErrMember, m.Name, m.Cluster)
	case !errors.Is(err, ErrNotMember):
		return err
	}
	// init and join never start the store, so its data belongs to a cluster.
	if _, err := os.Lstat(d.join(etcdDir)); err == nil {
		return fmt.Errorf("data directory %s holds the data of a cluster, but %s is missing: bring that file back, or `piccolo reset` to lose the data", d.path, memberFile)
	}
	return nil
}

// ownFile reports whether a node may have written the name. What lies in the
// directory beside that is somebody else's and is never touched.
func ownFile(name string) bool {
	// A file that is being replaced has a "." before its name and digits after
	// it until it is whole.
	if rest, hidden := strings.CutPrefix(name, "."); hidden {
		name = strings.TrimRight(rest, "0123456789")
	}
	switch name {
	case lockFile, memberFile, gossipFile, storeKey, seedFile, clockFile, cacheDir, etcdDir, AdminTokenName,
		pki.NodeKeyFile, pki.NodeCrtFile, pki.CACrtFile, pki.CAKeyFile:
		return true
	}
	return false
}

// foreign refuses a directory in which something lies that is not piccolo's.
// It changes nothing, and a directory that is not there is fine.
func foreign(path string) error {
	entries, err := os.ReadDir(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read data directory: %w", err)
	}
	for _, e := range entries {
		if !ownFile(e.Name()) && e.Name() != "lost+found" {
			return fmt.Errorf("data directory %s holds %q, which is not piccolo's: choose an empty directory with --data-dir", path, e.Name())
		}
	}
	return nil
}
