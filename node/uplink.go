package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"piccolo.io/piccolo/gossip"
	"piccolo.io/piccolo/node/agent"
	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/api/client"
	"piccolo.io/piccolo/node/pki"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/topology"
)

// leaveTimeout bounds the question to a master to let this node go.
const leaveTimeout = 10 * time.Second

// uplinks makes the agent's connections to masters and renews the node's
// certificate through them.
type uplinks struct {
	m      Membership
	source *pki.Source
	ident  *pki.Identity
	clock  *pki.Clock
	logger *slog.Logger
	ver    string
	// current is the open connection, nil between two.
	current atomic.Pointer[client.Agent]
	// leaving is held while the node leaves. The connection stays open until
	// that is answered, although the agent hears on it that the node is gone.
	leaving sync.RWMutex
	// going: a person has asked for that, and it has not failed.
	going atomic.Bool
	// doubt is told when the master that is attached to says nothing any more.
	doubt func()
	// expired: a master has called this node's certificate expired.
	expired atomic.Bool
}

// connect is the agent's Connector. A node whose certificate ran out while it
// was off first gets a new one for the key that the cluster knows.
func (u *uplinks) connect(ctx context.Context, address string) (agent.Uplink, string, error) {
	if u.expired.Load() || !u.clock.Now().Before(u.source.Current().NotAfter) {
		if err := u.comeBack(ctx, address); err != nil {
			return nil, "", fmt.Errorf("renew the expired certificate at %s: %w", address, err)
		}
		u.expired.Store(false)
	}
	link, err := u.dial(ctx, address, false)
	if err != nil {
		return nil, "", err
	}
	return &uplink{Agent: link, u: u}, link.Own, nil
}

func (u *uplinks) dial(ctx context.Context, address string, anonymous bool) (*client.Agent, error) {
	config, err := pki.ClientTLS(pki.ClientOptions{Source: u.source, Anonymous: anonymous, Clock: u.clock})
	if err != nil {
		return nil, err
	}
	return client.DialAgent(ctx, address, config)
}

// comeBack proves the node's key instead of showing its certificate.
func (u *uplinks) comeBack(ctx context.Context, address string) error {
	link, err := u.dial(ctx, address, true)
	if err != nil {
		return err
	}
	defer func() {
		if err := link.Close(); err != nil {
			u.logger.Debug("close connection", "master", address, "error", err)
		}
	}()
	ip := u.m.Address
	if !u.m.Fixed {
		ip = link.Own
	}
	a, err := link.Register(ctx, u.ident, workload.Registration{
		NodeID: u.m.ID, Name: u.m.Name, IP: ip, Role: u.m.Role, Platform: platform(), Version: u.ver,
		MachineID: machineID("/"), GossipPort: u.m.GossipPort, APIPort: u.m.APIPort, Time: u.clock.Now(),
	})
	if err != nil {
		return err
	}
	return u.source.Replace(a.Certificate)
}

// renew gets a new certificate through the open connection.
func (u *uplinks) renew(ctx context.Context, csr []byte) ([]byte, error) {
	link := u.current.Load()
	if link == nil {
		return nil, errors.New("no master is reached at the moment")
	}
	return link.Renew(ctx, csr)
}

// leave takes this node out of the cluster.
func (u *uplinks) leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	u.leaving.RLock()
	defer u.leaving.RUnlock()
	link := u.current.Load()
	if link == nil {
		return api.Unavailablef("leave the cluster: no master is reached at the moment").
			WithHint("ask an administrator for `piccolo node rm %s`, then `piccolo reset` here", u.m.Name)
	}
	return link.Leave(ctx, u.m.ID)
}

// uplink notices when the master refuses this node's certificate, which TLS
// 1.3 tells only after the handshake.
type uplink struct {
	*client.Agent
	u *uplinks
}

func (l *uplink) Attach(ctx context.Context, h workload.Hello, notice func(workload.Notice), answers <-chan workload.Answer) error {
	watching, cancel := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { watchSilence(watching, l.Silence, l.u.doubt) })
	defer watch.Wait()
	defer cancel()
	err := l.Agent.Attach(ctx, h, func(n workload.Notice) {
		l.u.current.Store(l.Agent) // attached: before that, its calls would be a stranger's
		notice(n)
	}, answers)
	if err != nil && strings.Contains(err.Error(), "tls: expired certificate") {
		l.u.expired.Store(true)
	}
	return err
}

