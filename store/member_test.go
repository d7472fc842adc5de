package store_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/store/storetest"
)

func TestOptions(t *testing.T) {
	good := storetest.Options(t)
	for field, change := range map[string]func(*store.Options){
		"Name ":           func(o *store.Options) { o.Name = "a b" },
		"Dir ":            func(o *store.Options) { o.Dir = "etcd" },
		"Sealer":          func(o *store.Options) { o.Sealer = nil },
		"Sealer: its key": func(o *store.Options) { o.Dir = o.Dir[:strings.LastIndex(o.Dir, "/")] },
		"PeerListen ":     func(o *store.Options) { o.PeerListen = "localhost:1" },
		"PeerAdvertise ":  func(o *store.Options) { o.PeerListen = "0.0.0.0:2380" },
		"PeerTLS: requ":   func(o *store.Options) { o.PeerListen = "10.0.0.1:2380" },
		"PeerTLS: Cert":   func(o *store.Options) { o.PeerTLS.CertFile = "/x" },
		"InitialCluster":  func(o *store.Options) { o.InitialCluster = map[string]string{"other": "127.0.0.1:1"} },
		"RequestTimeout ": func(o *store.Options) { o.RequestTimeout = -1 },
		"Heartbeat ":      func(o *store.Options) { o.Heartbeat = time.Hour },
		"MaxBytes ":       func(o *store.Options) { o.MaxBytes = 1 },
	} {
		o := good
		change(&o)
		if _, err := store.New(o); !errors.Is(err, store.ErrInvalid) || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	if _, err := store.New(good); err != nil {
		t.Error(err)
	}
}

// TestNoQuorum: two members; while one of them is missing every call ends in time.
func TestNoQuorum(t *testing.T) {
	a, b := storetest.Options(t), storetest.Options(t)
	a.Name, b.Name, b.Sealer = "n-a", "n-b", a.Sealer
	a.InitialCluster = map[string]string{a.Name: a.PeerListen, b.Name: b.PeerListen}
	b.InitialCluster = a.InitialCluster
	// storetest's heartbeat is too quick for two members under -race.
	a.Heartbeat, b.Heartbeat = 50*time.Millisecond, 50*time.Millisecond
	a.RequestTimeout = 500 * time.Millisecond

	ma, stopA := storetest.Launch(t, a)
	wantNoQuorum(t, ma)
	stopA()

	ma, _ = storetest.Launch(t, a)
	mb, stopB := storetest.Launch(t, b)
	<-ma.Ready()
	<-mb.Ready()
	put := func(count int) func() bool {
		return func() bool {
			_, _, err := fruits(ma).Put(bg(), "x", fruit{"x", count})
			return err == nil
		}
	}
	eventually(t, "two members accept a write", put(1))
	if r := must[store.Record[fruit]](t)(fruits(mb).Get(bg(), "x")); r.Value.Count != 1 {
		t.Errorf("%+v", r)
	}
	if s := must[store.Stats](t)(ma.Stats()); s.Members != 2 || !s.Serving {
		t.Errorf("%+v", s)
	}
	stopB()
	wantNoQuorum(t, ma)
	_, _ = storetest.Start(t, b)
	eventually(t, "accepted again", put(2))
}

func wantNoQuorum(t *testing.T, m *store.Member) {
	t.Helper()
	c := fruits(m)
	var wg sync.WaitGroup
	for what, call := range map[string]func() error{
		"Get":    func() error { _, err := c.Get(bg(), "a"); return err },
		"List":   func() error { _, _, err := c.List(bg()); return err },
		"Create": func() error { _, err := c.Create(bg(), "a", fruit{}); return err },
		"Put":    func() error { _, _, err := c.Put(bg(), "a", fruit{}); return err },
		"Grant":  func() error { _, err := m.Grant(bg(), time.Minute); return err },
		"Revoke": func() error { return m.Revoke(bg(), 1) },
	} {
		wg.Go(func() {
			ended := make(chan error, 1)
			go func() { ended <- call() }()
			select {
			case err := <-ended:
				if !errors.Is(err, store.ErrNoQuorum) {
					t.Errorf("%s: %v, want ErrNoQuorum", what, err)
				}
			case <-time.After(30 * time.Second):
				t.Errorf("%s hangs", what)
			}
		})
	}
	wg.Wait()
}

func TestPortInUse(t *testing.T) {
	opts := storetest.Options(t)
	_, _ = storetest.Start(t, opts)
	other := storetest.Options(t)
	other.PeerListen = opts.PeerListen
	m := must[*store.Member](t)(store.New(other))
	if err := m.Run(bg()); err == nil || !strings.Contains(err.Error(), "PeerListen") || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("Run: %v", err)
	}
}
