package gossip

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
)

// Network is what a mesh travels on. The default is the machine's UDP and TCP; gossiptest has one in memory.
// Addresses are plain: IPv4 is never in IPv6 form.
type Network interface {
	// ListenPacket opens a datagram socket; ReadFrom and WriteTo speak *net.UDPAddr.
	ListenPacket(at netip.AddrPort) (net.PacketConn, error)
	// Listen opens a stream listener whose Addr is a *net.TCPAddr. Port 0 means any.
	Listen(at netip.AddrPort) (net.Listener, error)
	// Dial opens a stream. A port where nobody listens is an error that wraps syscall.ECONNREFUSED.
	Dial(ctx context.Context, to netip.AddrPort) (net.Conn, error)
	// Interface tells of the interface that carries an address of this machine.
	Interface(ip netip.Addr) Interface
}

// Interface is what is known of a network interface: the zero value where nothing is.
type Interface struct {
	Down     bool // switched off, or without a carrier: its cable is out
	Wireless bool
}

type systemNetwork struct{}

func (systemNetwork) ListenPacket(at netip.AddrPort) (net.PacketConn, error) {
	return net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
}

func (systemNetwork) Listen(at netip.AddrPort) (net.Listener, error) {
	return net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
}

func (systemNetwork) Dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp", to.String())
}

func (systemNetwork) Interface(ip netip.Addr) Interface {
	all, err := net.Interfaces()
	if err != nil {
		return Interface{}
	}
	for _, i := range all {
		addrs, err := i.Addrs()
		if err != nil || !slices.ContainsFunc(addrs, func(a net.Addr) bool { return carries(a, ip) }) {
			continue
		}
		const works = net.FlagUp | net.FlagRunning
		return Interface{Down: i.Flags&works != works, Wireless: wireless(i.Name)}
	}
	return Interface{}
}

func carries(a net.Addr, ip netip.Addr) bool {
	p, err := netip.ParsePrefix(a.String())
	return err == nil && p.Addr().Unmap().WithZone("") == ip
}

// wireless asks Linux, which shows one or the other below the interface, by the driver.
func wireless(name string) bool {
	for _, sign := range []string{"wireless", "phy80211"} {
		if _, err := os.Stat(filepath.Join("/sys/class/net", name, sign)); err == nil {
			return true
		}
	}
	return false
}
