package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
)

const (
	pemKey         = "PRIVATE KEY"
	pemCertificate = "CERTIFICATE"
)

// NodeID is the id of the node with this public key: "n-" and the first 12 hex
// digits of the SHA-256 of its SPKI in DER. Only ECDSA P-256 keys have one.
func NodeID(pub *ecdsa.PublicKey) (string, error) {
	if err := checkP256(pub); err != nil {
		return "", err
	}
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return "", fmt.Errorf("encode public key: %w", err)
	}
	sum := sha256.Sum256(der)
	return "n-" + hex.EncodeToString(sum[:6]), nil
}

// p256 returns the key as an ECDSA P-256 key, or says what else it is.
func p256(pub any) (*ecdsa.PublicKey, error) {
	k, ok := pub.(*ecdsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("the key is a %T, only ECDSA P-256 is accepted", pub)
	}
	return k, checkP256(k)
}

func checkP256(k *ecdsa.PublicKey) error {
	if k == nil || k.Curve == nil {
		return errors.New("there is no key, ECDSA P-256 is needed")
	}
	if k.Curve != elliptic.P256() {
		return fmt.Errorf("the key is on curve %s, only P-256 is accepted", k.Curve.Params().Name)
	}
	return nil
}

func newKey() (*ecdsa.PrivateKey, error) {
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

func encodeKey(k *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return nil, fmt.Errorf("encode private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: der}), nil
}

// parseKey never quotes what it was given.
func parseKey(b []byte) (*ecdsa.PrivateKey, error) {
	block, rest := pem.Decode(b)
	if block == nil || block.Type != pemKey || len(rest) > 0 {
		return nil, fmt.Errorf("%w: one PEM block of type %q is expected", ErrBadKey, pemKey)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: it is damaged", ErrBadKey)
	}
	k, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%w: it is a %T, ECDSA P-256 is expected", ErrBadKey, parsed)
	}
	if err := checkP256(&k.PublicKey); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadKey, err)
	}
	return k, nil
}

// loadKey reads a private key from a file that only its owner can read.
func loadKey(path string) (*ecdsa.PrivateKey, error) {
	b, err := readPrivate(path)
	if err != nil {
		return nil, err
	}
	k, err := parseKey(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return k, nil
}
