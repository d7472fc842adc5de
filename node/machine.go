package node

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"piccolo.io/piccolo/topology"
)

// machineID is a hash of the board's own serial number, the same on every
// start and different on every board. It is empty where the hardware tells
// none: /etc/machine-id does not serve, since it is copied with the card.
func machineID(root string) string {
	for _, name := range []string{"sys/firmware/devicetree/base/serial-number", "sys/class/dmi/id/product_uuid"} {
		b, err := os.ReadFile(filepath.Join(root, name))
		serial := strings.ToLower(string(bytes.Trim(b, "\x00 \n\t")))
		if err != nil || strings.Trim(serial, "0-") == "" {
			continue // not there, or a dummy of zeros
		}
		sum := sha256.Sum256([]byte("piccolo machine " + serial))
		return hex.EncodeToString(sum[:8])
	}
	return ""
}

// platform describes what this binary runs on.
func platform() topology.Platform {
	p := topology.Platform{OS: runtime.GOOS, Arch: runtime.GOARCH, Variant: armVariant()}
	var u unix.Utsname
	if err := unix.Uname(&u); err == nil {
		p.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	if b, err := os.ReadFile("/sys/firmware/devicetree/base/model"); err == nil {
		p.Model = string(bytes.Trim(b, "\x00 \n"))
	}
	return p
}

// hostName is the name that a node gets where none is given.
func hostName() (string, error) {
	h, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("find out host name: %w", err)
	}
	name := topology.NameFrom(h)
	if err := topology.ValidateName(name); err != nil {
		return "", fmt.Errorf("host name %q cannot be the node's name: %w; choose one with --name", h, err)
	}
	return name, nil
}

// ownAddress is the address of this machine from which to is reached. No
// packet is sent: the kernel only looks up the route.
func ownAddress(to string) (netip.Addr, error) {
	c, err := net.Dial("udp", to)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("find the way to %s: %w", to, err)
	}
	addr, err := netip.ParseAddrPort(c.LocalAddr().String())
	return addr.Addr().Unmap(), errors.Join(err, c.Close())
}

// firstAddress is the address that the machine would use to leave its
// network, or else the first one that is not loopback.
func firstAddress() (netip.Addr, error) {
	// 192.0.2.0/24 is reserved for documentation (RFC 5737): a route to it is
	// the default route.
	if addr, err := ownAddress("192.0.2.1:9"); err == nil && !addr.IsLoopback() {
		return addr, nil
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("list this machine's addresses: %w", err)
	}
	for _, a := range addrs {
		prefix, err := netip.ParsePrefix(a.String())
		if err == nil && !prefix.Addr().IsLoopback() && !prefix.Addr().IsLinkLocalUnicast() {
			return prefix.Addr().Unmap(), nil
		}
	}
	return netip.Addr{}, errors.New("this machine has no network address: bring its network up, or name the address with --advertise")
}
