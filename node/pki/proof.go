package pki

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
)

const (
	// bindingLabel and bindingSize make the value that only the two ends of
	// one TLS connection know: tls-exporter of RFC 9266.
	bindingLabel = "EXPORTER-Channel-Binding"
	bindingSize  = 32
	// proofPurpose keeps a proof from being taken for any other signature of
	// the same key.
	proofPurpose = "piccolo: the sender of this registration holds this key\x00"
)

// Prove shows the other end of a TLS connection that this node's key is at
// hand now. A certificate request cannot: whoever once saw one can send it
// again. The proof is worth nothing on any other connection.
func (i *Identity) Prove(conn tls.ConnectionState) ([]byte, error) {
	digest, err := proofDigest(conn)
	if err != nil {
		return nil, err
	}
	proof, err := ecdsa.SignASN1(rand.Reader, i.key, digest)
	if err != nil {
		return nil, fmt.Errorf("prove the key of node %s: %w", i.id, err)
	}
	return proof, nil
}

// Proven is the id of the node whose key the other end of conn holds: that of
// the certificate request csr in DER, if proof was made with it by Prove on
// this connection. ErrBadCSR or ErrNotProven otherwise.
func Proven(conn tls.ConnectionState, csr, proof []byte) (id string, err error) {
	digest, err := proofDigest(conn)
	if err != nil {
		return "", err
	}
	// Not parseCSR: the request's own signature is checked where it counts.
	request, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		return "", fmt.Errorf("check the proof of a key: %w: %w", ErrBadCSR, err)
	}
	pub, err := p256(request.PublicKey)
	if err != nil {
		return "", fmt.Errorf("check the proof of a key: %w: %w", ErrBadCSR, err)
	}
	if !ecdsa.VerifyASN1(pub, digest, proof) {
		return "", fmt.Errorf("check the proof of a key: %w", ErrNotProven)
	}
	return NodeID(pub)
}

func proofDigest(conn tls.ConnectionState) ([]byte, error) {
	binding, err := conn.ExportKeyingMaterial(bindingLabel, nil, bindingSize)
	if err != nil {
		return nil, fmt.Errorf("bind a proof to its connection: %w", err)
	}
	digest := sha256.Sum256(append([]byte(proofPurpose), binding...))
	return digest[:], nil
}
