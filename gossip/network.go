package gossip

import (
	"context"
	"net"
	"net/netip"
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
