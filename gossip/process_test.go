package gossip_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"piccolo.io/piccolo/gossip"
)

// childEnv holds the child that this test binary is to be, as JSON.
const childEnv = "PICCOLO_GOSSIP_TEST_CHILD"

// burning is the id of a child that only keeps a processor busy.
const burning = "burning"

// child is one node in a process of its own, on the machine's real sockets.
type child struct {
	ID      string
	Bind    netip.AddrPort
	Keys    string
	Profile gossip.Profile
	Peers   []netip.AddrPort
	Judges  []string // the observers

	cmd *exec.Cmd
	mu  sync.Mutex
	out []string
}

// beChild runs a node until the process is killed. What a judge finds it prints, a line each.
func beChild(config string) error {
	var c child
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return err
	}
	for c.ID == burning {
	}
	keys, err := gossip.ParseKeyring([]byte(c.Keys))
	if err != nil {
		return err
	}
	m, err := gossip.New(gossip.Options{ID: c.ID, Bind: c.Bind, Keyring: keys, Profile: c.Profile, Peers: c.Peers})
	if err != nil {
		return err
	}
	if err := m.SetObservers(c.Judges); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go func() {
		_ = m.Follow(ctx, func(e gossip.Event) {
			switch e.Kind {
			case gossip.Joined:
				fmt.Println("joined", e.Member.ID)
			case gossip.Silent, gossip.Died:
				fmt.Println("suspected", e.Member.ID, e.Kind, e.By)
				go func() { fmt.Println("asked", e.Member.ID, m.Reach(ctx, e.Member.ID, e.Member.Addr)) }()
			}
		})
	}()
	return m.Run(ctx)
}

// processes starts n nodes, the first of which is the judge, and waits until all see each other.
func processes(t testing.TB, net, n int, p gossip.Profile) []*child {
	t.Helper()
	at := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 77, byte(net), byte(i + 1)}), 7946)
	}
	keys := string(gossip.Keyring{Primary: gossip.NewKey()}.Encode())
	var all []*child
	for i := range n {
		c := &child{ID: fmt.Sprintf("n-%02d", i), Bind: at(i), Keys: keys, Profile: p, Peers: []netip.AddrPort{at(0)}, Judges: []string{"n-00"}}
		all = append(all, c)
		c.start(t)
	}
	for _, c := range all {
		eventually(t, c.ID+" sees the others", func() bool { return c.saw("joined") >= n-1 })
	}
	return all
}

func (c *child) start(t testing.TB) {
	t.Helper()
	config, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	c.cmd = exec.Command(os.Args[0])
	c.cmd.Env = append(os.Environ(), childEnv+"="+string(config))
	c.cmd.Stderr = os.Stderr
	out, err := c.cmd.StdoutPipe()
	if err == nil {
		err = c.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for s := bufio.NewScanner(out); s.Scan(); {
			c.mu.Lock()
			c.out = append(c.out, s.Text())
			c.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill()
		<-read
		_ = c.cmd.Wait() // killed
	})
}

// saw counts the lines that begin with prefix.
func (c *child) saw(prefix string) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.out {
		if strings.HasPrefix(l, prefix) {
			n++
		}
	}
	return n
}

func (c *child) signal(t testing.TB, s os.Signal) {
	t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// A judge that SIGSTOP has held for a while suspects nobody afterwards, but still sees who stops in truth.
func TestStoppedProcesses(t *testing.T) {
	t.Parallel()
	stalls := []time.Duration{2 * time.Second}
	if *measure {
		stalls = append(stalls, 300*time.Millisecond, 700*time.Millisecond, 10*time.Second, 5*time.Minute)
	}
	all := processes(t, 1, 5, gossip.ProfileLAN)
	judge := all[0]
	for _, stall := range stalls {
		judge.signal(t, syscall.SIGSTOP)
		<-time.After(stall)
		judge.signal(t, syscall.SIGCONT)
		never(t, 3*time.Second, fmt.Sprintf("somebody is suspected after a stall of %v: %q", stall, judge.out), func() bool {
			return judge.saw("suspected") > 0
		})
	}
	all[2].signal(t, syscall.SIGSTOP)
	eventually(t, "a stopped process is found", func() bool { return judge.saw("asked n-02 reach node n-02 at 127.77.1.3:7946: no ack") > 0 })
	all[3].signal(t, syscall.SIGKILL)
	eventually(t, "a killed process is found", func() bool {
		return judge.saw("asked n-03 reach node n-03 at 127.77.1.4:7946: gossip port refuses") > 0
	})
	all[2].signal(t, syscall.SIGCONT)
	if n := judge.saw("asked n-01 reach") + judge.saw("asked n-04 reach"); n > 0 {
		t.Errorf("%d verdicts on nodes that have not stopped: %q", n, judge.out)
	}
}

// Where all processors are busy, nobody is condemned for being slow.
func TestBusyMachine(t *testing.T) {
	span := 5 * time.Second
	if *measure {
		span = 10 * time.Minute
	}
	all := processes(t, 2, 10, gossip.ProfileLAN)
	for range 4 * runtime.NumCPU() {
		burner := &child{ID: burning}
		burner.start(t)
	}
	<-time.After(span)
	if *measure {
		t.Logf("%d suspicions in %v", all[0].saw("suspected"), span)
	}
	for _, c := range all {
		if n := all[0].saw("asked " + c.ID + " reach"); n > 0 {
			t.Errorf("%d verdicts on %s: %q", n, c.ID, all[0].out)
		}
	}
}
