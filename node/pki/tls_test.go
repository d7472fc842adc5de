package pki

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"piccolo.io/piccolo/topology"
)

// serve accepts connections with a configuration until the test ends, sends
// each client one byte, and reports what it saw of the first.
func serve(t testing.TB, config *tls.Config) (address string, seen <-chan serverSaw) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	saw, done := make(chan serverSaw, 1), make(chan struct{})
	go func() {
		defer close(done)
		for {
			raw, err := ln.Accept()
			if err != nil {
				return
			}
			conn := tls.Server(raw, config)
			_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
			err = conn.Handshake()
			if err == nil {
				_, _ = conn.Write([]byte{1})
				_, _ = conn.Read(make([]byte, 1)) // until the client has gone
			}
			select {
			case saw <- serverSaw{conn.ConnectionState(), err}:
			default:
			}
			raw.Close()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return ln.Addr().String(), saw
}

type serverSaw struct {
	state tls.ConnectionState
	err   error
}

// dial shakes hands and reads one byte, because under TLS 1.3 a server's
// refusal of the client's certificate comes only then.
func dial(t testing.TB, address string, config *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	conn, err := Dial(context.Background(), address, config)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		return tls.ConnectionState{}, Explain(err)
	}
	return conn.ConnectionState(), nil
}

func clientTLS(t testing.TB, o ClientOptions) *tls.Config {
	t.Helper()
	c, err := ClientTLS(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestMemberToMaster(t *testing.T) {
	clock := newClock(t, nil)
	ca := newCA(t, "home", clock)
	master := newSource(t, newNode(t, ca, masterProfile), clock)
	sub := newNode(t, ca, subProfile)
	address, seen := serve(t, ServerTLS(master, clock, nil))
	state, err := dial(t, address, clientTLS(t, ClientOptions{Source: newSource(t, sub, clock), Clock: clock}))
	if err != nil {
		t.Fatal(err)
	}
	if state.Version != tls.VersionTLS13 || state.NegotiatedProtocol != "h2" {
		t.Errorf("version %x, protocol %q", state.Version, state.NegotiatedProtocol)
	}
	if p, err := CertificatePeer(state.PeerCertificates[0]); err != nil || p.ID != master.identity.ID() {
		t.Errorf("the client saw %+v, %v", p, err)
	}
	if _, err := PeerID(state); !errors.Is(err, ErrBadCertificate) {
		t.Errorf("PeerID took a chain that crypto/tls has not verified: %v", err)
	}
	saw := <-seen
	want, _ := sub.Peer()
	if p, err := PeerID(saw.state); saw.err != nil || err != nil || p != want {
		t.Errorf("the server saw %+v, %v, %v", p, err, saw.err)
	}
}

func TestWithoutCertificate(t *testing.T) {
	clock := newClock(t, nil)
	ca := newCA(t, "home", clock)
	master := newSource(t, newNode(t, ca, masterProfile), clock)
	sub := newSource(t, newNode(t, ca, subProfile), clock)
	for name, o := range map[string]ClientOptions{
		"administrator": {CA: ca.Certificate(), Clock: clock},
		"returning":     {Source: sub, Anonymous: true, Clock: clock},
	} {
		address, seen := serve(t, ServerTLS(master, clock, nil))
		if _, err := dial(t, address, clientTLS(t, o)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := PeerID((<-seen).state); !errors.Is(err, ErrNoCertificate) {
			t.Errorf("%s: the server saw %v", name, err)
		}
	}
	if _, err := ClientTLS(ClientOptions{Clock: clock}); err == nil {
		t.Error("a client without a CA was made")
	}
	if _, err := ClientTLS(ClientOptions{CA: sub.Current(), Clock: clock}); !errors.Is(err, ErrBadCertificate) {
		t.Errorf("a node's certificate as the CA: %v", err)
	}
}

// fixed is a certificate of anything, for servers and clients that are not
// made by this package.
func fixed(t testing.TB, template *x509.Certificate, key, signer *ecdsa.PrivateKey, parent *x509.Certificate, more ...[]byte) tls.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: append([][]byte{der}, more...), PrivateKey: key}
}

func stranger(t testing.TB) tls.Certificate {
	key, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "www"}, DNSNames: []string{MasterDNSName},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	return fixed(t, template, key, key, template)
}

