package pki

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"piccolo.io/piccolo/topology"
)

// DialTimeout bounds Dial, name resolution and handshake included.
const DialTimeout = 5 * time.Second

// alpn is what every piccolo port speaks. A fresh slice per configuration,
// because others may append to it.
func alpn() []string { return []string{"h2", "http/1.1"} }

// ServerTLS is what a master listens with: TLS 1.3, this node's certificate. A
// client may come without a certificate, and the API decides what it may do
// (see PeerID); one that shows a certificate must show a valid one of this
// cluster, by the trusted clock. revoked, if not nil, breaks off the handshake
// of a removed node; it is called on many goroutines at once. Prefer to refuse
// in the API, where the node can be told why.
func ServerTLS(source *Source, clock *Clock, revoked func(Peer) bool) *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(source.CA())
	cluster := source.CA().Subject.Organization[0]
	return &tls.Config{
		MinVersion:     tls.VersionTLS13,
		NextProtos:     alpn(),
		GetCertificate: source.GetCertificate,
		ClientAuth:     tls.VerifyClientCertIfGiven,
		ClientCAs:      pool,
		Time:           clock.Now,
		// Each connection is judged anew: a resumed one would carry a decision
		// from before a removal.
		SessionTicketsDisabled: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 0 {
				return nil
			}
			peer, err := PeerID(state)
			if err != nil {
				return err
			}
			if peer.Cluster != cluster {
				return fmt.Errorf("check certificate of node %s: %w", peer.ID, ErrOtherCluster)
			}
			return checkRevoked(peer, revoked)
		},
	}
}

func checkRevoked(peer Peer, revoked func(Peer) bool) error {
	if revoked != nil && revoked(peer) {
		return fmt.Errorf("check certificate of node %s: %w", peer.ID, ErrRevoked)
	}
	return nil
}

// ClientOptions says how a master is dialled.
type ClientOptions struct {
	// CA is the cluster's authority. Needed where Source is nil: a machine of
	// an administrator that has pinned it. With a Source its CA is used.
	CA *x509.Certificate
	// Source is this node's certificate. Nil: the client shows none.
	Source *Source
	// Anonymous keeps the Source's certificate back. A node does so when it
	// returns with an expired one, to have it renewed.
	Anonymous bool
	// Clock judges the master's certificate, and learns from it.
	Clock *Clock
	// Revoked, if not nil, refuses masters that were removed. It may be called
	// on several goroutines at once.
	Revoked func(Peer) bool
}

func (o *ClientOptions) validate() error {
	if o.Source != nil {
		o.CA = o.Source.CA()
	}
	switch {
	case o.CA == nil:
		return errors.New("option CA and Source are both missing")
	case o.Clock == nil:
		return errors.New("option Clock is missing")
	}
	return checkCA(o.CA)
}

// ClientTLS is what a member, or an administrator, dials a master with. The
// peer must show a certificate of the cluster's CA that names it a master;
// under which name or address it was dialled does not matter. The handshake
// fails with ErrNotPiccolo, ErrOtherCluster, ErrNotAMaster, ErrExpired,
// ErrClock or ErrRevoked; use Dial, or Explain, for what crypto/tls itself
// notices.
//
// A board whose clock is behind the master's certificate takes its NotBefore
// as proof of time and goes on: the CA has signed it, so that moment is over.
func ClientTLS(o ClientOptions) (*tls.Config, error) {
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("prepare TLS to a master: %w", err)
	}
	c := baseClient()
	c.Time = o.Clock.Now
	if o.Source != nil && !o.Anonymous {
		c.GetClientCertificate = o.Source.GetClientCertificate
	}
	c.VerifyConnection = func(state tls.ConnectionState) error {
		peer, err := verifyMaster(state, o.CA)
		if err != nil {
			return fmt.Errorf("check the master's certificate: %w", err)
		}
		if err := checkRevoked(peer, o.Revoked); err != nil {
			return err
		}
		leaf := state.PeerCertificates[0]
		if behind := o.Clock.Now().Before(leaf.NotBefore); behind {
			o.Clock.Raise(leaf.NotBefore)
		}
		if err := checkTime(leaf, o.Clock.Now()); err != nil {
			return fmt.Errorf("check certificate of master %s: %w", peer.ID, err)
		}
		return nil
	}
	return c, nil
}

