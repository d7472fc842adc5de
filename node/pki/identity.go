package pki

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// Identity is a node's key and, once the node has joined, its certificate and
// the cluster's CA, in the files node.key, node.crt and ca.crt of a data
// directory (0600 all). It is safe for concurrent use within one process; the
// data directory's lock keeps others out.
type Identity struct {
	dir string
	key *ecdsa.PrivateKey
	id  string

	mu   sync.Mutex
	leaf *x509.Certificate
	ca   *x509.Certificate
}

// CreateKey makes a node's key in a data directory. A directory that has one
// already is left as it is: fs.ErrExist.
func CreateKey(dir string) (*Identity, error) {
	path := filepath.Join(dir, NodeKeyFile)
	if _, err := os.Lstat(path); err == nil {
		return nil, fmt.Errorf("create node key %s: %w", path, fs.ErrExist)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("create node key: %w", err)
	}
	key, err := newKey()
	if err != nil {
		return nil, fmt.Errorf("create node key: %w", err)
	}
	b, err := encodeKey(key)
	if err != nil {
		return nil, fmt.Errorf("create node key: %w", err)
	}
	if err := writeFile(path, b); err != nil {
		return nil, fmt.Errorf("create node key: %w", err)
	}
	return newIdentity(dir, key)
}

// LoadIdentity reads what CreateKey and SaveCertificate have written. Without
// a key the error matches fs.ErrNotExist; without a certificate the node has
// not joined yet and Enrolled is false. A key that others can read
// (ErrPermissions), a damaged file (ErrBadKey, ErrBadCertificate) and a
// certificate of another key (ErrWrongKey) are refused. An expired certificate
// is not: the node can still prove who it is. Errors are *FileError.
func LoadIdentity(dir string) (*Identity, error) {
	id, err := loadIdentity(dir)
	if err != nil {
		return nil, err
	}
	if _, err := os.Lstat(filepath.Join(dir, NodeCrtFile)); errors.Is(err, fs.ErrNotExist) {
		return id, nil
	}
	if err := id.loadCA(); err != nil {
		return nil, err
	}
	return id, id.loadCertificate()
}

// LoadMember is LoadIdentity for a node that has joined. A certificate that is
// missing or damaged is not refused, but told as lost: the key and the CA are
// enough to get another one.
func LoadMember(dir string) (id *Identity, lost, err error) {
	if id, err = loadIdentity(dir); err != nil {
		return nil, nil, err
	}
	if err := id.loadCA(); err != nil {
		return nil, nil, err
	}
	switch err := id.loadCertificate(); {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, ErrBadCertificate):
		return id, err, nil
	case err != nil:
		return nil, nil, err
	}
	return id, nil, nil
}

func loadIdentity(dir string) (*Identity, error) {
	key, err := loadKey(filepath.Join(dir, NodeKeyFile))
	if err != nil {
		return nil, &FileError{NodeKeyFile, fmt.Errorf("load node key: %w", err)}
	}
	return newIdentity(dir, key)
}

func (i *Identity) loadCA() error {
	ca, err := loadCACertificate(filepath.Join(i.dir, CACrtFile))
	if err != nil {
		return &FileError{CACrtFile, fmt.Errorf("load cluster's CA: %w", err)}
	}
	i.ca = ca
	return nil
}

// loadCertificate reads node.crt, when the CA is there.
func (i *Identity) loadCertificate() error {
	crt := filepath.Join(i.dir, NodeCrtFile)
	chain, err := readBounded(crt, maxPEMFile)
	if err != nil {
		return &FileError{NodeCrtFile, fmt.Errorf("load node certificate: %w", err)}
	}
	leaf, err := i.check(chain, i.ca)
	if err != nil {
		return &FileError{NodeCrtFile, fmt.Errorf("load node certificate %s: %w", crt, err)}
	}
	i.leaf = leaf
	return nil
}

func newIdentity(dir string, key *ecdsa.PrivateKey) (*Identity, error) {
	id, err := NodeID(&key.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("derive node id: %w", err)
	}
	return &Identity{dir: dir, key: key, id: id}, nil
}

