package readiness

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"piccolo.io/piccolo/topology"
)

// diskLimits are the limits of one file system.
type diskLimits struct {
	join, warn uint64
	pressure   Band
	mend       string
}

func dataDiskLimits(t Thresholds) string {
	return describeDisk(t, t.DataJoin, t.DataWarn, t.DataPressure)
}

func podmanDiskLimits(t Thresholds) string {
	return describeDisk(t, t.PodmanJoin, t.PodmanWarn, t.PodmanPressure)
}

func describeDisk(t Thresholds, join, warn uint64, b Band) string {
	return fmt.Sprintf("join: error < %s or ≤ %g %% inodes free; warning < %s or < %g %% inodes; running: %s; inodes raised ≤ %g %%, cleared ≥ %g %%; read-only: error",
		mib(join), t.InodesPressure.Enter, mib(warn), t.InodesWarn, b.mib(), t.InodesPressure.Enter, t.InodesPressure.Leave)
}

func (c *Checker) checkDataDisk(ctx context.Context, gate Gate) finding {
	t := c.opts.Thresholds
	return c.checkDisk(ctx, gate, c.opts.DataDir, diskLimits{t.DataJoin, t.DataWarn, t.DataPressure,
		"free space: 'journalctl --vacuum-size=50M', 'apt-get clean', 'podman system prune'"})
}

func (c *Checker) checkPodmanDisk(ctx context.Context, gate Gate) finding {
	t := c.opts.Thresholds
	return c.checkDisk(ctx, gate, c.opts.PodmanRoot, diskLimits{t.PodmanJoin, t.PodmanWarn, t.PodmanPressure,
		"free space: 'podman system prune' removes stopped containers and unused images"})
}

// checkDisk judges the file system on which path lies, or will lie.
func (c *Checker) checkDisk(ctx context.Context, gate Gate, path string, l diskLimits) finding {
	at, err := existing(path)
	if err != nil {
		return fail("check the disk: 'dmesg | tail'", "%s: %v", path, err).raising("", zoneHold)
	}
	readOnly, err := c.probe.readOnly(at)
	if err != nil {
		return fail("check the disk: 'dmesg | tail'", "file system of %s: %v", at, err).raising("", zoneHold)
	}
	if readOnly {
		return fail(fmt.Sprintf("look why with 'dmesg | grep -i remount' (a failing card?), then 'mount -o remount,rw $(findmnt -no TARGET -T %s)'", at),
			"the file system of %s is read-only", at).raising(topology.ReasonReadinessFailed, zoneOver)
	}
	u, err := c.probe.usage(ctx, at)
	if err != nil {
		return fail("check the disk: 'dmesg | tail'", "file system of %s: %v", at, err).raising("", zoneHold)
	}
	inodes := 100.0 // btrfs and others count none
	if u.InodesTotal > 0 {
		inodes = 100 * float64(u.InodesFree) / float64(u.InodesTotal)
	}
	found := fmt.Sprintf("%s of %s free, %.0f %% of the inodes, at %s", mib(u.Free), mib(u.Total), inodes, at)
	return c.judgeDisk(gate, found, u.Free, inodes, l)
}

func (c *Checker) judgeDisk(gate Gate, found string, free uint64, inodes float64, l diskLimits) finding {
	t := c.opts.Thresholds
	z := max(l.pressure.of(float64(free)), t.InodesPressure.of(inodes))
	switch {
	case gate != GateRunning && free < l.join:
		return fail(l.mend, "%s: at least %s are needed", found, mib(l.join))
	case gate != GateRunning && inodes <= t.InodesPressure.Enter:
		return fail(l.mend+"; many small files use up the inodes", "%s: more than %g %% of the inodes are needed", found, t.InodesPressure.Enter)
	case gate == GateRunning && z == zoneOver:
		return fail(l.mend, "%s: limit %.0f MiB and %g %% of the inodes", found, l.pressure.Enter/MiB, t.InodesPressure.Enter).
			raising(topology.ReasonDiskPressure, z)
	case free < l.warn || inodes < t.InodesWarn || z != zoneClear:
		return warn(l.mend, "%s", found).raising(topology.ReasonDiskPressure, z)
	}
	return ok("%s", found)
}

