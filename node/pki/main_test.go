package pki

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"piccolo.io/piccolo/topology"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wallAt is a machine's clock that stands still.
func wallAt(t time.Time) func() time.Time { return func() time.Time { return t } }

func newClock(t testing.TB, wall func() time.Time) *Clock {
	t.Helper()
	c, err := NewClock(ClockOptions{Wall: wall})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newCA(t testing.TB, name string, clock *Clock) *CA {
	t.Helper()
	ca, err := NewCA(name, clock)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// newNode makes a key and a certificate in a folder of its own.
func newNode(t testing.TB, ca *CA, p NodeProfile) *Identity {
	t.Helper()
	id, err := CreateKey(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	enrol(t, ca, id, p)
	return id
}

func enrol(t testing.TB, ca *CA, id *Identity, p NodeProfile) Issued {
	t.Helper()
	p.ID = id.ID()
	issued, err := ca.SignNode(request(t, id), p)
	if err != nil {
		t.Fatal(err)
	}
	if err := id.SaveCertificate(issued.ChainPEM, ca.PEM()); err != nil {
		t.Fatal(err)
	}
	return issued
}

func request(t testing.TB, id *Identity) []byte {
	t.Helper()
	csr, err := id.CSR()
	if err != nil {
		t.Fatal(err)
	}
	return csr
}

func newSource(t testing.TB, id *Identity, clock *Clock) *Source {
	t.Helper()
	s, err := NewSource(id, clock)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var (
	masterProfile = NodeProfile{Role: topology.RoleMaster, IPs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, DNSNames: []string{"board-1"}}
	subProfile    = NodeProfile{Role: topology.RoleSub}
)

func readFile(t testing.TB, elem ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(elem...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