func loadCACertificate(path string) (*x509.Certificate, error) {
	b, err := readBounded(path, maxPEMFile)
	if err != nil {
		return nil, err
	}
	cert, err := ParseCACertificate(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return cert, nil
}

// check accepts a chain whose leaf is of this key and was issued by ca.
func (i *Identity) check(chainPEM []byte, ca *x509.Certificate) (*x509.Certificate, error) {
	chain, err := parseChain(chainPEM)
	if err != nil {
		return nil, err
	}
	leaf := chain[0]
	if !i.key.PublicKey.Equal(leaf.PublicKey) {
		return nil, fmt.Errorf("%w (%s)", ErrWrongKey, filepath.Join(i.dir, NodeKeyFile))
	}
	if _, err := verifyIssued(leaf, ca); err != nil {
		return nil, err
	}
	return leaf, nil
}

// ID is the node's id, which is derived from its key.
func (i *Identity) ID() string { return i.id }

// Enrolled reports whether the node has a certificate.
func (i *Identity) Enrolled() bool { return i.Certificate() != nil }

// Certificate is the node's certificate, nil before it has one.
func (i *Identity) Certificate() *x509.Certificate {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.leaf
}

// CA is the certificate of the cluster's CA, nil before the node has joined.
func (i *Identity) CA() *x509.Certificate {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.ca
}

// Peer is what the node's certificate says of it. ErrNoCertificate before it
// has one.
func (i *Identity) Peer() (Peer, error) {
	leaf := i.Certificate()
	if leaf == nil {
		return Peer{}, fmt.Errorf("read own certificate of node %s: %w", i.id, ErrNoCertificate)
	}
	return CertificatePeer(leaf)
}

// CSR is a fresh certificate request in DER, signed by the node's key. It asks
// for nothing: the registrar decides what a certificate says.
func (i *Identity) CSR() ([]byte, error) {
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: commonName(i.id)}}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, i.key)
	if err != nil {
		return nil, fmt.Errorf("make certificate request: %w", err)
	}
	return der, nil
}

// SaveCertificate checks and keeps a new certificate: the node's and the CA's
// in PEM. It must be of this node's key (ErrWrongKey) and issued by this
// cluster's CA; a node that has joined never changes its CA (ErrOtherCluster).
// caPEM may be nil when the node has joined. Each file is replaced atomically,
// the CA's first, so that a power cut leaves the node either not joined or
// joined. The CA certificate of a first call must have been pinned (EnrolTLS).
func (i *Identity) SaveCertificate(chainPEM, caPEM []byte) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	ca := i.ca
	if caPEM != nil {
		given, err := ParseCACertificate(caPEM)
		if err != nil {
			return fmt.Errorf("save node certificate: %w", err)
		}
		if ca != nil && !ca.Equal(given) {
			return fmt.Errorf("save node certificate: a CA with fingerprint %s instead of %s: %w", Fingerprint(given), Fingerprint(ca), ErrOtherCluster)
		}
		ca = given
	}
	if ca == nil {
		return fmt.Errorf("save node certificate: %w of the CA was given", ErrNoCertificate)
	}
	leaf, err := i.check(chainPEM, ca)
	if err != nil {
		return fmt.Errorf("save node certificate: %w", err)
	}
	if i.ca == nil {
		if err := writeFile(filepath.Join(i.dir, CACrtFile), encodePEM(ca)); err != nil {
			return fmt.Errorf("save node certificate: %w", err)
		}
	}
	if err := writeFile(filepath.Join(i.dir, NodeCrtFile), encodePEM(leaf, ca)); err != nil {
		return fmt.Errorf("save node certificate: %w", err)
	}
	i.leaf, i.ca = leaf, ca
	return nil
}

// tlsCertificate is the certificate with its chain and key; nil before the
// node has one.
func (i *Identity) tlsCertificate() *tls.Certificate {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.leaf == nil {
		return nil
	}
	return &tls.Certificate{Certificate: [][]byte{i.leaf.Raw, i.ca.Raw}, PrivateKey: i.key, Leaf: i.leaf}
}
