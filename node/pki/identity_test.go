package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestIdentityLives(t *testing.T) {
	clock := newClock(t, nil)
	ca := newCA(t, "home", clock)
	dir := t.TempDir()
	if _, err := LoadIdentity(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("an empty folder: %v", err)
	}
	id, err := CreateKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := CreateKey(dir); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("a second key: %v", err)
	}
	if _, err := NewSource(id, clock); !errors.Is(err, ErrNoCertificate) {
		t.Fatalf("a source without a certificate: %v", err)
	}
	half, err := LoadIdentity(dir)
	if err != nil || half.Enrolled() || half.ID() != id.ID() || !nodeIDPattern.MatchString(id.ID()) {
		t.Fatalf("before the certificate: %v, %v", half, err)
	}
	enrol(t, ca, half, masterProfile)
	back, err := LoadIdentity(dir)
	if err != nil || !back.Enrolled() || !back.Certificate().Equal(half.Certificate()) || !back.CA().Equal(ca.Certificate()) {
		t.Fatalf("after: %v", err)
	}
	for _, name := range []string{NodeKeyFile, NodeCrtFile, CACrtFile} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

// The files are what etcd's peers load, as they are.
func TestFilesServeAsTheyAre(t *testing.T) {
	ca := newCA(t, "home", newClock(t, nil))
	id := newNode(t, ca, masterProfile)
	pair, err := tls.LoadX509KeyPair(filepath.Join(id.dir, NodeCrtFile), filepath.Join(id.dir, NodeKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	if len(pair.Certificate) != 2 {
		t.Fatalf("%d certificates in the chain, want the node's and the CA's", len(pair.Certificate))
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(readFile(t, id.dir, CACrtFile)) {
		t.Fatal("ca.crt holds no certificate")
	}
	for _, use := range []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth} {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: MasterDNSName, KeyUsages: []x509.ExtKeyUsage{use}}); err != nil {
			t.Error(err)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	clock := newClock(t, nil)
	ca, other := newCA(t, "home", clock), newCA(t, "home", clock)
	stranger := newNode(t, ca, subProfile)
	write := func(name string, b []byte) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	crt := func(name string) []byte { return readFile(t, stranger.dir, name) }
	for name, c := range map[string]struct {
		harm func(*testing.T, string)
		want error
	}{
		"key open to the group": {func(t *testing.T, dir string) {
			if err := os.Chmod(filepath.Join(dir, NodeKeyFile), 0o640); err != nil {
				t.Fatal(err)
			}
		}, ErrPermissions},
		"key empty":            {write(NodeKeyFile, nil), ErrBadKey},
		"key half written":     {write(NodeKeyFile, crt(NodeKeyFile)[:100]), ErrBadKey},
		"key huge":             {write(NodeKeyFile, make([]byte, 1<<20)), errTooLarge},
		"key of another":       {write(NodeKeyFile, crt(NodeKeyFile)), ErrWrongKey},
		"certificate empty":    {write(NodeCrtFile, nil), ErrBadCertificate},
		"certificate cut":      {write(NodeCrtFile, crt(NodeCrtFile)[:200]), ErrBadCertificate},
		"certificate: a key":   {write(NodeCrtFile, crt(NodeKeyFile)), ErrBadCertificate},
		"another's":            {write(NodeCrtFile, crt(NodeCrtFile)), ErrWrongKey},
		"CA of another":        {write(CACrtFile, other.PEM()), ErrOtherCluster},
		"CA is no CA":          {write(CACrtFile, crt(NodeCrtFile)), ErrBadCertificate},
		"certificate, no CA":   {func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, CACrtFile)) }, fs.ErrNotExist},
		"key gone, cert there": {func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, NodeKeyFile)) }, fs.ErrNotExist},
	} {
		t.Run(name, func(t *testing.T) {
			id := newNode(t, ca, subProfile)
			c.harm(t, id.dir)
			_, err := LoadIdentity(id.dir)
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if c.want == ErrPermissions && !strings.Contains(err.Error(), "chmod 600") {
				t.Errorf("the error does not say how to mend it: %v", err)
			}
		})
	}
}

func TestSaveCertificateRefuses(t *testing.T) {
	clock := newClock(t, nil)
	ca, other := newCA(t, "home", clock), newCA(t, "home", clock)
	id, stranger := newNode(t, ca, subProfile), newNode(t, ca, subProfile)
	before := id.Certificate()
	foreign, err := other.SignNode(request(t, id), NodeProfile{ID: id.ID(), Role: subProfile.Role})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		chain, ca []byte
		want      error
	}{
		"garbage":              {[]byte("x"), nil, ErrBadCertificate},
		"empty":                {nil, nil, ErrBadCertificate},
		"another node's":       {readFile(t, stranger.dir, NodeCrtFile), nil, ErrWrongKey},
		"of another CA":        {foreign.ChainPEM, nil, ErrOtherCluster},
		"with another CA":      {foreign.ChainPEM, other.PEM(), ErrOtherCluster},
		"with a node for a CA": {readFile(t, id.dir, NodeCrtFile), readFile(t, id.dir, NodeCrtFile), ErrBadCertificate},
	} {
		if err := id.SaveCertificate(c.chain, c.ca); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if !id.Certificate().Equal(before) {
		t.Error("a refused certificate took the place of the good one")
	}
	fresh, err := CreateKey(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	issued, err := ca.SignNode(request(t, fresh), NodeProfile{ID: fresh.ID(), Role: subProfile.Role})
	if err != nil {
		t.Fatal(err)
	}
	if err := fresh.SaveCertificate(issued.ChainPEM, nil); !errors.Is(err, ErrNoCertificate) {
		t.Errorf("a first certificate without a CA: %v", err)
	}
}

func TestCAFiles(t *testing.T) {
	clock := newClock(t, nil)
	ca, other := newCA(t, "home", clock), newCA(t, "home", clock)
	dir := t.TempDir()
	for range 2 { // saving the same authority again changes nothing
		if err := ca.Save(dir); err != nil {
			t.Fatal(err)
		}
	}
	if err := other.Save(dir); !errors.Is(err, fs.ErrExist) {
		t.Errorf("another authority over it: %v", err)
	}
	back, err := LoadCA(dir, clock)
	if err != nil || back.Fingerprint() != ca.Fingerprint() || back.Cluster() != "home" || len(ca.Fingerprint()) != 32 {
		t.Fatalf("loaded %v, %v", back, err)
	}
	newNode(t, back, subProfile)
	key := filepath.Join(dir, CAKeyFile)
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadCA(dir, clock); !errors.Is(err, ErrPermissions) {
		t.Errorf("open to others: %v", err)
	}
	if err := os.Chmod(key, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, CACrtFile), other.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadCA(dir, clock); !errors.Is(err, ErrWrongKey) {
		t.Errorf("another's certificate: %v", err)
	}
	if _, err := NewCA("Not A Name", clock); err == nil {
		t.Error("a name that is none was accepted")
	}
}
