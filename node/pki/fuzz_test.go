package pki

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/url"
	"testing"

	"piccolo.io/piccolo/topology"
)

func FuzzParseCSR(f *testing.F) {
	id, err := CreateKey(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(request(f, id))
	f.Add([]byte{})
	ca := newCA(f, "home", newClock(f, nil))
	f.Add(ca.Certificate().Raw)
	f.Fuzz(func(t *testing.T, der []byte) {
		node, err := ParseCSR(der)
		if err != nil {
			if !errors.Is(err, ErrBadCSR) {
				t.Fatal(err)
			}
			return
		}
		issued, err := ca.SignNode(der, NodeProfile{ID: node, Role: topology.RoleSub})
		if err != nil {
			t.Fatal(err)
		}
		if p, err := verifyIssued(issued.Leaf, ca.Certificate()); err != nil || p.ID != node || p.Role != topology.RoleSub {
			t.Fatalf("issued %+v, %v", p, err)
		}
	})
}

func FuzzParseChain(f *testing.F) {
	ca := newCA(f, "home", newClock(f, nil))
	id := newNode(f, ca, masterProfile)
	f.Add(readFile(f, id.dir, NodeCrtFile))
	f.Add(ca.PEM())
	f.Add(readFile(f, id.dir, NodeKeyFile))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if cert, err := ParseCACertificate(b); err != nil && !errors.Is(err, ErrBadCertificate) {
			t.Fatal(err)
		} else if err == nil && len(Fingerprint(cert)) != 32 {
			t.Fatal("bad fingerprint")
		}
		chain, err := parseChain(b)
		if err != nil {
			return
		}
		again, err := parseChain(encodePEM(chain...))
		if err != nil || len(again) != len(chain) {
			t.Fatalf("%d certificates, written and read %d, %v", len(chain), len(again), err)
		}
		_, _ = findCA(chain, ca.Fingerprint())
	})
}

// FuzzCertificatePeer reads what a peer may show in a handshake.
func FuzzCertificatePeer(f *testing.F) {
	ca := newCA(f, "home", newClock(f, nil))
	f.Add(newNode(f, ca, masterProfile).Certificate().Raw)
	f.Add(ca.Certificate().Raw)
	f.Fuzz(func(t *testing.T, der []byte) {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return
		}
		p, err := CertificatePeer(cert)
		if err == nil && (!p.Role.Valid() || !nodeIDPattern.MatchString(p.ID)) {
			t.Fatalf("accepted %+v", p)
		}
		_, _ = verifyIssued(cert, ca.Certificate())
	})
}

func FuzzPeerURI(f *testing.F) {
	f.Add("piccolo://cluster/home/node/n-0123456789ab?role=master")
	f.Add("piccolo://cluster/home/node/n-0123456789ab?role=master&role=sub")
	f.Add("piccolo://cluster/home/node/n-0123456789ab?role=master#x")
	f.Add("piccolo://u@cluster:1/home%2f/node/n-0123456789ab?role=sub")
	f.Fuzz(func(t *testing.T, s string) {
		u, err := url.Parse(s)
		if err != nil {
			return
		}
		if p, err := parseURI(u); err == nil && p.uri().String() != u.String() {
			t.Fatalf("%q was read as %q", s, p.uri())
		}
	})
}

func FuzzParseKey(f *testing.F) {
	key, err := newKey()
	if err != nil {
		f.Fatal(err)
	}
	b, err := encodeKey(key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: []byte("x")}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if k, err := parseKey(b); err != nil && !errors.Is(err, ErrBadKey) {
			t.Fatal(err)
		} else if err == nil {
			if _, err := NodeID(&k.PublicKey); err != nil {
				t.Fatal(err)
			}
		}
	})
}
