package pki

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"time"

	"piccolo.io/piccolo/topology"
)

const (
	// DefaultLifetime is how long a node's certificate is valid.
	DefaultLifetime = 90 * 24 * time.Hour
	// MinLifetime and MaxLifetime bound what SignNode accepts.
	MinLifetime = time.Minute
	MaxLifetime = 366 * 24 * time.Hour
	// MaxCSR bounds a certificate request, in bytes of DER.
	MaxCSR = 4 << 10
	// maxSANs bounds how many addresses and names a certificate may carry.
	maxSANs = 32
)

// dnsPattern is a host name of RFC 1123 labels, without wildcards.
var dnsPattern = regexp.MustCompile(`^(?i:[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)(\.(?i:[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?))*$`)

// NodeProfile is what the registrar, and never the node's request, puts into
// a certificate.
type NodeProfile struct {
	// ID must be the id of the request's key.
	ID   string
	Role topology.Role
	// IPs and DNSNames are for clients that check addresses, such as browsers;
	// no node of the cluster relies on them. At most 32 together.
	IPs      []netip.Addr
	DNSNames []string
	// Lifetime from now; 0 means DefaultLifetime. MinLifetime to MaxLifetime.
	Lifetime time.Duration
}

func (p NodeProfile) validate() error {
	switch {
	case !nodeIDPattern.MatchString(p.ID):
		return fmt.Errorf("option ID %q is not a node's id", p.ID)
	case !p.Role.Valid():
		return fmt.Errorf("option Role %q is neither %q nor %q", p.Role, topology.RoleMaster, topology.RoleSub)
	case p.Lifetime < MinLifetime || p.Lifetime > MaxLifetime:
		return fmt.Errorf("option Lifetime %v is not between %v and %v", p.Lifetime, MinLifetime, MaxLifetime)
	case len(p.IPs)+len(p.DNSNames) > maxSANs:
		return fmt.Errorf("option IPs and DNSNames: %d are too many, at most %d are allowed", len(p.IPs)+len(p.DNSNames), maxSANs)
	}
	for _, ip := range p.IPs {
		if !ip.IsValid() || ip.IsUnspecified() || ip.IsMulticast() {
			return fmt.Errorf("option IPs: %v is not the address of a node", ip)
		}
	}
	for _, name := range p.DNSNames {
		lower := strings.ToLower(name)
		if len(name) > 253 || !dnsPattern.MatchString(name) {
			return fmt.Errorf("option DNSNames: %.64q is not a host name", name)
		}
		if lower == zone || strings.HasSuffix(lower, "."+zone) {
			return fmt.Errorf("option DNSNames: %q is within %s, where the authority alone gives names", name, zone)
		}
	}
	return nil
}

// Issued is a certificate that SignNode made.
type Issued struct {
	Leaf *x509.Certificate
	// ChainPEM is the node's certificate, then the CA's: what goes into
	// node.crt.
	ChainPEM []byte
}

// Serial is the certificate's serial number in hex, as in Peer.Serial.
func (i Issued) Serial() string { return serialHex(i.Leaf) }

// ParseCSR checks a certificate request in DER of at most MaxCSR bytes: it must
// be signed by the key that it carries, an ECDSA P-256 key. It returns the id
// of the node with that key. All else that the request says is ignored. Errors
// match ErrBadCSR.
func ParseCSR(der []byte) (id string, err error) {
	_, id, err = parseCSR(der)
	return id, err
}

