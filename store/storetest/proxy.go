package storetest

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
)

// network joins the members of a Group. Each of them is reached through a proxy
// of its own, and whatever goes from or to a member that is cut off waits, like
// packets that are sent again and again, until that is healed.
//
// Who dials a proxy is told by a header that raft's messages bear. Other
// requests (for the list of members, for the renewal of a lease on the leader) do
// not bear it: they are held up only if the one who is asked is cut off.
type network struct {
	mu      sync.Mutex
	cut     map[int]bool
	healed  chan struct{}  // closed at each Heal
	members map[string]int // by every address that they had
	open    map[io.Closer]bool
	closed  chan struct{}
	wg      sync.WaitGroup
}

// unknown is a dialler that does not say who it is.
const unknown = -1

func newNetwork(t testing.TB) *network {
	n := &network{cut: map[int]bool{}, healed: make(chan struct{}), members: map[string]int{}, open: map[io.Closer]bool{}, closed: make(chan struct{})}
	t.Cleanup(n.close)
	return n
}

// proxy forwards to member i at target and returns the address where it listens.
func (n *network) proxy(t testing.TB, i int, target string) (addr string, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = l.Addr().String()
	n.mu.Lock()
	n.members["http://"+addr] = i
	n.mu.Unlock()
	n.track(l)
	n.wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			n.wg.Go(func() { n.serve(conn, i, target) })
		}
	})
	return addr, func() { n.drop(l) }
}

// serve forwards one connection to member i.
func (n *network) serve(conn net.Conn, i int, target string) {
	if !n.track(conn) {
		return
	}
	defer n.drop(conn)
	head := bufio.NewReader(conn)
	var first bytes.Buffer // what is read to find out who dials
	req, err := http.ReadRequest(bufio.NewReader(io.TeeReader(head, &first)))
	if err != nil {
		return
	}
	from := n.dialler(req.Header)
	if !n.wait(from, i) {
		return
	}
	out, err := net.Dial("tcp", target)
	if err != nil || !n.track(out) {
		return
	}
	defer n.drop(out)
	if _, err := out.Write(first.Bytes()); err != nil {
		return
	}
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		n.pipe(conn, out, from, i)
	}()
	n.pipe(out, head, from, i)
	<-answered
}

func (n *network) pipe(to net.Conn, from io.Reader, a, b int) {
	buf := make([]byte, 32<<10)
	for {
		count, err := from.Read(buf)
		if !n.wait(a, b) {
			return
		}
		if _, werr := to.Write(buf[:count]); err != nil || werr != nil {
			to.Close()
			return
		}
	}
}

func (n *network) dialler(h http.Header) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if i, ok := n.members[h.Get("X-PeerURLs")]; ok {
		return i
	}
	return unknown
}

// wait returns false when the network has been closed.
func (n *network) wait(a, b int) bool {
	for {
		n.mu.Lock()
		blocked, healed := n.cut[a] || n.cut[b], n.healed
		n.mu.Unlock()
		if !blocked {
			return true
		}
		select {
		case <-healed:
		case <-n.closed:
			return false
		}
	}
}

func (n *network) setCut(i int, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[i] = cut
	if !cut {
		close(n.healed)
		n.healed = make(chan struct{})
	}
}

func (n *network) isCut(i int) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cut[i]
}

// track closes c with the network, or at once if that is closed.
func (n *network) track(c io.Closer) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	select {
	case <-n.closed:
		c.Close()
		return false
	default:
		n.open[c] = true
		return true
	}
}

func (n *network) drop(c io.Closer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.open, c)
	c.Close()
}

// close is called when the members have stopped.
func (n *network) close() {
	n.mu.Lock()
	close(n.closed)
	for c := range n.open {
		c.Close()
	}
	n.mu.Unlock()
	n.wg.Wait()
}
