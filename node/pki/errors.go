package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// What can be wrong with a peer, a certificate or a clock. Every error of this
// package that has one of these causes matches it with errors.Is.
var (
	// ErrWrongFingerprint: the peer is a piccolo master, of another cluster
	// than the one that the token belongs to.
	ErrWrongFingerprint = errors.New("the certificate authority's fingerprint is not the one in the token")
	// ErrOtherCluster: the certificate was not issued by this cluster's CA.
	ErrOtherCluster = errors.New("the certificate belongs to another cluster")
	// ErrNotAMaster: the peer belongs to the cluster, but is not a master.
	ErrNotAMaster = errors.New("the peer is not a master")
	// ErrNotPiccolo: whatever answers at that address is not piccolo.
	ErrNotPiccolo = errors.New("the peer is not piccolo")
	// ErrExpired: the certificate's time is over.
	ErrExpired = errors.New("the certificate has expired")
	// ErrClock: this machine's clock cannot be right. See ClockError.
	ErrClock = errors.New("this machine's clock is wrong")
	// ErrRevoked: the node was removed from the cluster.
	ErrRevoked = errors.New("the node's identity has been revoked")
	// ErrNoCertificate: the peer, or this node, has no certificate.
	ErrNoCertificate = errors.New("no certificate")
	// ErrBadCertificate: bytes or files that are not a certificate of piccolo.
	ErrBadCertificate = errors.New("not a valid piccolo certificate")
	// ErrBadCSR: a certificate request that is malformed or uses another
	// kind of key than ECDSA P-256.
	ErrBadCSR = errors.New("not a valid certificate request")
	// ErrBadKey: a key file that holds no ECDSA P-256 key.
	ErrBadKey = errors.New("not a valid private key")
	// ErrWrongKey: a certificate, or an id, that does not belong to the key.
	ErrWrongKey = errors.New("it does not belong to this key")
	// ErrNotProven: a request that was not made by the holder of its key on
	// the connection that it came over.
	ErrNotProven = errors.New("the sender did not prove that it holds the node's key")
	// ErrPermissions: a private file that others can read.
	ErrPermissions = errors.New("the file is open to other users")
)

// ClockError says that a certificate cannot be judged because this machine's
// clock is evidently wrong. It matches ErrClock.
type ClockError struct {
	// Now is what this machine takes the time to be.
	Now time.Time
	// NotBefore and NotAfter are the bounds of the peer's certificate, which
	// was in use at this moment.
	NotBefore, NotAfter time.Time
}

func (e *ClockError) Error() string {
	return fmt.Sprintf("%v: it says %s, but the peer uses a certificate that is valid from %s to %s; set the clock (timedatectl set-ntp true, or date -s) and try again",
		ErrClock, stamp(e.Now), stamp(e.NotBefore), stamp(e.NotAfter))
}

// Is makes a ClockError match ErrClock.
func (e *ClockError) Is(target error) bool { return target == ErrClock }

// FileError says which file of a data directory cannot be used.
type FileError struct {
	// Name within the directory.
	Name string
	Err  error
}

func (e *FileError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *FileError) Unwrap() error { return e.Err }

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// alerts are those of RFC 8446 §6 that tell why a peer broke off.
var alerts = []struct {
	code  tls.AlertError
	cause error
	what  string
}{
	{40, ErrNotPiccolo, "it refused the handshake"},
	{42, ErrBadCertificate, "the peer refused this node's certificate"},
	{44, ErrRevoked, "the peer refused this node's certificate"},
	{45, ErrExpired, "the peer refused this node's certificate"},
	{48, ErrOtherCluster, "the peer does not know who issued this node's certificate"},
	{70, ErrNotPiccolo, "it does not speak TLS 1.3"},
	{120, ErrNotPiccolo, "it speaks TLS, but neither h2 nor http/1.1"},
}

// Explain gives the errors of crypto/tls and crypto/x509 one of this package's
// causes where there is one, and returns all others as they are. Under TLS 1.3
// a server's refusal of the client's certificate arrives with the first read
// after the handshake, so errors of reads are worth explaining too.
func Explain(err error) error {
	var (
		record  tls.RecordHeaderError
		remote  *net.OpError
		unknown x509.UnknownAuthorityError
		invalid x509.CertificateInvalidError
	)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &record):
		return fmt.Errorf("%w: it does not speak TLS (is this the API port?): %w", ErrNotPiccolo, err)
	case errors.As(err, &remote) && remote.Op == "remote error":
		return explainAlert(remote.Err, err)
	case errors.As(err, &unknown):
		return fmt.Errorf("%w: %w", ErrOtherCluster, err)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Errorf("%w: %w", ErrExpired, err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("the peer closed the connection: %w", err)
	}
	return err
}

// explainAlert finds the alert by its text: crypto/tls wraps alerts of a
// connection in a type that it does not export, whose text is AlertError's.
func explainAlert(alert, err error) error {
	for _, a := range alerts {
		if alert.Error() == a.code.Error() {
			return fmt.Errorf("%w: %s: %w", a.cause, a.what, err)
		}
	}
	return err
}