// silenceLimit is how long a master may say nothing before it is doubted: a ping
// that is lost once comes in time. With the agent's own time for the doubt, a
// master is given up 2 s after its last word.
const silenceLimit = api.SignOfLife + 300*time.Millisecond

// watchSilence calls doubt when the master has been silent for too long, and
// again while it stays so, until ctx ends.
func watchSilence(ctx context.Context, silence func() time.Duration, doubt func()) {
	timer := time.NewTimer(silenceLimit)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		rest := silenceLimit - silence()
		if rest <= 0 {
			doubt()
			rest = silenceLimit // its answer will be heard
		}
		timer.Reset(rest)
	}
}

func (l *uplink) Close() error {
	l.u.current.CompareAndSwap(l.Agent, nil)
	l.u.leaving.Lock()
	defer l.u.leaving.Unlock()
	return l.Agent.Close()
}

// gossipKeyring is the keyring as the mesh wants it.
func gossipKeyring(k workload.Keyring) (gossip.Keyring, error) {
	var r gossip.Keyring
	if len(k.Keys) == 0 {
		return r, errors.New("the master sent no gossip key")
	}
	for i, b := range k.Keys {
		if len(b) != gossip.KeySize {
			return r, fmt.Errorf("gossip key %d has %d bytes, not %d", i+1, len(b), gossip.KeySize)
		}
		if i == 0 {
			r.Primary = gossip.Key(b)
			continue
		}
		r.Others = append(r.Others, gossip.Key(b))
	}
	return r, r.Validate()
}

// wireKeyring is the keyring as it travels to a node.
func wireKeyring(r gossip.Keyring) workload.Keyring {
	k := workload.Keyring{Keys: [][]byte{r.Primary[:]}}
	for _, other := range r.Others {
		k.Keys = append(k.Keys, other[:])
	}
	return k
}

// anyAddress is every address of this machine, IPv6 too where it has that.
func anyAddress(port uint16) netip.AddrPort {
	if _, err := os.Stat("/proc/net/if_inet6"); err == nil {
		return netip.AddrPortFrom(netip.IPv6Unspecified(), port)
	}
	return netip.AddrPortFrom(netip.IPv4Unspecified(), port)
}

// self is what the API tells of this node.
type self struct {
	m       Membership
	agent   *agent.Agent
	source  *pki.Source
	up      *uplinks
	version string
	started time.Time
	// depart ends what the node does as a member of the cluster.
	depart func(context.Context)
	// forget makes the data directory belong to no cluster.
	forget func() error
	// quit ends the daemon after the node has left.
	quit func()
}

func (s *self) Status() api.SelfStatus {
	st := s.agent.Standing()
	return api.SelfStatus{
		ID: s.m.ID, Name: s.m.Name, Role: s.m.Role, Version: s.version, Mode: string(st.Mode), ModeReason: st.Reason, Since: st.Since,
		Master: st.Master, PlanRevision: st.PlanRevision, FlashMBPerDay: s.agent.FlashMBPerDay(context.Background()),
		StartedAt: s.started, CertificateExpires: s.source.Current().NotAfter,
	}
}

// Leave takes the node out of its cluster. When it returns, this machine
// belongs to nothing and says nothing to the cluster any more; the daemon ends
// and removes the rest. A node that the cluster has removed already has nobody
// to ask.
func (s *self) Leave(ctx context.Context) error {
	if !s.up.going.CompareAndSwap(false, true) {
		return api.Conflictf("leave the cluster: this node is leaving already; its daemon ends in a moment")
	}
	if err := s.leave(ctx); err != nil {
		s.up.going.Store(false)
		return err
	}
	s.quit()
	return nil
}

func (s *self) leave(ctx context.Context) error {
	if s.agent.Standing().Mode != agent.ModeRemoved {
		if err := s.up.leave(ctx); err != nil && !errors.Is(err, topology.ErrRemoved) {
			return err
		}
	}
	s.depart(ctx)
	return s.forget()
}
