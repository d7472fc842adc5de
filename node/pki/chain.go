package pki

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"

	"piccolo.io/piccolo/topology"
)

// parseChain reads PEM certificates: at least one, at most four, nothing else.
func parseChain(b []byte) ([]*x509.Certificate, error) {
	const most = 4
	if len(b) > maxPEMFile {
		return nil, fmt.Errorf("%w: %d bytes are too many", ErrBadCertificate, len(b))
	}
	var certs []*x509.Certificate
	for rest := bytes.TrimSpace(b); len(rest) > 0; rest = bytes.TrimSpace(rest) {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil || block.Type != pemCertificate || len(certs) == most {
			return nil, fmt.Errorf("%w: 1 to %d PEM blocks of type %q are expected", ErrBadCertificate, most, pemCertificate)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrBadCertificate, err)
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("%w: it is empty", ErrBadCertificate)
	}
	return certs, nil
}

// ParseCACertificate reads the PEM of a cluster's CA certificate.
func ParseCACertificate(b []byte) (*x509.Certificate, error) {
	certs, err := parseChain(b)
	if err != nil {
		return nil, fmt.Errorf("read CA certificate: %w", err)
	}
	if len(certs) != 1 {
		return nil, fmt.Errorf("read CA certificate: %w: there are %d, one is expected", ErrBadCertificate, len(certs))
	}
	if err := checkCA(certs[0]); err != nil {
		return nil, fmt.Errorf("read CA certificate: %w", err)
	}
	return certs[0], nil
}

// checkCA accepts what NewCA makes.
func checkCA(cert *x509.Certificate) error {
	if !cert.IsCA || !cert.BasicConstraintsValid || len(cert.Subject.Organization) != 1 ||
		topology.ValidateName(cert.Subject.Organization[0]) != nil || cert.Subject.CommonName != caCommonName {
		return fmt.Errorf("%w: it is not a cluster's certificate authority", ErrBadCertificate)
	}
	if _, err := p256(cert.PublicKey); err != nil {
		return fmt.Errorf("%w: %w", ErrBadCertificate, err)
	}
	if err := cert.CheckSignatureFrom(cert); err != nil {
		return fmt.Errorf("%w: %w", ErrBadCertificate, err)
	}
	return nil
}

// verifyIssued checks that ca signed leaf for what its role needs, at whatever
// time, and returns whom it names.
func verifyIssued(leaf, ca *x509.Certificate) (Peer, error) {
	peer, err := CertificatePeer(leaf)
	if err != nil {
		return Peer{}, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	// The time is judged by checkTime, which can tell a wrong clock from an
	// expired certificate; here it must only not stand in the way.
	at := leaf.NotBefore
	if at.Before(ca.NotBefore) {
		at = ca.NotBefore
	}
	for _, usage := range usages(peer.Role) {
		_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{usage}})
		if err != nil {
			return Peer{}, fmt.Errorf("node %s of cluster %s: %w: %w", peer.ID, peer.Cluster, ErrOtherCluster, err)
		}
	}
	if peer.Cluster != ca.Subject.Organization[0] {
		return Peer{}, fmt.Errorf("node %s of cluster %s: %w", peer.ID, peer.Cluster, ErrOtherCluster)
	}
	return peer, nil
}

// checkTime judges a certificate that is known to be genuine and was in use
// just now. Before its start the clock is wrong, because the CA has signed it
// already. After its end it has expired; where the clock is further past the
// end than the certificate was ever valid, the clock is the likelier culprit,
// since a running master renews at two thirds.
func checkTime(leaf *x509.Certificate, now time.Time) error {
	clock := &ClockError{Now: now, NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter}
	past := now.Sub(leaf.NotAfter)
	switch {
	case now.Before(leaf.NotBefore):
		return clock
	case past <= 0:
		return nil
	case past > leaf.NotAfter.Sub(leaf.NotBefore) && past > 24*time.Hour:
		return clock
	}
	return fmt.Errorf("%w: it ended at %s, and this machine's clock says %s", ErrExpired, stamp(leaf.NotAfter), stamp(now))
}
