package pki

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/url"
	"regexp"

	"piccolo.io/piccolo/topology"
)

const (
	// zone is the DNS zone of names in certificates. "internal" is reserved
	// for private use, so nothing outside can ever own such a name.
	zone = "piccolo.internal"
	// MasterDNSName is in the certificate of every master and of no other
	// node. etcd's peers check it (TLSInfo.ServerName and AllowedHostnames),
	// because etcd can match names but not the URI. It is never resolved.
	MasterDNSName = "master." + zone
)

var nodeIDPattern = regexp.MustCompile(`^n-[0-9a-f]{12}$`)

// Peer is what a certificate says of the one who holds its key.
type Peer struct {
	Cluster string
	ID      string
	Role    topology.Role
	// Serial is the certificate's serial number in hex.
	Serial string
}

// uri is the one form in which a certificate carries the peer:
// piccolo://cluster/<cluster>/node/<id>?role=<role>.
func (p Peer) uri() *url.URL {
	return &url.URL{
		Scheme:   "piccolo",
		Host:     "cluster",
		Path:     "/" + p.Cluster + "/node/" + p.ID,
		RawQuery: url.Values{"role": {string(p.Role)}}.Encode(),
	}
}

var uriPath = regexp.MustCompile(`^/([a-z0-9-]{1,63})/node/(n-[0-9a-f]{12})$`)

// parseURI accepts exactly what uri makes.
func parseURI(u *url.URL) (Peer, error) {
	m := uriPath.FindStringSubmatch(u.Path)
	if m == nil {
		return Peer{}, fmt.Errorf("%w: its URI names no node", ErrBadCertificate)
	}
	p := Peer{Cluster: m[1], ID: m[2], Role: topology.Role(u.Query().Get("role"))}
	if !p.Role.Valid() || topology.ValidateName(p.Cluster) != nil || p.uri().String() != u.String() {
		return Peer{}, fmt.Errorf("%w: its URI is not in the expected form", ErrBadCertificate)
	}
	return p, nil
}

// CertificatePeer reads the peer out of a node's certificate, and checks that
// the certificate agrees with itself: one URI, the same id in the common name,
// and an id that belongs to the key. It does not verify who signed it.
// A certificate without piccolo's URI gives ErrNotPiccolo.
func CertificatePeer(cert *x509.Certificate) (Peer, error) {
	if len(cert.URIs) != 1 || cert.URIs[0].Scheme != "piccolo" {
		return Peer{}, fmt.Errorf("%w: its certificate names no piccolo node", ErrNotPiccolo)
	}
	p, err := parseURI(cert.URIs[0])
	if err != nil {
		return Peer{}, err
	}
	pub, err := p256(cert.PublicKey)
	if err != nil {
		return Peer{}, fmt.Errorf("%w: %w", ErrBadCertificate, err)
	}
	id, err := NodeID(pub)
	if err != nil {
		return Peer{}, fmt.Errorf("%w: %w", ErrBadCertificate, err)
	}
	if id != p.ID || cert.Subject.CommonName != commonName(p.ID) {
		return Peer{}, fmt.Errorf("%w: it names node %s: %w", ErrBadCertificate, p.ID, ErrWrongKey)
	}
	p.Serial = serialHex(cert)
	return p, nil
}

func commonName(id string) string { return "node:" + id }

func serialHex(cert *x509.Certificate) string { return fmt.Sprintf("%032x", cert.SerialNumber) }

// PeerID says which node is at the other end of a connection that a server
// with ServerTLS accepted. ErrNoCertificate means that the client showed none:
// the API decides what may be done without. A state whose chain was not
// verified by crypto/tls is refused.
func PeerID(state tls.ConnectionState) (Peer, error) {
	if len(state.PeerCertificates) == 0 {
		return Peer{}, fmt.Errorf("identify peer: %w was shown", ErrNoCertificate)
	}
	if len(state.VerifiedChains) == 0 || len(state.VerifiedChains[0]) == 0 {
		return Peer{}, fmt.Errorf("identify peer: %w: its issuer was not verified", ErrBadCertificate)
	}
	p, err := CertificatePeer(state.VerifiedChains[0][0])
	if err != nil {
		return Peer{}, fmt.Errorf("identify peer: %w", err)
	}
	return p, nil
}
