package node

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"time"

	"piccolo.io/piccolo/gossip"
	"piccolo.io/piccolo/topology"
)

// Defaults of Options.
const (
	DefaultDataDir      = "/var/lib/piccolo"
	DefaultRunDir       = "/run/piccolo"
	DefaultConfigFile   = "/etc/piccolo/piccolo.yaml"
	DefaultPodmanSocket = "/run/podman/podman.sock"
	DefaultAPIPort      = 7443
	DefaultGossipPort   = 7946
	DefaultEtcdPeerPort = 2380
	// SocketName is the local API's socket in the run directory.
	SocketName = "piccolo.sock"
	// AdminTokenName is the first administrator's token in the data directory.
	AdminTokenName = "admin.token"
)

// Options is what every command that touches this machine's node shares.
// Several nodes on one machine differ only by these.
type Options struct {
	// DataDir holds the node's identity, keys and cache, and on a master the
	// store. Mode 0700.
	DataDir string
	// RunDir holds the local API's socket. Mode 0700.
	RunDir string
	// PodmanSocket is the path of Podman's service socket.
	PodmanSocket string
	// PodmanRoot is where Podman keeps images and containers; only readiness
	// looks at it. Default /var/lib/containers/storage.
	PodmanRoot string
	// APIPort, GossipPort and EtcdPeerPort are those of this node.
	APIPort      int
	GossipPort   int
	EtcdPeerPort int
	// Level is the daemon's log level; a plan may change it while it runs.
	Level *slog.LevelVar
	// Logger of the daemon. Its handler should obey Level.
	Logger *slog.Logger
	// CertificateLifetime of the node certificates that a master signs; 0 is
	// 90 days. Only shorter in tests and demonstrations.
	CertificateLifetime time.Duration
	// KeyringStep is how long each step of a replacement of the gossip keys
	// lasts on a master; 0 is 30 s. Only shorter in tests.
	KeyringStep time.Duration
	// Network carries the gossip mesh; the machine's own where nil. Only other
	// in tests.
	Network gossip.Network
	// Version and BuildTime of this binary; BuildTime is the lower bound of
	// every clock reading.
	Version   string
	BuildTime time.Time
	// Ready is called once when the node serves, Status whenever what the node
	// does changes (a few words), and Alive regularly while the node's own
	// loops turn: systemd's READY, STATUS and WATCHDOG.
	Ready  func()
	Status func(text string)
	Alive  func()
}

// withDefaults fills in what was left out.
func (o Options) withDefaults() Options {
	set := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	set(&o.DataDir, DefaultDataDir)
	set(&o.RunDir, DefaultRunDir)
	set(&o.PodmanSocket, DefaultPodmanSocket)
	set(&o.PodmanRoot, "/var/lib/containers/storage")
	port := func(field *int, value int) {
		if *field == 0 {
			*field = value
		}
	}
	port(&o.APIPort, DefaultAPIPort)
	port(&o.GossipPort, DefaultGossipPort)
	port(&o.EtcdPeerPort, DefaultEtcdPeerPort)
	if o.Level == nil {
		o.Level = new(slog.LevelVar)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Ready == nil {
		o.Ready = func() {}
	}
	if o.Status == nil {
		o.Status = func(string) {}
	}
	if o.Alive == nil {
		o.Alive = func() {}
	}
	if o.Version == "" {
		o.Version = "dev"
	}
	return o
}

// Validate names the field that is wrong.
func (o Options) Validate() error {
	for _, d := range []struct{ name, path string }{{"data-dir", o.DataDir}, {"run-dir", o.RunDir}, {"podman-socket", o.PodmanSocket}} {
		if d.path != "" && !filepath.IsAbs(d.path) {
			return fmt.Errorf("%s %q is not an absolute path", d.name, d.path)
		}
	}
	for _, p := range []struct {
		name string
		port int
	}{{"api-port", o.APIPort}, {"gossip-port", o.GossipPort}, {"etcd-peer-port", o.EtcdPeerPort}} {
		if p.port < 0 || p.port > 65535 {
			return fmt.Errorf("%s %d is not a port: use 1 to 65535", p.name, p.port)
		}
	}
	return nil
}

// Socket is the path of the local API.
func (o Options) Socket() string { return filepath.Join(o.withDefaults().RunDir, SocketName) }

// InitOptions of a new cluster's first master.
type InitOptions struct {
	Options
	// Name of the node; the host name where empty.
	Name string
	// Cluster is the cluster's name; "piccolo" where empty.
	Cluster string
	// Advertise is the address that other nodes use; found out where invalid.
	// A port other than 0 replaces Options.APIPort.
	Advertise netip.AddrPort
	Labels    map[string]string
}

// InitResult is what a person needs after Init.
type InitResult struct {
	NodeID    string `json:"node_id"`
	Name      string `json:"name"`
	Cluster   string `json:"cluster"`
	ClusterID string `json:"cluster_id"`
	// API is the master's address, host:port.
	API         string `json:"api"`
	Fingerprint string `json:"fingerprint"`
	// JoinToken and JoinCommand let subs in for 24 hours.
	JoinToken   string `json:"join_token"`
	JoinCommand string `json:"join_command"`
	// AdminToken is the path of the administrator's token.
	AdminToken string `json:"admin_token_file"`
	// Warnings of the readiness gate, each with its mend.
	Warnings []string `json:"warnings"`
}

// JoinOptions of a board that joins a cluster.
type JoinOptions struct {
	Options
	// Master is host or host:port of any master; the port is 7443 where it
	// is left out.
	Master    string
	Token     string
	Role      topology.Role
	Name      string
	Advertise netip.AddrPort
	Labels    map[string]string
	// Progress is told, in words for a person, what is being done. patient
	// says that it may take hours, since somebody else has to act: a person
	// must see that. It may be nil.
	Progress func(step string, patient bool)
}

// JoinResult says how a join went.
type JoinResult struct {
	NodeID  string        `json:"node_id"`
	Name    string        `json:"name"`
	Cluster string        `json:"cluster"`
	Role    topology.Role `json:"role"`
	Master  string        `json:"master"`
	// Already is true when the data directory belongs to that cluster and
	// nothing was done.
	Already bool `json:"already"`
	// Warnings of the readiness gate, each with its mend.
	Warnings []string `json:"warnings"`
}

// Sentinels of the node as a whole.
var (
	// ErrLocked: another daemon runs on the data directory.
	ErrLocked = errors.New("another piccolo runs on this data directory")
	// ErrNotMember: the data directory belongs to no cluster.
	ErrNotMember = errors.New("this machine belongs to no cluster")
	// ErrMember: the data directory belongs to a cluster already.
	ErrMember = errors.New("this machine belongs to a cluster already")
	// ErrNotReady: the readiness gate refused.
	ErrNotReady = errors.New("this board is not ready to join")
)
