package pki

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"sync/atomic"
)

// Source is the certificate that a node shows now. A renewed one takes its
// place without a restart: it is what the TLS configurations ask at each
// handshake. Connections that stand keep the certificate they began with. It
// is safe for concurrent use.
type Source struct {
	identity *Identity
	clock    *Clock
	current  atomic.Pointer[tls.Certificate]
}

// NewSource starts with the certificate of an enrolled identity;
// ErrNoCertificate for one that is not. Its NotBefore is proof for the clock.
// Where the certificate is lost, and only the CA is there, the source begins
// with an empty one that ended at the zero time: like any other that ran out,
// it is never shown, and waits for Replace.
func NewSource(identity *Identity, clock *Clock) (*Source, error) {
	s := &Source{identity: identity, clock: clock}
	cert := identity.tlsCertificate()
	switch {
	case cert != nil:
		clock.Raise(cert.Leaf.NotBefore)
	case identity.CA() != nil:
		cert = &tls.Certificate{Leaf: new(x509.Certificate)}
	default:
		return nil, fmt.Errorf("use certificate of node %s: %w", identity.ID(), ErrNoCertificate)
	}
	s.current.Store(cert)
	return s, nil
}

// Current is the certificate in use. It must not be changed. NotAfter is zero
// where it is lost.
func (s *Source) Current() *x509.Certificate { return s.current.Load().Leaf }

// CA is the certificate of the cluster's CA.
func (s *Source) CA() *x509.Certificate { return s.identity.CA() }

// Replace checks a new chain in PEM, keeps it on disk and only then shows it
// to peers. An error leaves the certificate in use as it was.
func (s *Source) Replace(chainPEM []byte) error {
	if err := s.identity.SaveCertificate(chainPEM, nil); err != nil {
		return err
	}
	cert := s.identity.tlsCertificate()
	s.clock.Raise(cert.Leaf.NotBefore)
	s.current.Store(cert)
	return nil
}

// GetCertificate is for tls.Config of a server.
func (s *Source) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return s.current.Load(), nil
}

// GetClientCertificate is for tls.Config of a client. A certificate that has
// expired is not shown, because a server would break off: the node is then a
// stranger to the server, which may still renew what belongs to its key.
func (s *Source) GetClientCertificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	cert := s.current.Load()
	if s.clock.Now().After(cert.Leaf.NotAfter) {
		return new(tls.Certificate), nil
	}
	return cert, nil
}
