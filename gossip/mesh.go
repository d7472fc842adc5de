package gossip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

// ErrNotRunning says that the mesh has not become ready yet, has ended, or was started twice.
var ErrNotRunning = errors.New("gossip mesh is not running")

const (
	// leaveLimit bounds how long a goodbye is spread before the mesh ends without it. One round of gossip fits in, in
	// every profile.
	leaveLimit = 600 * time.Millisecond
	// noteAhead bounds how long the goodbye runs ahead of what looks like a death.
	noteAhead = 100 * time.Millisecond
	// announceLimit bounds the wait for a new meta to be sent; it goes on being sent after that.
	announceLimit = 200 * time.Millisecond
)

// Mesh is this node's membership in the gossip mesh. All methods may be called from any goroutine, before, during
// and after Run.
type Mesh struct {
	opts      Options
	tune      tuning
	box       box
	view      *view
	witness   *witness
	observer  *observer
	questions *questions
	links     links
	ready     chan struct{}
	began     atomic.Bool
	run       atomic.Pointer[running]

	metaChanged chan struct{}       // capacity 1
	redialNow   chan struct{}       // capacity 1
	conflicts   chan suspectedTwins // small; dropped when full, because gossip repeats it
	dials       atomic.Uint64
	rejoins     atomic.Uint64

	mu      sync.Mutex // guards what follows
	keyring Keyring
	ring    *memberlist.Keyring // nil while not running
	meta    Meta
	rawMeta []byte
	peers   []netip.AddrPort
	claims  map[netip.AddrPort]time.Time // where a node has moved to, and until when that is worth a dial
}

// running is what exists only during Run.
type running struct {
	list   *memberlist.Memberlist
	log    *log.Logger // memberlist's
	wire   *transport
	notes  *memberlist.TransmitLimitedQueue
	relays relays

	mu    sync.Mutex
	ended bool
	wg    sync.WaitGroup // calls that use list
}

// begin holds the running parts for one call; end lets go.
func (r *running) begin() bool {
	if r == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ended {
		r.wg.Add(1)
	}
	return !r.ended
}

func (r *running) end() { r.wg.Done() }

// New checks the options. It opens nothing and starts nothing.
func New(o Options) (*Mesh, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	raw, err := o.Meta.Encode()
	if err != nil {
		return nil, err
	}
	m := &Mesh{
		opts: o, tune: o.Profile.tuning(), view: newView(o.ID), questions: newQuestions(),
		links:       links{wake: make(chan struct{}, 1)},
		ready:       make(chan struct{}),
		metaChanged: make(chan struct{}, 1),
		redialNow:   make(chan struct{}, 1),
		conflicts:   make(chan suspectedTwins, 8),
		keyring:     o.Keyring, meta: o.Meta, rawMeta: raw,
		claims: map[netip.AddrPort]time.Time{},
	}
	m.witness, m.observer = newWitness(m), newObserver(m)
	m.view.doubts = m.witness.doubts
	return m, m.SetPeers(o.Peers)
}

// Ready is closed when the mesh listens and may be dialled. Members are found after that.
func (m *Mesh) Ready() <-chan struct{} { return m.ready }

// Addr is the address that others dial: after Ready with its real port.
func (m *Mesh) Addr() netip.AddrPort {
	if r := m.run.Load(); r != nil {
		return r.wire.advertise
	}
	return plain(m.opts.Advertise)
}

// Members gives the other nodes, sorted by id: those alive, and up to 128 that were lost or have left.
func (m *Mesh) Members() []Member { return m.view.list() }

// self is this node as the others see it.
func (m *Mesh) self() Member {
	return Member{ID: m.opts.ID, Addr: m.Addr(), Meta: m.Meta(), State: Alive}
}

// raw is what a node says of itself, encoded.
func (m *Mesh) raw(id string) []byte {
	if id != m.opts.ID {
		return m.view.raw(id)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rawMeta
}

// Meta is what this node says of itself.
func (m *Mesh) Meta() Meta {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.meta
}

// SetMeta changes what this node says of itself and tells the others. Instance and Profile stay as they were.
func (m *Mesh) SetMeta(meta Meta) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	meta.Instance, meta.Profile = m.meta.Instance, m.meta.Profile
	raw, err := meta.encode(m.links.all())
	if err != nil {
		return fmt.Errorf("set gossip meta: %w", err)
	}
	if meta != m.meta {
		m.meta, m.rawMeta = meta, raw
		kick(m.metaChanged)
		kick(m.view.turned)
	}
	return nil
}

