package gossip

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
)

// DefaultPort is the gossip port, TCP and UDP alike.
const DefaultPort = 7946

// maxID bounds a node id in bytes: it travels in every packet about the node.
const maxID = 128

// ErrInvalid marks an option, key, meta or address that cannot be used; the text names the field.
var ErrInvalid = errors.New("invalid")

// Options says what a [Mesh] is to be. ID, Bind and Keyring are required.
type Options struct {
	// ID is the node's id, unique in the cluster: 1 to 128 bytes of printable ASCII without space and slash.
	ID string
	// Bind is where the mesh listens, on TCP and UDP. Port 0 takes a free port that serves both.
	Bind netip.AddrPort
	// Advertise is the address that the others dial. The default is Bind; it is required where Bind is
	// unspecified (0.0.0.0, ::), because guessing an interface is how clusters get lost. Port 0 means the bound port.
	Advertise netip.AddrPort
	// Keyring encrypts everything (AES-256-GCM). Its primary key is required: there is no plain-text mesh.
	Keyring Keyring
	// Profile names the node's link. The default is [ProfileWiFi] where the interface that carries Advertise is
	// wireless, otherwise [ProfileLAN].
	Profile Profile
	// Meta is what the node says of itself. A zero Instance is replaced by a random one; Profile by the one above.
	Meta Meta
	// Peers are the first known addresses, as in [Mesh.SetPeers].
	Peers []netip.AddrPort
	// Logger receives memberlist's lines too. The default discards.
	Logger *slog.Logger
	// Network is what packets and streams travel on. The default is the machine's UDP and TCP.
	Network Network
}

func (o *Options) validate() error {
	if err := checkID(o.ID); err != nil {
		return fmt.Errorf("gossip options: ID %q: %w", o.ID, err)
	}
	if err := checkAddr(o.Bind, true); err != nil {
		return fmt.Errorf("gossip options: Bind %s: %w", o.Bind, err)
	}
	if !o.Advertise.IsValid() {
		o.Advertise = o.Bind
	}
	if err := checkAddr(o.Advertise, true); err != nil {
		return fmt.Errorf("gossip options: Advertise %s: %w", o.Advertise, err)
	}
	if o.Advertise.Addr().IsUnspecified() {
		return fmt.Errorf("gossip options: Advertise: %w: needed because Bind %s is not one address; "+
			"give the address that the other nodes reach this one at", ErrInvalid, o.Bind)
	}
	if err := o.Keyring.Validate(); err != nil {
		return fmt.Errorf("gossip options: Keyring: %w", err)
	}
	if o.Network == nil {
		o.Network = systemNetwork{}
	}
	if o.Profile == "" {
		o.Profile = ProfileLAN
		if o.Network.Interface(plain(o.Advertise).Addr()).Wireless {
			o.Profile = ProfileWiFi
		}
	}
	if _, err := ParseProfile(string(o.Profile)); err != nil {
		return fmt.Errorf("gossip options: Profile: %w", err)
	}
	o.Meta.Profile = o.Profile
	if o.Meta.Instance == "" {
		o.Meta.Instance = NewInstance()
	}
	if _, err := o.Meta.Encode(); err != nil {
		return fmt.Errorf("gossip options: Meta: %w", err)
	}
	if err := checkPeers(o.Peers); err != nil {
		return fmt.Errorf("gossip options: Peers: %w", err)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

func checkID(id string) error {
	if id == "" || len(id) > maxID {
		return fmt.Errorf("%w: must have 1 to %d bytes", ErrInvalid, maxID)
	}
	for i := range len(id) {
		// A slash would split memberlist's "name/address" form.
		if c := id[i]; c <= ' ' || c > '~' || c == '/' {
			return fmt.Errorf("%w: only printable ASCII without space and slash", ErrInvalid)
		}
	}
	return nil
}

func checkAddr(a netip.AddrPort, zeroPort bool) error {
	switch {
	case !a.IsValid():
		return fmt.Errorf("%w: an IP address and port is required", ErrInvalid)
	case a.Addr().Zone() != "":
		return fmt.Errorf("%w: an address with a zone means nothing on another machine; use one without", ErrInvalid)
	case a.Addr().IsMulticast():
		return fmt.Errorf("%w: a multicast address", ErrInvalid)
	case a.Port() == 0 && !zeroPort:
		return fmt.Errorf("%w: a port is required", ErrInvalid)
	}
	return nil
}

// maxPeers bounds SetPeers; a cluster has at most tens of nodes.
const maxPeers = 256

func checkPeers(peers []netip.AddrPort) error {
	if len(peers) > maxPeers {
		return fmt.Errorf("%w: %d addresses, at most %d", ErrInvalid, len(peers), maxPeers)
	}
	for _, p := range peers {
		if err := checkAddr(p, false); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		if p.Addr().IsUnspecified() {
			return fmt.Errorf("%s: %w: not an address that can be dialled", p, ErrInvalid)
		}
	}
	return nil
}

// plain removes the IPv4-in-IPv6 form, so that one address has one value.
func plain(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
