package pki

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"piccolo.io/piccolo/topology"
)

const (
	caLifetime = 20 * 365 * 24 * time.Hour
	// backdate lets boards whose clock is a little behind accept a new
	// certificate at once. Short-lived certificates are backdated by less.
	backdate = time.Hour
	// caCommonName is the subject of every cluster's CA; the cluster's name is
	// its organisation.
	caCommonName = "piccolo cluster CA"
)

// CA is a cluster's certificate authority. Only masters have one. It is safe
// for concurrent use.
type CA struct {
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
	clock *Clock
}

// NewCA makes the authority of a new cluster: an ECDSA P-256 key and a
// certificate of 20 years. The name is one that topology.ValidateName accepts.
// A clock decades in the future is refused with ErrClock, since the cluster
// would have to live with it; one in the past is corrected by the Clock.
func NewCA(cluster string, clock *Clock) (*CA, error) {
	if err := topology.ValidateName(cluster); err != nil {
		return nil, fmt.Errorf("make certificate authority: cluster %w", err)
	}
	now := clock.Now()
	if !clock.plausible() {
		return nil, fmt.Errorf("make certificate authority: %w: it says %s; set the clock and try again", ErrClock, stamp(now))
	}
	key, err := newKey()
	if err != nil {
		return nil, fmt.Errorf("make certificate authority: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, fmt.Errorf("make certificate authority: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: caCommonName, Organization: []string{cluster}},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(caLifetime),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("make certificate authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make certificate authority: %w", err)
	}
	return &CA{cert: cert, key: key, clock: clock}, nil
}

// newSerial is 128 random bits, made positive as RFC 5280 §4.1.2.2 asks.
func newSerial() (*big.Int, error) {
	limit := new(big.Int).Lsh(big.NewInt(1), 128)
	n, err := rand.Int(rand.Reader, limit)
	if err != nil {
		return nil, fmt.Errorf("make serial number: %w", err)
	}
	return n.Add(n, big.NewInt(1)), nil
}

// LoadCA reads ca.crt and ca.key from a data directory. It fails where the key
// is open to others (ErrPermissions), damaged (ErrBadKey), or not the
// certificate's (ErrWrongKey).
func LoadCA(dir string, clock *Clock) (*CA, error) {
	cert, err := loadCACertificate(filepath.Join(dir, CACrtFile))
	if err != nil {
		return nil, fmt.Errorf("load certificate authority: %w", err)
	}
	keyPath := filepath.Join(dir, CAKeyFile)
	key, err := loadKey(keyPath)
	if err != nil {
		return nil, fmt.Errorf("load certificate authority: %w", err)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, fmt.Errorf("load certificate authority: %s: %w (%s)", filepath.Join(dir, CACrtFile), ErrWrongKey, keyPath)
	}
	clock.Raise(cert.NotBefore)
	return &CA{cert: cert, key: key, clock: clock}, nil
}

// Save writes ca.key and ca.crt (0600 both) into a data directory. An existing
// authority with another key is never overwritten: fs.ErrExist.
func (ca *CA) Save(dir string) error {
	keyPath := filepath.Join(dir, CAKeyFile)
	if _, err := os.Lstat(keyPath); err == nil {
		old, err := loadKey(keyPath)
		if err != nil || !old.Equal(ca.key) {
			return fmt.Errorf("save certificate authority: %s: %w", keyPath, fs.ErrExist)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("save certificate authority: %w", err)
	}
	key, err := encodeKey(ca.key)
	if err != nil {
		return fmt.Errorf("save certificate authority: %w", err)
	}
	if err := writeFile(keyPath, key); err != nil {
		return fmt.Errorf("save certificate authority: %w", err)
	}
	if err := writeFile(filepath.Join(dir, CACrtFile), ca.PEM()); err != nil {
		return fmt.Errorf("save certificate authority: %w", err)
	}
	return nil
}

// Certificate is the CA's own certificate. It must not be changed.
func (ca *CA) Certificate() *x509.Certificate { return ca.cert }

// PEM is the CA's own certificate as a PEM block.
func (ca *CA) PEM() []byte { return encodePEM(ca.cert) }

// Cluster is the name under which the CA was made.
func (ca *CA) Cluster() string { return ca.cert.Subject.Organization[0] }

// Fingerprint is what tokens carry to pin this authority.
func (ca *CA) Fingerprint() string { return Fingerprint(ca.cert) }

// Fingerprint is the first 16 bytes of the SHA-256 of a CA's certificate in
// DER, as 32 hex digits.
func Fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(sum[:16])
}

func encodePEM(certs ...*x509.Certificate) []byte {
	var out []byte
	for _, c := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: c.Raw})...)
	}
	return out
}
