package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"piccolo.io/piccolo/topology"
)

func TestSignNode(t *testing.T) {
	now := built.AddDate(0, 0, 3)
	clock := newClock(t, wallAt(now))
	ca := newCA(t, "home", clock)
	id := newNode(t, ca, masterProfile)
	leaf := id.Certificate()
	if leaf.Subject.CommonName != "node:"+id.ID() {
		t.Errorf("common name %q", leaf.Subject.CommonName)
	}
	if want := "piccolo://cluster/home/node/" + id.ID() + "?role=master"; leaf.URIs[0].String() != want {
		t.Errorf("URI %q, want %q", leaf.URIs[0], want)
	}
	if !leaf.NotBefore.Equal(now.Add(-time.Hour)) || !leaf.NotAfter.Equal(now.Add(DefaultLifetime)) {
		t.Errorf("valid from %s to %s", leaf.NotBefore, leaf.NotAfter)
	}
	for _, name := range []string{"127.0.0.1", "board-1", MasterDNSName, id.ID() + ".piccolo.internal"} {
		if err := leaf.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	peer, err := id.Peer()
	if err != nil || peer.Cluster != "home" || peer.ID != id.ID() || peer.Role != topology.RoleMaster || len(peer.Serial) < 32 {
		t.Errorf("peer %+v, %v", peer, err)
	}
	if leaf.IsCA || leaf.SerialNumber.BitLen() < 64 {
		t.Errorf("CA %v, serial of %d bits", leaf.IsCA, leaf.SerialNumber.BitLen())
	}
	sub := newNode(t, ca, subProfile)
	if sub.Certificate().VerifyHostname(MasterDNSName) == nil {
		t.Error("a sub's certificate carries the masters' name")
	}
}

// What a request asks for is not what it gets.
func TestRequestDecidesNothing(t *testing.T) {
	ca := newCA(t, "home", newClock(t, nil))
	key, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	u, _ := url.Parse("piccolo://cluster/home/node/n-000000000000?role=master")
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject:     pkix.Name{CommonName: "node:n-000000000000", Organization: []string{"x"}},
		DNSNames:    []string{MasterDNSName},
		IPAddresses: []net.IP{{10, 0, 0, 1}},
		URIs:        []*url.URL{u},
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	id, err := ParseCSR(csr)
	if err != nil {
		t.Fatal(err)
	}
	issued, err := ca.SignNode(csr, NodeProfile{ID: id, Role: topology.RoleSub})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(issued.Leaf.DNSNames, []string{id + ".piccolo.internal"}) || len(issued.Leaf.IPAddresses) != 0 ||
		len(issued.Leaf.URIs) != 1 || issued.Leaf.URIs[0].String() == u.String() || len(issued.Leaf.Subject.Organization) != 0 {
		t.Errorf("the certificate took over what was asked for: %+v", issued.Leaf.Subject)
	}
}

func TestBadRequests(t *testing.T) {
	ca := newCA(t, "home", newClock(t, nil))
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	rsaKey, _ := rsa.GenerateKey(rand.Reader, 2048)
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	p256, _ := newKey()
	make := func(key crypto.Signer, names ...string) []byte {
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: names}, key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	good := make(p256)
	forged := slices.Clone(good)
	forged[len(forged)-1] ^= 1
	for name, csr := range map[string][]byte{
		"empty": nil, "garbage": []byte("hello"), "truncated": good[:len(good)-5], "trailing": append(slices.Clone(good), 0),
		"P-384": make(p384), "RSA": make(rsaKey), "Ed25519": make(ed), "signature": forged,
		"huge": make(p256, strings.Repeat("a", MaxCSR)), "a certificate": ca.Certificate().Raw,
	} {
		if _, err := ca.SignNode(csr, NodeProfile{ID: "n-000000000000", Role: topology.RoleSub}); !errors.Is(err, ErrBadCSR) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ca.SignNode(good, NodeProfile{ID: "n-000000000000", Role: topology.RoleSub}); !errors.Is(err, ErrWrongKey) {
		t.Errorf("another's id: %v", err)
	}
}

func TestProfileIsChecked(t *testing.T) {
	ca := newCA(t, "home", newClock(t, nil))
	id, err := CreateKey(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	many := slices.Repeat([]string{"a"}, 33)
	for name, c := range map[string]struct {
		field string
		p     NodeProfile
	}{
		"id":          {"ID", NodeProfile{ID: "n-xyz", Role: topology.RoleSub}},
		"role":        {"Role", NodeProfile{ID: id.ID(), Role: "boss"}},
		"short":       {"Lifetime", NodeProfile{ID: id.ID(), Role: topology.RoleSub, Lifetime: time.Second}},
		"long":        {"Lifetime", NodeProfile{ID: id.ID(), Role: topology.RoleSub, Lifetime: 400 * 24 * time.Hour}},
		"any address": {"IPs", NodeProfile{ID: id.ID(), Role: topology.RoleSub, IPs: []netip.Addr{netip.IPv4Unspecified()}}},
		"no address":  {"IPs", NodeProfile{ID: id.ID(), Role: topology.RoleSub, IPs: []netip.Addr{{}}}},
		"wildcard":    {"DNSNames", NodeProfile{ID: id.ID(), Role: topology.RoleSub, DNSNames: []string{"*.home"}}},
		"masters":     {"DNSNames", NodeProfile{ID: id.ID(), Role: topology.RoleSub, DNSNames: []string{"Master.Piccolo.Internal"}}},
		"unicode":     {"DNSNames", NodeProfile{ID: id.ID(), Role: topology.RoleSub, DNSNames: []string{"bücher"}}},
		"too many":    {"DNSNames", NodeProfile{ID: id.ID(), Role: topology.RoleSub, DNSNames: many}},
	} {
		if _, err := ca.SignNode(request(t, id), c.p); err == nil || !strings.Contains(err.Error(), c.field) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCAAndWrongClocks(t *testing.T) {
	// Made in 1970: the build time is the start, and later everything is good.
	early, err := NewClock(ClockOptions{Build: built, Wall: wallAt(year1970)})
	if err != nil {
		t.Fatal(err)
	}
	ca := newCA(t, "home", early)
	if ca.Certificate().NotBefore.Before(built.Add(-2*time.Hour)) || ca.Certificate().NotAfter.Before(built.AddDate(19, 0, 0)) {
		t.Errorf("valid from %s to %s", ca.Certificate().NotBefore, ca.Certificate().NotAfter)
	}
	leaf := newNode(t, ca, subProfile).Certificate()
	if leaf.NotBefore.Before(ca.Certificate().NotBefore) {
		t.Error("a certificate begins before the CA's")
	}
	late, err := NewClock(ClockOptions{Build: built, Wall: wallAt(year2099)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewCA("home", late); !errors.Is(err, ErrClock) {
		t.Errorf("made in 2099: %v", err)
	}
	ca.clock = late
	id, err := CreateKey(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ca.SignNode(request(t, id), NodeProfile{ID: id.ID(), Role: topology.RoleSub}); !errors.Is(err, ErrClock) {
		t.Errorf("signed in 2099: %v", err)
	}
}