// baseClient leaves the whole verification to VerifyConnection, which each
// user of it sets: crypto/tls can only verify names and addresses, and those
// are not what a node is. It still verifies that the peer holds the key of the
// certificate that it shows.
func baseClient() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		NextProtos:         alpn(),
		ServerName:         MasterDNSName,
		InsecureSkipVerify: true,
	}
}

func verifyMaster(state tls.ConnectionState, ca *x509.Certificate) (Peer, error) {
	if len(state.PeerCertificates) == 0 {
		return Peer{}, fmt.Errorf("%w: it shows no certificate", ErrNotPiccolo)
	}
	peer, err := verifyIssued(state.PeerCertificates[0], ca)
	if err != nil {
		return Peer{}, err
	}
	if peer.Role != topology.RoleMaster {
		return Peer{}, fmt.Errorf("node %s: %w", peer.ID, ErrNotAMaster)
	}
	return peer, nil
}

// Pinned holds the CA that a handshake with EnrolTLS has pinned.
type Pinned struct {
	ca atomic.Pointer[x509.Certificate]
}

// CAPEM is the cluster's CA certificate as a PEM block, nil before a handshake
// has succeeded.
func (p *Pinned) CAPEM() []byte {
	ca := p.ca.Load()
	if ca == nil {
		return nil
	}
	return encodePEM(ca)
}

// EnrolTLS is what a machine that knows only a token dials a master with: the
// chain that the peer shows must contain the CA with the token's fingerprint
// (see Fingerprint), and that CA must have issued the peer a master's
// certificate. The handshake fails with ErrNotPiccolo, ErrWrongFingerprint,
// ErrNotAMaster, ErrExpired or ErrClock. A clock that is wrong is refused here,
// unlike in ClientTLS, since a person is there to set it.
func EnrolTLS(fingerprint string, clock *Clock) (*tls.Config, *Pinned, error) {
	if b, err := hex.DecodeString(fingerprint); err != nil || len(b) != 16 {
		return nil, nil, fmt.Errorf("pin certificate authority: fingerprint %.40q is not 32 hex digits", fingerprint)
	}
	if clock == nil {
		return nil, nil, errors.New("pin certificate authority: Clock is missing")
	}
	pinned := new(Pinned)
	c := baseClient()
	c.Time = clock.Now
	c.VerifyConnection = func(state tls.ConnectionState) error {
		ca, err := findCA(state.PeerCertificates, fingerprint)
		if err != nil {
			return fmt.Errorf("check the master's certificate: %w", err)
		}
		peer, err := verifyMaster(state, ca)
		if err != nil {
			return fmt.Errorf("check the master's certificate: %w", err)
		}
		if err := checkTime(state.PeerCertificates[0], clock.Now()); err != nil {
			return fmt.Errorf("check certificate of master %s: %w", peer.ID, err)
		}
		pinned.ca.Store(ca)
		return nil
	}
	return c, pinned, nil
}

// findCA looks for the pinned CA behind the leaf.
func findCA(chain []*x509.Certificate, fingerprint string) (*x509.Certificate, error) {
	if len(chain) == 0 {
		return nil, fmt.Errorf("%w: it shows no certificate", ErrNotPiccolo)
	}
	found := ""
	for _, cert := range chain[1:] {
		if checkCA(cert) != nil {
			continue
		}
		found = Fingerprint(cert)
		if subtle.ConstantTimeCompare([]byte(found), []byte(fingerprint)) == 1 {
			return cert, nil
		}
	}
	if _, err := CertificatePeer(chain[0]); err != nil {
		return nil, err
	}
	if found == "" {
		return nil, fmt.Errorf("%w: it shows no certificate authority", ErrNotPiccolo)
	}
	return nil, fmt.Errorf("%w: the peer's is %s, the token's is %s (a token of another cluster, or somebody in between)", ErrWrongFingerprint, found, fingerprint)
}

// Dial connects and shakes hands within DialTimeout, or sooner if the context
// ends. Its errors have the causes of this package (see Explain).
func Dial(ctx context.Context, address string, config *tls.Config) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, DialTimeout)
	defer cancel()
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		if ctx.Err() != nil {
			return nil, fmt.Errorf("shake hands with %s: no answer: %w", address, ctx.Err())
		}
		return nil, fmt.Errorf("shake hands with %s: %w", address, Explain(err))
	}
	if conn.ConnectionState().NegotiatedProtocol == "" {
		raw.Close()
		return nil, fmt.Errorf("shake hands with %s: %w: it offers neither h2 nor http/1.1", address, ErrNotPiccolo)
	}
	return conn, nil
}