// existing returns path, or the nearest directory above it that exists.
func existing(path string) (string, error) {
	for {
		_, err := os.Stat(path)
		if err == nil {
			return path, nil
		}
		parent := filepath.Dir(path)
		if !errors.Is(err, fs.ErrNotExist) || parent == path {
			return "", err
		}
		path = parent
	}
}

// checkDataDir judges the directory itself; its file system is data_disk's.
func (c *Checker) checkDataDir(context.Context, Gate) finding {
	dir := c.opts.DataDir
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return ok("%s is not there yet; it will be made", dir).with(FixCreateDataDir)
	case err != nil:
		return fail("run this as root", "%v", err)
	case !info.IsDir():
		return fail(fmt.Sprintf("move %s away, or choose another --data-dir", dir), "%s is not a directory", dir)
	}
	if owner, known := info.Sys().(*syscall.Stat_t); known && int(owner.Uid) != os.Geteuid() {
		return fail(fmt.Sprintf("run this as root, or: chown %d %s", os.Geteuid(), dir),
			"%s belongs to user %d, but this is user %d", dir, owner.Uid, os.Geteuid())
	}
	if info.Mode().Perm()&0o077 != 0 {
		return warn("chmod 0700 "+dir, "%s has mode %#o: others can read the node's keys", dir, info.Mode().Perm()).with(FixRestrictDataDir)
	}
	return ok("%s, mode %#o", dir, info.Mode().Perm())
}

func fsyncLimits(t Thresholds) string {
	return fmt.Sprintf("warning > %s (median of %d writes)", t.FsyncWarn, fsyncWrites)
}

const (
	fsyncWrites = 7
	fsyncBytes  = 4096
)

func (c *Checker) checkFsync(ctx context.Context, _ Gate) finding {
	dir, err := existing(c.opts.DataDir)
	if err != nil {
		return fail("check the disk: 'dmesg | tail'", "%s: %v", c.opts.DataDir, err)
	}
	took, err := c.probe.fsync(ctx, dir)
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return fail("free space: 'podman system prune', 'journalctl --vacuum-size=50M'", "%s is full: not even %d bytes could be written", dir, fsyncBytes)
	case errors.Is(err, syscall.EROFS):
		return fail("look why with 'dmesg | grep -i remount', then remount it for writing", "%s is read-only", dir)
	case err != nil:
		return fail("run this as root; if it is root already, check the disk with 'dmesg | tail'", "write in %s: %v", dir, err)
	}
	slices.Sort(took)
	median := took[len(took)/2]
	found := fmt.Sprintf("%s for a safe write of %d bytes (median of %d, worst %s) in %s",
		roundTime(median), fsyncBytes, len(took), roundTime(took[len(took)-1]), dir)
	if median > c.opts.Thresholds.FsyncWarn {
		return warn("use a card of application class A2, or an SSD, for the data directory; a master on this disk will be slow", "%s, over %s", found, c.opts.Thresholds.FsyncWarn)
	}
	return ok("%s", found)
}

func roundTime(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }

// timeWrites appends small blocks to a new file in dir, makes each safe and
// removes the file. If ctx ends after the first block, what was measured
// counts. The file has its name until the end, because some file systems need
// not make a nameless file safe.
func timeWrites(ctx context.Context, dir string) (took []time.Duration, err error) {
	f, err := os.CreateTemp(dir, ".piccolo-check-*")
	if err != nil {
		return nil, err
	}
	defer func() {
		f.Close()
		if gone := os.Remove(f.Name()); gone != nil && err == nil {
			err = gone
		}
	}()
	block := make([]byte, fsyncBytes)
	for len(took) == 0 || (len(took) < fsyncWrites && ctx.Err() == nil) {
		began := time.Now()
		if _, err := f.Write(block); err != nil {
			return took, err
		}
		if err := f.Sync(); err != nil {
			return took, err
		}
		took = append(took, time.Since(began))
	}
	return took, nil
}
