//go:build lab

package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// The two values of a process argument that are no program's name.
const (
	Piccolo    = "piccolo" // the daemon, not the commands that run beside it
	WholeBoard = "all"     // for Freeze and Thaw
)

// TryExec runs a command on the board, within ctx, and returns what it wrote to stdout. When the command fails, the
// error is an *Error with its exit code and stderr.
func (b *Board) TryExec(ctx context.Context, command ...string) (string, error) {
	return b.lab.Run(ctx, nil, append([]string{"exec", b.Name, "--"}, command...)...)
}

// Do runs a command on the board and returns all that it said, whatever its exit code.
func (b *Board) Do(command ...string) Output { b.lab.t.Helper(); return b.DoWith("", command...) }

// DoWith is Do with a text on the command's standard input.
func (b *Board) DoWith(stdin string, command ...string) Output {
	b.lab.t.Helper()
	o, err := b.lab.Output(b.lab.t.Context(), strings.NewReader(stdin), append([]string{"exec", b.Name, "--"}, command...)...)
	if err != nil {
		b.lab.t.Fatal(err)
	}
	return o
}

// Exec is TryExec for a command that must succeed.
func (b *Board) Exec(command ...string) string {
	b.lab.t.Helper()
	return b.lab.mustRun(append([]string{"exec", b.Name, "--"}, command...)...)
}

// WriteFile puts a file on the board.
func (b *Board) WriteFile(path, content string) {
	b.lab.t.Helper()
	_, err := b.lab.Run(b.lab.t.Context(), strings.NewReader(content), "exec", b.Name, "--", "sh", "-c", `cat >"$1"`, "sh", path)
	if err != nil {
		b.lab.t.Fatal(err)
	}
}

// Spawn starts a command that goes on without the test; its output goes to the console.
func (b *Board) Spawn(command ...string) {
	b.lab.t.Helper()
	b.lab.mustRun(append([]string{"exec", "-d", b.Name, "--"}, command...)...)
}

// Console is what the board's init and spawned commands have written since the lab began.
func (b *Board) Console() string { b.lab.t.Helper(); return b.lab.mustRun("console", b.Name) }

// InitPID is the pid of the board's init as this machine sees it.
func (b *Board) InitPID() int {
	b.lab.t.Helper()
	pid, err := strconv.Atoi(strings.TrimSpace(b.lab.mustRun("init-pid", b.Name)))
	if err != nil {
		b.lab.t.Fatalf("init of %s: %v", b.Name, err)
	}
	return pid
}

// Address is the board's present IP address.
func (b *Board) Address() string {
	b.lab.t.Helper()
	address, err := os.ReadFile(filepath.Join(b.lab.Dir(), "boards", b.Name, "address"))
	if err != nil {
		b.lab.t.Fatalf("address of %s: %v", b.Name, err)
	}
	return strings.TrimSpace(string(address))
}

// SetAddress gives the board another address of 10.77.0.0/24.
func (b *Board) SetAddress(ip string) { b.lab.t.Helper(); b.lab.mustRun("address", b.Name, ip) }

// Start boots a board that is off.
func (b *Board) Start() { b.lab.t.Helper(); b.lab.mustRun("start", b.Name) }

// Stop shuts it down in order.
func (b *Board) Stop() { b.lab.t.Helper(); b.lab.mustRun("stop", b.Name) }

// Reboot is Stop and Start.
func (b *Board) Reboot() { b.lab.t.Helper(); b.lab.mustRun("reboot", b.Name) }

// PowerCut ends every process at once and loses what was not synced to its disks.
func (b *Board) PowerCut() { b.lab.t.Helper(); b.lab.mustRun("power-cut", b.Name) }

// Freeze stops a process by its program's name, or the WholeBoard.
func (b *Board) Freeze(process string) { b.lab.t.Helper(); b.lab.mustRun("freeze", b.Name, process) }

// Thaw lets it go on.
func (b *Board) Thaw(process string) { b.lab.t.Helper(); b.lab.mustRun("thaw", b.Name, process) }

// Kill is kill -9 of a process by its program's name.
func (b *Board) Kill(process string) { b.lab.t.Helper(); b.lab.mustRun("kill", b.Name, process) }

// StopPodman takes the board's Podman service away; containers live on.
func (b *Board) StopPodman() { b.lab.t.Helper(); b.lab.mustRun("podman", b.Name, "stop") }

// StartPodman brings it back.
func (b *Board) StartPodman() { b.lab.t.Helper(); b.lab.mustRun("podman", b.Name, "start") }

// Containers runs the first n, 1 to 3, of web (port 8080, health check, restarts), sensor and worker.
func (b *Board) Containers(n int) {
	b.lab.t.Helper()
	b.lab.mustRun("containers", b.Name, strconv.Itoa(n))
}

// Unplug pulls the board's network cable.
func (b *Board) Unplug() { b.lab.t.Helper(); b.lab.mustRun("unplug", b.Name) }

// Plug puts it back.
func (b *Board) Plug() { b.lab.t.Helper(); b.lab.mustRun("plug", b.Name) }

// Loss loses this share, in percent, of the board's packets in each direction; 0 ends it.
func (b *Board) Loss(percent float64) {
	b.lab.t.Helper()
	b.lab.mustRun("loss", b.Name, strconv.FormatFloat(percent, 'f', 2, 64))
}

// Delay makes the board's packets late, in each direction, by latency to latency+jitter in whole milliseconds; 0
// ends it. Only with Options.Switch "tap".
func (b *Board) Delay(latency, jitter time.Duration) {
	b.lab.t.Helper()
	b.lab.mustRun("delay", b.Name, fmt.Sprint(latency.Milliseconds()), fmt.Sprint(jitter.Milliseconds()))
}

// FillDisk fills the data directory's file system to the last block.
func (b *Board) FillDisk() { b.lab.t.Helper(); b.lab.mustRun("disk-full", b.Name) }

// FreeDisk undoes FillDisk.
func (b *Board) FreeDisk() { b.lab.t.Helper(); b.lab.mustRun("disk-full", b.Name, "--undo") }

// Disk is the board's data disk, in bytes.
type Disk struct {
	Device  string // on this machine, for example /dev/loop3
	Size    int64  // of the file system
	Used    int64  // of the file system
	Written int64  // to the device since the board booted
}

// Disk measures the disk under the data directory.
func (b *Board) Disk() Disk {
	b.lab.t.Helper()
	var d Disk
	out := b.lab.mustRun("disk", b.Name)
	if _, err := fmt.Sscanf(out, "device %s\nsize %d\nused %d\nwritten %d\n", &d.Device, &d.Size, &d.Used, &d.Written); err != nil {
		b.lab.t.Fatalf("disk of %s: %q: %v", b.Name, out, err)
	}
	return d
}

// Eventually polls until the condition returns nil, and fails the test with its last error after the deadline.
func (l *Lab) Eventually(deadline time.Duration, what string, condition func() error) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), deadline)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := condition()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			l.t.Fatalf("%s: not within %v: %v", what, deadline, err)
		}
	}
}