func TestWhatIsNoMasterOfOurs(t *testing.T) {
	clock := newClock(t, nil)
	ca, other := newCA(t, "home", clock), newCA(t, "home", clock)
	sub := newSource(t, newNode(t, ca, subProfile), clock)
	master := newNode(t, ca, masterProfile)
	server := func(id *Identity) *tls.Config { return ServerTLS(newSource(t, id, clock), clock, nil) }
	oldTLS := server(master)
	oldTLS.MinVersion, oldTLS.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	noALPN := server(master)
	noALPN.NextProtos = nil
	otherALPN := server(master)
	otherALPN.NextProtos = []string{"imap"}
	// The chain of a master under the key of another CA that shows ours, too.
	mixed := server(newNode(t, other, masterProfile))
	cert, _ := mixed.GetCertificate(nil)
	forged := &tls.Config{Certificates: []tls.Certificate{{
		Certificate: [][]byte{cert.Certificate[0], ca.Certificate().Raw}, PrivateKey: cert.PrivateKey}}, NextProtos: alpn()}
	www := &tls.Config{Certificates: []tls.Certificate{stranger(t)}, NextProtos: alpn()}
	for name, c := range map[string]struct {
		server            *tls.Config
		asMember, asNewby error
	}{
		"a master":           {server(master), nil, nil},
		"a sub":              {server(newNode(t, ca, subProfile)), ErrNotAMaster, ErrNotAMaster},
		"another cluster's":  {server(newNode(t, other, masterProfile)), ErrOtherCluster, ErrWrongFingerprint},
		"forged with our CA": {forged, ErrOtherCluster, ErrOtherCluster},
		"a web server":       {www, ErrNotPiccolo, ErrNotPiccolo},
		"TLS 1.2":            {oldTLS, ErrNotPiccolo, ErrNotPiccolo},
		"without ALPN":       {noALPN, ErrNotPiccolo, ErrNotPiccolo},
		"with another ALPN":  {otherALPN, ErrNotPiccolo, ErrNotPiccolo},
	} {
		t.Run(name, func(t *testing.T) {
			address, _ := serve(t, c.server)
			_, err := dial(t, address, clientTLS(t, ClientOptions{Source: sub, Clock: clock}))
			if !errors.Is(err, c.asMember) || (err == nil) != (c.asMember == nil) {
				t.Errorf("as a member: %v, want %v", err, c.asMember)
			}
			config, pinned, err := EnrolTLS(ca.Fingerprint(), clock)
			if err != nil {
				t.Fatal(err)
			}
			_, err = dial(t, address, config)
			if !errors.Is(err, c.asNewby) || (err == nil) != (c.asNewby == nil) {
				t.Errorf("with a token: %v, want %v", err, c.asNewby)
			}
			if c.asNewby == nil && string(pinned.CAPEM()) != string(ca.PEM()) {
				t.Error("the CA was not handed over")
			}
			if c.asNewby != nil && name != "without ALPN" && pinned.CAPEM() != nil {
				t.Error("a CA was handed over after a failed handshake")
			}
		})
	}
}

func TestWhatDoesNotSpeakTLS(t *testing.T) {
	clock := newClock(t, nil)
	config, _, err := EnrolTLS(newCA(t, "home", clock).Fingerprint(), clock)
	if err != nil {
		t.Fatal(err)
	}
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	address := strings.TrimPrefix(plain.URL, "http://")
	if _, err := Dial(t.Context(), address, config); !errors.Is(err, ErrNotPiccolo) || !strings.Contains(err.Error(), address) {
		t.Errorf("plain HTTP: %v", err)
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Dial(ctx, silent.Addr().String(), config); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a port that never answers: %v", err)
	}
	silent.Close()
	if _, err := Dial(t.Context(), silent.Addr().String(), config); err == nil {
		t.Error("a closed port answered")
	}
	for _, fp := range []string{"", "xyz", strings.Repeat("a", 31), strings.Repeat("g", 32), strings.Repeat("a", 64)} {
		if _, _, err := EnrolTLS(fp, clock); err == nil {
			t.Errorf("fingerprint %q was accepted", fp)
		}
	}
}

func TestServerRefusesClients(t *testing.T) {
	clock := newClock(t, nil)
	other := newCA(t, "home", clock)
	ca := newCA(t, "home", newClock(t, wallAt(time.Now().AddDate(0, 0, -10))))
	expired := newNode(t, ca, NodeProfile{Role: topology.RoleSub, Lifetime: time.Hour})
	ca.clock = clock
	master := newSource(t, newNode(t, ca, masterProfile), clock)
	gone := newNode(t, ca, subProfile)
	server := ServerTLS(master, clock, func(p Peer) bool { return p.ID == gone.ID() })
	key, _ := newKey()
	noNode := fixed(t, &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "node:n-000000000000"},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, key, ca.key, ca.cert)
	show := func(c *tls.Certificate) *tls.Config {
		config := clientTLS(t, ClientOptions{CA: ca.Certificate(), Clock: clock})
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c, nil }
		return config
	}
	for name, c := range map[string]struct {
		cert       *tls.Certificate
		atClient   error
		atServer   error
		serverText string
	}{
		"removed":           {gone.tlsCertificate(), ErrBadCertificate, ErrRevoked, gone.ID()},
		"another cluster's": {newNode(t, other, masterProfile).tlsCertificate(), ErrOtherCluster, ErrOtherCluster, ""},
		"no node":           {&noNode, ErrBadCertificate, ErrNotPiccolo, ""},
		"expired":           {expired.tlsCertificate(), ErrExpired, ErrExpired, ""},
	} {
		t.Run(name, func(t *testing.T) {
			address, seen := serve(t, server)
			if _, err := dial(t, address, show(c.cert)); !errors.Is(err, c.atClient) {
				t.Errorf("the client got %v, want %v", err, c.atClient)
			}
			if err := Explain((<-seen).err); !errors.Is(err, c.atServer) || !strings.Contains(err.Error(), c.serverText) {
				t.Errorf("the server got %v, want %v", err, c.atServer)
			}
		})
	}
	// The same expired node keeps its certificate back, and is let in as a stranger.
	address, _ := serve(t, server)
	if _, err := dial(t, address, clientTLS(t, ClientOptions{Source: newSource(t, expired, clock), Clock: clock})); err != nil {
		t.Errorf("return after expiry: %v", err)
	}
}

func TestClientRefusesRemovedMaster(t *testing.T) {
	clock := newClock(t, nil)
	ca := newCA(t, "home", clock)
	address, _ := serve(t, ServerTLS(newSource(t, newNode(t, ca, masterProfile), clock), clock, nil))
	_, err := dial(t, address, clientTLS(t, ClientOptions{CA: ca.Certificate(), Clock: clock, Revoked: func(Peer) bool { return true }}))
	if !errors.Is(err, ErrRevoked) {
		t.Error(err)
	}
}
