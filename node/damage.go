package node

import (
	"errors"
	"os"

	"piccolo.io/piccolo/node/pki"
	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/topology"
)

// damage is what is wrong with a file of the data directory, and what to try.
type damage struct {
	error
	hint string
}

// Unwrap returns what is wrong.
func (e damage) Unwrap() error { return e.error }

// Hint says what to try.
func (e damage) Hint() string { return e.hint }

// damaged adds to an error with a file what to try. A file that others can read
// has its own advice in the error.
func (d *daemon) damaged(name string, err error) error {
	if err == nil {
		return nil
	}
	if info, stat := os.Stat(d.dir.join(name)); stat == nil && !info.IsDir() && info.Mode().Perm()&0o077 != 0 {
		return err
	}
	rejoin := "on the master `piccolo node rm " + d.m.Name + "`, here `piccolo reset`, then join anew"
	if d.m.Role == topology.RoleMaster {
		rejoin = "without a copy `piccolo reset` ends this cluster"
	}
	hints := map[string]string{
		pki.NodeKeyFile: "bring the file back from a copy of this node's data directory; or " + rejoin,
		pki.NodeCrtFile: "remove the file: a node with a good " + pki.NodeKeyFile + " gets a new certificate by itself",
		pki.CACrtFile:   "copy the file from any other node of the cluster (mode 0600); or " + rejoin,
		gossipFile:      "copy the file from any other node of the cluster (mode 0600); or " + rejoin,
		pki.CAKeyFile:   "bring the file back from a copy of this node's data directory: without it no node can join or renew its certificate; " + rejoin,
		storeKey:        "bring the file back from a copy of this node's data directory: without it nothing in the store can be read; " + rejoin,
		seedFile:        "the cluster had just been made: `piccolo reset`, then `piccolo init` again",
		etcdDir:         "bring " + d.dir.join(etcdDir) + " back from a copy, with the " + storeKey + " of that time; " + rejoin,
	}
	return damage{err, hints[name]}
}

// unusable is damaged for an error of package pki, which names its file.
func (d *daemon) unusable(err error) error {
	var file *pki.FileError
	if errors.As(err, &file) {
		return d.damaged(file.Name, err)
	}
	return err
}

// broken is damaged for an error of the store.
func (d *daemon) broken(err error) error {
	if errors.Is(err, store.ErrDamaged) {
		return d.damaged(etcdDir, err)
	}
	return err
}
