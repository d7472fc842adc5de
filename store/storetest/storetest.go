package storetest

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net"
	"path/filepath"
	"testing"
	"time"

	"piccolo.io/piccolo/store"
)

// Heartbeat of the members that New makes: elections take a tenth of the usual time.
const Heartbeat = 10 * time.Millisecond

// patience is how long a member may take to serve or to stop before the test fails.
const patience = 30 * time.Second

// New returns a single member that serves from a directory of its own. It is
// stopped when the test ends. Its log goes to the test's.
func New(t testing.TB) *store.Member {
	t.Helper()
	m, _ := Start(t, Options(t))
	return m
}

// Options for a single member in t.TempDir(), with a new key file and a free
// loopback port. A test may change them before it calls Start.
func Options(t testing.TB) store.Options {
	t.Helper()
	dir := t.TempDir()
	keys := filepath.Join(dir, "store.key")
	if err := store.CreateKeyFile(keys); err != nil {
		t.Fatal(err)
	}
	sealer, err := store.LoadKeyFile(keys)
	if err != nil {
		t.Fatal(err)
	}
	return store.Options{
		Name:       "n-test",
		Dir:        filepath.Join(dir, "etcd"),
		PeerListen: FreeAddr(t),
		Sealer:     sealer,
		Logger:     slog.New(slog.NewTextHandler(t.Output(), nil)),
		Heartbeat:  Heartbeat,
	}
}

// Start runs a member and waits until it serves. stop ends it, waits, and fails
// the test if it ended with an error; it can be called more than once.
func Start(t testing.TB, opts store.Options) (m *store.Member, stop func()) {
	t.Helper()
	m, stop = Launch(t, opts)
	select {
	case <-m.Ready():
	case <-time.After(patience):
		t.Fatalf("store member does not serve after %v", patience)
	}
	return m, stop
}

// Launch is Start without the wait: the member may lack a quorum.
func Launch(t testing.TB, opts store.Options) (m *store.Member, stop func()) {
	t.Helper()
	m, err := store.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := m.Run(ctx); err != nil {
			t.Errorf("store member: %v", err)
		}
	}()
	stop = func() {
		cancel()
		select {
		case <-ended:
		case <-time.After(patience):
			t.Errorf("store member has not stopped after %v", patience)
		}
	}
	t.Cleanup(stop)
	return m, stop
}

// FreeAddr is a loopback "IP:port" where nobody listens. The address is not the
// usual one: there, any connection that is made meanwhile may take the port.
func FreeAddr(t testing.TB) string {
	t.Helper()
	ip := net.IPv4(127, byte(1+rand.IntN(254)), byte(rand.IntN(256)), byte(1+rand.IntN(254)))
	l, err := net.Listen("tcp", net.JoinHostPort(ip.String(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