// SetPeers replaces the addresses where members are known to be. The mesh dials those at which it sees nobody
// alive: at once, then every second. When everybody is seen, nothing is sent.
func (m *Mesh) SetPeers(peers []netip.AddrPort) error {
	if err := checkPeers(peers); err != nil {
		return fmt.Errorf("set gossip peers: %w", err)
	}
	next := make([]netip.AddrPort, len(peers))
	for i, p := range peers {
		next[i] = plain(p)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.peers = next
	kick(m.view.changed)
	return nil
}

// Redial dials every address that is not seen alive now, and starts its backoff anew: for whoever learns that the
// network has changed or come back.
func (m *Mesh) Redial() { kick(m.redialNow) }

// Forget drops a member that is lost or has left, and stops dialling it unless it is among the peers.
func (m *Mesh) Forget(id string) { m.view.forget(id) }

// SetKeys changes the keyring without a restart. A key that is not in r stops working at once.
func (m *Mesh) SetKeys(r Keyring) error {
	if err := r.Validate(); err != nil {
		return fmt.Errorf("set gossip keys: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ring != nil {
		if err := errors.Join(r.install(m.ring), m.box.set(r)); err != nil {
			return fmt.Errorf("set gossip keys: %w", err)
		}
	}
	m.keyring = Keyring{r.Primary, slices.Clone(r.Others)}
	kick(m.redialNow) // whoever did not understand us before may do so now
	return nil
}

// Run joins the mesh and works until ctx ends; then it says goodbye, for at most 0.7 s, closes its sockets and
// returns nil. It returns an error only if it could not listen. A mesh runs once.
//
// What Run started has ended when it returns, but for what memberlist gives no way to wait for. Its readers end at
// once; a probe that was under way sleeps on until its time is over, up to 3 probe intervals (lan 3 s, wifi 4.5 s,
// wan 6 s). It sends, logs and tells nothing any more. A test that looks for leaked goroutines waits that long.
func (m *Mesh) Run(ctx context.Context) error {
	if !m.began.CompareAndSwap(false, true) {
		return fmt.Errorf("run gossip mesh again: %w: make a new one", ErrNotRunning)
	}
	r, err := m.start()
	if err != nil {
		return fmt.Errorf("start gossip as %s: %w", m.opts.ID, err)
	}
	m.run.Store(r)
	close(m.ready)
	m.opts.Logger.Info("gossip is up", "addr", m.Addr(), "profile", m.opts.Profile)

	var wg sync.WaitGroup
	wg.Go(func() { m.announce(ctx, r) })
	wg.Go(func() { m.judgeTwins(ctx) })
	wg.Go(func() { m.witness.run(ctx, r) })
	wg.Go(func() { m.observer.run(ctx) })
	wg.Go(func() { m.watchLinks(ctx, r) })
	m.redial(ctx, r)
	wg.Wait()
	m.stop(r)
	return nil
}

func (m *Mesh) start() (*running, error) {
	ring, err := m.openRing()
	if err != nil {
		return nil, err
	}
	wire, err := listen(m.opts, &m.box, m.take)
	if err != nil {
		return nil, err
	}
	r := &running{wire: wire, relays: relays{now: map[uint64]struct{}{}}, notes: &memberlist.TransmitLimitedQueue{RetransmitMult: retransmit, NumNodes: m.view.population}}
	d := &delegate{m, r.notes}
	c := m.tune.config()
	c.Name, c.Transport, c.Keyring = m.opts.ID, wire, ring
	c.BindPort, c.AdvertisePort = int(wire.advertise.Port()), int(wire.advertise.Port())
	r.log = newLibraryLog(m.opts.Logger)
	c.Logger = r.log
	c.Delegate, c.Events, c.Conflict, c.Ping = d, d, d, d
	if r.list, err = memberlist.Create(c); err != nil {
		return nil, errors.Join(err, wire.Shutdown())
	}
	return r, nil
}

// openRing makes memberlist's keyring, which SetKeys changes from then on.
func (m *Mesh) openRing() (*memberlist.Keyring, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ring, err := memberlist.NewKeyring(nil, bytes.Clone(m.keyring.Primary[:]))
	if err != nil {
		return nil, err
	}
	m.ring = ring
	return ring, errors.Join(m.keyring.install(ring), m.box.set(m.keyring))
}

// announce sends the new meta whenever it changes.
func (m *Mesh) announce(ctx context.Context, r *running) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.metaChanged:
		}
		if err := r.list.UpdateNode(announceLimit); err != nil {
			m.opts.Logger.Debug("gossip: new meta is still being sent", "error", err)
		}
	}
}

// stop says goodbye and takes everything down. It leaves memberlist's last probe behind: that would be seconds of every
// stop. The view is deaf, the sockets are closed and the log is cut off before, so the probe is alone with itself.
func (m *Mesh) stop(r *running) {
	m.sayGoodbye(r)
	if err := r.list.Leave(leaveLimit); err != nil {
		m.opts.Logger.Debug("gossip: left without having told everybody", "error", err)
	}
	m.mu.Lock()
	m.ring = nil
	m.mu.Unlock()
	m.view.close()
	if err := r.list.Shutdown(); err != nil {
		m.opts.Logger.Debug("gossip: shutdown", "error", err)
	}
	r.log.SetOutput(io.Discard)
	r.mu.Lock()
	r.ended = true
	r.mu.Unlock()
	r.wg.Wait()
}

// sayGoodbye tells everybody alive that this instance leaves; memberlist's own word for it looks like a death to
// the others' event callbacks.
func (m *Mesh) sayGoodbye(r *running) {
	note := encodeNote([]farewell{{m.opts.ID, m.Meta().Instance}})
	var told bool
	for _, o := range m.view.list() {
		if o.State != Alive {
			continue
		}
		told = true
		// A lost packet is made good by the queue below.
		_ = r.list.SendToAddress(memberlist.Address{Addr: o.Addr.String(), Name: o.ID}, note)
	}
	if told {
		r.notes.QueueBroadcast(broadcast{m.opts.ID, note})
		<-time.After(min(m.tune.gossip, noteAhead)) // the note should be there before the death
	}
}
