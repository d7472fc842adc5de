package podmantest

import (
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"piccolo.io/piccolo/podman"
)

// The operations of a Fake that Fail, Hang and Calls know by name.
const (
	OpPing    = "ping"
	OpInfo    = "info"
	OpList    = "list"
	OpInspect = "inspect"
	OpStats   = "stats"
	OpEvents  = "events"
)

var operations = []string{OpPing, OpInfo, OpList, OpInspect, OpStats, OpEvents}

// Fake is a Podman API server in memory. Its zero value is of no use; see NewFake. Safe for concurrent use.
type Fake struct {
	socket  string
	version string

	mu         sync.Mutex
	containers map[string]*podman.Container
	sick       map[string]bool // the next health check fails
	restart    map[string]bool // restart policy "always"
	usage      map[string]podman.Usage
	streams    map[*stream]struct{}
	faults     map[string]*fault
	calls      map[string]int
	server     *http.Server
	served     chan struct{}
	serial     int
}

// fault makes an operation fail, or hang until over is closed.
type fault struct {
	err  error
	over chan struct{}
}

// stream is one reader of events. Its lines wait there, at most streamLines of them; beyond that the
// reader is cut off.
type stream struct {
	lines  chan []byte
	wanted []string // actions; empty: all
}

const streamLines = 4096

// NewFake starts a fake that answers as the given version of Podman does: "4.3.1" and "5.4.2" differ
// in the places that are known to matter. "" is "5.4.2". It ends with the test.
func NewFake(t testing.TB, version string) *Fake {
	t.Helper()
	if version == "" {
		version = "5.4.2"
	}
	// Not t.TempDir: with a long test's name the path would not fit into a socket's address.
	dir, err := os.MkdirTemp("", "fakepod")
	if err != nil {
		t.Fatalf("make a directory for the fake Podman's socket: %v", err)
	}
	f := &Fake{
		socket: filepath.Join(dir, "podman.sock"), version: version,
		containers: map[string]*podman.Container{}, sick: map[string]bool{}, restart: map[string]bool{},
		usage: map[string]podman.Usage{}, streams: map[*stream]struct{}{}, faults: map[string]*fault{}, calls: map[string]int{},
	}
	t.Cleanup(func() {
		f.Heal(operations...)
		f.Stop()
		os.RemoveAll(dir)
	})
	if err := f.Start(); err != nil {
		t.Fatal(err)
	}
	return f
}

// Socket is the path of the API socket, the same through every Stop and Start.
func (f *Fake) Socket() string { return f.socket }

// Start listens again after Stop. It does nothing when it listens already.
func (f *Fake) Start() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.server != nil {
		return nil
	}
	os.Remove(f.socket)
	l, err := net.Listen("unix", f.socket)
	if err != nil {
		return fmt.Errorf("start the fake Podman: %w", err)
	}
	// As after a SIGKILL, the socket's file stays behind when the service ends.
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	server, served := &http.Server{Handler: f.routes(), ReadHeaderTimeout: 10 * time.Second}, make(chan struct{})
	f.server, f.served = server, served
	go func() {
		defer close(served)
		_ = server.Serve(l)
	}()
	return nil
}

// Stop ends the service as a SIGKILL does: connections break, the socket's file stays and nobody
// listens on it. The containers live on.
func (f *Fake) Stop() {
	f.mu.Lock()
	server, served := f.server, f.served
	f.server = nil
	f.mu.Unlock()
	if server != nil {
		_ = server.Close()
		<-served
	}
}

// Fail makes the named operation answer with HTTP 500 and err's text until Heal. Failing OpEvents
// touches new streams only.
func (f *Fake) Fail(op string, err error) { f.setFault(op, &fault{err: err}) }

// Hang makes the named operation, OpEvents' open streams too, stand still until Heal.
func (f *Fake) Hang(op string) { f.setFault(op, &fault{over: make(chan struct{})}) }

func (f *Fake) setFault(op string, x *fault) {
	if !slices.Contains(operations, op) {
		panic("podmantest: there is no operation " + op)
	}
	f.Heal(op)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults[op] = x
}

// Heal ends the faults of the named operations; what hung goes on.
func (f *Fake) Heal(ops ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, op := range ops {
		if x := f.faults[op]; x != nil && x.over != nil {
			close(x.over)
		}
		delete(f.faults, op)
	}
}

// Freeze makes every operation stand still, as a SIGSTOP does.
func (f *Fake) Freeze() {
	for _, op := range operations {
		f.Hang(op)
	}
}

// Thaw ends Freeze and every other fault.
func (f *Fake) Thaw() { f.Heal(operations...) }

// Calls is how often the named operation was asked for since the start of the fake.
func (f *Fake) Calls(op string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[op]
}

// Put adds or replaces a container and emits the given events ("create", "start", "died" …) about it.
// Without events the change is silent, as when one was lost.
func (f *Fake) Put(c podman.Container, events ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c.Labels = maps.Clone(c.Labels)
	f.containers[c.ID] = &c
	for _, action := range events {
		f.emit(action, &c, c.Health)
	}
}

// Drop removes a container and emits "remove", unless silent.
func (f *Fake) Drop(id string, silent bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.containers[id]
	delete(f.containers, id)
	if c != nil && !silent {
		f.emit("remove", c, "")
	}
}

// Emit sends an event about a container without changing it.
func (f *Fake) Emit(action, id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.containers[id]
	if c == nil {
		c = &podman.Container{ID: id}
	}
	f.emit(action, c, c.Health)
}

// EmitRaw sends a line as it is to all readers of events.
func (f *Fake) EmitRaw(line string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.send([]byte(line), "")
}

// Use sets what Stats will measure for a running container; CPUPercent is kept up from now on.
func (f *Fake) Use(u podman.Usage) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.usage[u.ID] = u
}
