package store_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/store/storetest"
)

// testCA signs certificates for nodes of a test.
type testCA struct {
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	dir    string
	serial int64
}

func newCA(t testing.TB) *testCA {
	t.Helper()
	ca := &testCA{dir: t.TempDir()}
	ca.key = must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der := must[[]byte](t)(x509.CreateCertificate(rand.Reader, template, template, &ca.key.PublicKey, ca.key))
	ca.cert = must[*x509.Certificate](t)(x509.ParseCertificate(der))
	writePEM(t, ca.file("ca.crt"), "CERTIFICATE", der)
	return ca
}

func (ca *testCA) file(name string) string { return filepath.Join(ca.dir, name) }

// peerName is what only masters have in their certificates.
const peerName = "master.piccolo.internal"

// issue writes name.crt and name.key, in place of older ones, and returns the
// serial number. The certificate bears these names and addresses beside its own.
func (ca *testCA) issue(t testing.TB, name string, names ...string) int64 {
	t.Helper()
	ca.serial++
	key := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{SerialNumber: big.NewInt(ca.serial), Subject: pkix.Name{CommonName: "node:" + name},
		NotAfter: time.Now().Add(time.Hour), DNSNames: []string{name + ".piccolo.internal"}, IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	der := must[[]byte](t)(x509.CreateCertificate(rand.Reader, template, ca.cert, &key.PublicKey, ca.key))
	writePEM(t, ca.file(name+".crt"), "CERTIFICATE", der)
	writePEM(t, ca.file(name+".key"), "PRIVATE KEY", must[[]byte](t)(x509.MarshalPKCS8PrivateKey(key)))
	return ca.serial
}

func (ca *testCA) tls(name string) store.PeerTLS {
	return store.PeerTLS{CertFile: ca.file(name + ".crt"), KeyFile: ca.file(name + ".key"), CAFile: ca.file("ca.crt"), PeerName: peerName}
}

func writePEM(t testing.TB, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// dial shakes hands with the peer port as name ("": without certificate) and
// returns the server's serial number. A refusal shows at the first read.
func (ca *testCA) dial(t testing.TB, addr, name string) (serial int64, err error) {
	t.Helper()
	conf := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: peerName}
	conf.RootCAs.AddCert(ca.cert)
	if name != "" {
		conf.Certificates = []tls.Certificate{must[tls.Certificate](t)(tls.LoadX509KeyPair(ca.file(name+".crt"), ca.file(name+".key")))}
	}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", addr, conf)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	serial = conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Write([]byte("GET /version HTTP/1.0\r\n\r\n")); err != nil {
		return serial, err
	}
	_, err = conn.Read(make([]byte, 1))
	return serial, err
}

// TestPeerTLS: only masters get in, and a renewed certificate is used at once.
func TestPeerTLS(t *testing.T) {
	ca, foreign := newCA(t), newCA(t)
	opts := storetest.Options(t)
	first := ca.issue(t, opts.Name, peerName)
	ca.issue(t, "n-other", peerName)
	ca.issue(t, "n-sub")
	foreign.issue(t, opts.Name, peerName)
	opts.PeerTLS = ca.tls(opts.Name)
	_, _ = storetest.Start(t, opts)

	if serial, err := ca.dial(t, opts.PeerListen, "n-other"); err != nil || serial != first {
		t.Errorf("another master's certificate: serial %d, %v", serial, err)
	}
	if _, err := ca.dial(t, opts.PeerListen, "n-sub"); err == nil {
		t.Error("a sub's certificate is accepted")
	}
	if _, err := ca.dial(t, opts.PeerListen, ""); err == nil {
		t.Error("no certificate is accepted")
	}
	foreign.cert = ca.cert // trust the server, show a foreign certificate
	if _, err := foreign.dial(t, opts.PeerListen, opts.Name); err == nil {
		t.Error("a foreign certificate is accepted")
	}
	second := ca.issue(t, opts.Name, peerName)
	if serial, err := ca.dial(t, opts.PeerListen, "n-other"); err != nil || serial != second {
		t.Errorf("after the renewal: serial %d, want %d, %v", serial, second, err)
	}
}

// impostor listens where a member expects a peer, with name's certificate. It
// tells of each handshake: the serial number of the certificate that the member
// has shown, or why it has gone away.
func (ca *testCA) impostor(t *testing.T, name string) (addr string, seen <-chan handshake) {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	l := must[net.Listener](t)(tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{must[tls.Certificate](t)(tls.LoadX509KeyPair(ca.file(name+".crt"), ca.file(name+".key")))},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: pool,
	}))
	out := make(chan handshake, 100)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			var h handshake
			if _, h.err = conn.Read(make([]byte, 1)); h.err == nil { // the member sends only to whom it trusts
				h.serial = conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.Int64()
			}
			conn.Close()
			select {
			case out <- h:
			default:
			}
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return l.Addr().String(), out
}

type handshake struct {
	serial int64
	err    error
}

func (ca *testCA) runBeside(t *testing.T, name, peer string) {
	t.Helper()
	opts := storetest.Options(t)
	opts.PeerTLS = ca.tls(opts.Name)
	opts.InitialCluster = map[string]string{opts.Name: opts.PeerListen, name: peer}
	_, _ = storetest.Launch(t, opts)
}

// TestPeerTLSDialling: a member tells nothing to a sub that listens in the place
// of a master, and shows its renewed certificate at the next connection.
func TestPeerTLSDialling(t *testing.T) {
	ca := newCA(t)
	first := ca.issue(t, "n-test", peerName)
	ca.issue(t, "n-other", peerName)
	ca.issue(t, "n-sub")
	ca.issue(t, "n-sub-here", "127.0.0.1") // etcd would check the address, by default

	master, seen := ca.impostor(t, "n-other")
	ca.runBeside(t, "n-other", master)
	if h := <-seen; h.err != nil || h.serial != first {
		t.Fatalf("a master at its place: %+v", h)
	}
	second := ca.issue(t, "n-test", peerName)
	eventually(t, "the renewed certificate is shown", func() bool { h := <-seen; return h.err == nil && h.serial == second })

	for _, name := range []string{"n-sub", "n-sub-here"} {
		sub, seen := ca.impostor(t, name)
		ca.runBeside(t, name, sub)
		if h := <-seen; h.err == nil || !strings.Contains(h.err.Error(), "bad certificate") {
			t.Errorf("%s at a master's place: %+v, want it refused for its certificate", name, h)
		}
	}
}

// TestTwoMembersOverTLS: what TestPeerTLS refuses to others, members may do.
func TestTwoMembersOverTLS(t *testing.T) {
	ca := newCA(t)
	a, b := storetest.Options(t), storetest.Options(t)
	a.Name, b.Name, b.Sealer = "n-a", "n-b", a.Sealer
	a.InitialCluster = map[string]string{a.Name: a.PeerListen, b.Name: b.PeerListen}
	b.InitialCluster = a.InitialCluster
	a.Heartbeat, b.Heartbeat = 50*time.Millisecond, 50*time.Millisecond
	for _, o := range []*store.Options{&a, &b} {
		ca.issue(t, o.Name, peerName)
		o.PeerTLS = ca.tls(o.Name)
	}
	ma, _ := storetest.Launch(t, a)
	mb, _ := storetest.Start(t, b)
	<-ma.Ready()
	eventually(t, "accepted", func() bool {
		_, _, err := fruits(ma).Put(bg(), "x", fruit{"x", 1})
		return err == nil
	})
	if r := must[store.Record[fruit]](t)(fruits(mb).Get(bg(), "x")); r.Value.Count != 1 {
		t.Errorf("%+v", r)
	}
}