func parseCSR(der []byte) (*x509.CertificateRequest, string, error) {
	if len(der) == 0 || len(der) > MaxCSR {
		return nil, "", fmt.Errorf("read certificate request: %w: it has %d bytes, 1 to %d are expected", ErrBadCSR, len(der), MaxCSR)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, "", fmt.Errorf("read certificate request: %w: %w", ErrBadCSR, err)
	}
	// The key's kind first: a signature over an unexpected key is not worth
	// computing.
	pub, err := p256(csr.PublicKey)
	if err != nil {
		return nil, "", fmt.Errorf("read certificate request: %w: %w", ErrBadCSR, err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, "", fmt.Errorf("read certificate request: %w: it is not signed by its own key: %w", ErrBadCSR, err)
	}
	id, err := NodeID(pub)
	if err != nil {
		return nil, "", fmt.Errorf("read certificate request: %w: %w", ErrBadCSR, err)
	}
	return csr, id, nil
}

// SignNode makes a node's certificate for the key of a request (see ParseCSR)
// and the given profile. A request whose key is not the profile's node gives
// ErrWrongKey. The certificate is backdated by up to an hour and never outlives
// the CA.
func (ca *CA) SignNode(csrDER []byte, p NodeProfile) (Issued, error) {
	if p.Lifetime == 0 {
		p.Lifetime = DefaultLifetime
	}
	csr, id, err := parseCSR(csrDER)
	if err != nil {
		return Issued{}, fmt.Errorf("sign certificate of node %.32s: %w", p.ID, err)
	}
	if err := p.validate(); err != nil {
		return Issued{}, fmt.Errorf("sign certificate of node %.32s: %w", p.ID, err)
	}
	if id != p.ID {
		return Issued{}, fmt.Errorf("sign certificate of node %s: the request is of %s: %w", p.ID, id, ErrWrongKey)
	}
	template, err := ca.template(p)
	if err != nil {
		return Issued{}, fmt.Errorf("sign certificate of node %s: %w", p.ID, err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, csr.PublicKey, ca.key)
	if err != nil {
		return Issued{}, fmt.Errorf("sign certificate of node %s: %w", p.ID, err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return Issued{}, fmt.Errorf("sign certificate of node %s: %w", p.ID, err)
	}
	// A master that forgot this time in a power cut would not accept the
	// certificates that it has issued. The node's record is written anyway.
	ca.clock.Raise(leaf.NotBefore)
	if err := ca.clock.Save(); err != nil {
		return Issued{}, fmt.Errorf("sign certificate of node %s: %w", p.ID, err)
	}
	return Issued{Leaf: leaf, ChainPEM: encodePEM(leaf, ca.cert)}, nil
}

// usages of a node's certificate: a sub only dials, and must not pass for a
// server with anybody who trusts the CA.
func usages(r topology.Role) []x509.ExtKeyUsage {
	if r == topology.RoleMaster {
		return []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	}
	return []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
}

func (ca *CA) template(p NodeProfile) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	now := ca.clock.Now()
	if !ca.clock.plausible() || !now.Before(ca.cert.NotAfter) {
		return nil, fmt.Errorf("the certificate authority: %w", &ClockError{Now: now, NotBefore: ca.cert.NotBefore, NotAfter: ca.cert.NotAfter})
	}
	notBefore := now.Add(-min(backdate, p.Lifetime/10))
	if notBefore.Before(ca.cert.NotBefore) {
		notBefore = ca.cert.NotBefore
	}
	notAfter := now.Add(p.Lifetime)
	if notAfter.After(ca.cert.NotAfter) {
		notAfter = ca.cert.NotAfter
	}
	names := append([]string{p.ID + "." + zone}, p.DNSNames...)
	if p.Role == topology.RoleMaster {
		names = append(names, MasterDNSName)
	}
	ips := make([]net.IP, 0, len(p.IPs))
	for _, ip := range p.IPs {
		ips = append(ips, net.IP(ip.Unmap().AsSlice()))
	}
	return &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: commonName(p.ID)},
		NotBefore:             notBefore,
		NotAfter:              notAfter,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           usages(p.Role),
		BasicConstraintsValid: true,
		DNSNames:              names,
		IPAddresses:           ips,
		URIs:                  []*url.URL{Peer{Cluster: ca.Cluster(), ID: p.ID, Role: p.Role}.uri()},
	}, nil
}
