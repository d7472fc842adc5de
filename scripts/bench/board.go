package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"piccolo.io/piccolo/node/api/client"
)

// tick is the kernel's unit of time in /proc/PID/stat, the same on every
// Linux (USER_HZ).
const tick = 10 * time.Millisecond

// board is one host of the lab, seen from this machine: its files through
// /proc/PID/root and its processes by their pids here.
type board struct {
	name string
	init int
	// disk is the block device below the data directory, "loop3".
	disk string
	api  *client.HTTP
}

func (b *board) path(p string) string { return fmt.Sprintf("/proc/%d/root%s", b.init, p) }

// daemon returns the pid of the board's piccolo daemon, 0 if there is none.
func (b *board) daemon() (int, error) {
	space, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", b.init))
	if err != nil {
		return 0, fmt.Errorf("look at %s: %w", b.name, err)
	}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, err
	}
	for _, dir := range dirs {
		exe, _ := os.Readlink(dir + "/exe")
		if filepath.Base(strings.TrimSuffix(exe, " (deleted)")) != "piccolo" {
			continue
		}
		if of, _ := os.Readlink(dir + "/ns/pid"); of != space {
			continue
		}
		line, _ := os.ReadFile(dir + "/cmdline")
		words := strings.Split(string(line), "\x00")
		if len(words) > 1 && slices.Contains([]string{"init", "join", "run"}, words[1]) {
			return strconv.Atoi(filepath.Base(dir))
		}
	}
	return 0, nil
}

// mustDaemon is daemon where one has to run.
func (b *board) mustDaemon() (int, error) {
	pid, err := b.daemon()
	if err == nil && pid == 0 {
		err = fmt.Errorf("no piccolo runs on %s", b.name)
	}
	return pid, err
}

func (b *board) signal(s syscall.Signal) error {
	pid, err := b.mustDaemon()
	if err != nil {
		return err
	}
	return syscall.Kill(pid, s)
}

// gone reports whether no daemon runs.
func (b *board) gone() (bool, error) {
	pid, err := b.daemon()
	return pid == 0 && err == nil, err
}

// started is when the board's daemon was started, to the kernel's 10 ms.
func (b *board) started() (time.Time, error) {
	pid, err := b.mustDaemon()
	if err != nil {
		return time.Time{}, err
	}
	stat, err := processStat(pid)
	if err != nil {
		return time.Time{}, err
	}
	var since unix.Timespec
	now := time.Now()
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &since); err != nil {
		return time.Time{}, err
	}
	return now.Add(stat.start - time.Duration(since.Nano())), nil
}

// stat is what is used of /proc/PID/stat.
type stat struct {
	cpu time.Duration
	// start of the process since the machine's boot.
	start time.Duration
}

func processStat(pid int) (stat, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	return parseStat(string(text))
}

func parseStat(text string) (stat, error) {
	// The second field is the program's name in brackets and may hold anything.
	_, rest, ok := strings.Cut(text[strings.LastIndexByte(text, '(')+1:], ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 20 {
		return stat{}, fmt.Errorf("read process state %.80q: too few fields", text)
	}
	var ticks [3]int64
	for i, field := range []int{11, 12, 19} {
		var err error
		if ticks[i], err = strconv.ParseInt(fields[field], 10, 64); err != nil {
			return stat{}, fmt.Errorf("read process state: %w", err)
		}
	}
	return stat{cpu: time.Duration(ticks[0]+ticks[1]) * tick, start: time.Duration(ticks[2]) * tick}, nil
}

// reading is everything of one board that the idle window looks at.
type reading struct {
	at             time.Time
	pid            int
	cpu            time.Duration
	rss, anonymous float64 // MB of 2^20 bytes
	received, sent uint64  // bytes on eth0
	written        uint64  // bytes to the data disk
}

// read takes the figures after everything written so far has reached the
// disk.
func (b *board) read() (r reading, err error) {
	if err := b.sync(); err != nil {
		return r, err
	}
	if r.pid, err = b.mustDaemon(); err != nil {
		return r, err
	}
	s, err := processStat(r.pid)
	if err != nil {
		return r, err
	}
	r.at, r.cpu = time.Now(), s.cpu
	for name, to := range map[string]*float64{"VmRSS:": &r.rss, "RssAnon:": &r.anonymous} {
		kb, err := field(fmt.Sprintf("/proc/%d/status", r.pid), name, 1)
		if err != nil {
			return r, err
		}
		*to = float64(kb) / 1024
	}
	device := fmt.Sprintf("/proc/%d/net/dev", b.init)
	received, err1 := field(device, "eth0:", 1)
	sent, err2 := field(device, "eth0:", 9)
	text, err3 := os.ReadFile("/sys/block/" + b.disk + "/stat")
	if err := errors.Join(err1, err2, err3); err != nil {
		return r, err
	}
	r.received, r.sent = received, sent
	fields := strings.Fields(string(text))
	if len(fields) < 7 {
		return r, fmt.Errorf("read the state of %s: too few fields", b.disk)
	}
	// In sectors, of 512 bytes whatever the disk's own are.
	sectors, err := strconv.ParseUint(fields[6], 10, 64)
	r.written = sectors * 512
	return r, err
}

// sync writes out what the data directory's file system still holds back.
func (b *board) sync() error {
	dir, err := os.Open(b.path("/var/lib/piccolo"))
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(dir.Fd())), dir.Close())
}

// field reads the number in word n of the line that begins with name.
func field(path, name string, n int) (uint64, error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer func() { _ = file.Close() }() // only read
	for lines := bufio.NewScanner(file); lines.Scan(); {
		words := strings.Fields(lines.Text())
		if len(words) > n && words[0] == name {
			return strconv.ParseUint(words[n], 10, 64)
		}
	}
	return 0, fmt.Errorf("%s has no %s", path, name)
}
