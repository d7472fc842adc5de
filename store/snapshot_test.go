package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/store/storetest"
)

// snapshotTo writes a snapshot of m into a file.
func snapshotTo(t testing.TB, m *store.Member, path string) store.SnapshotInfo {
	t.Helper()
	f := must[*os.File](t)(os.Create(path))
	defer f.Close()
	return must[store.SnapshotInfo](t)(m.Snapshot(bg(), f))
}

func TestSnapshot(t *testing.T) {
	opts := storetest.Options(t)
	m, _ := storetest.Start(t, opts)
	var last int64
	for i := range 100 {
		last = must[int64](t)(fruits(m).Create(bg(), fmt.Sprint("k", i), fruit{strings.Repeat("x", 1000), i}))
	}
	path := filepath.Join(t.TempDir(), "snapshot")
	info := snapshotTo(t, m, path)
	if info.Revision != last {
		t.Errorf("%v, want revision %d", info, last)
	}
	got := must[store.SnapshotInfo](t)(store.VerifySnapshot(bg(), path, opts.Sealer))
	if got.Revision != last || got.Records != 100 || got.Foreign != 0 || got.Bytes != info.Bytes || got.SHA256 != info.SHA256 {
		t.Errorf("verified %+v, taken %+v", got, info)
	}
	if rev := must[int64](t)(m.Revision(bg())); rev != last {
		t.Errorf("revision %d, want %d", rev, last)
	}

	other := storetest.Options(t).Sealer
	if got, err := store.VerifySnapshot(bg(), path, other); err != nil || got.Foreign != 100 {
		t.Errorf("with another key: %+v, %v", got, err)
	}
	if _, err := store.VerifySnapshot(bg(), path, nil); err != nil {
		t.Errorf("without a key: %v", err)
	}
	_, err := store.VerifySnapshot(bg(), path+"?", nil)
	wantErr(t, "VerifySnapshot of nothing", err, store.ErrNotFound)

	whole := must[[]byte](t)(os.ReadFile(path))
	for name, spoil := range map[string]func([]byte) []byte{
		"cut":         func(b []byte) []byte { return b[:len(b)-512] },
		"no checksum": func(b []byte) []byte { return b[:len(b)-32] },
		"a bit":       func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"empty":       func([]byte) []byte { return nil },
		"longer":      func(b []byte) []byte { return append(b, make([]byte, 512)...) },
	} {
		if err := os.WriteFile(path, spoil(bytes.Clone(whole)), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := store.VerifySnapshot(bg(), path, opts.Sealer)
		wantErr(t, name, err, store.ErrBadSnapshot)
	}
}

// TestSnapshotDuringWrites: what was acknowledged before it is inside.
func TestSnapshotDuringWrites(t *testing.T) {
	opts := storetest.Options(t)
	m, _ := storetest.Start(t, opts)
	ctx, stop := context.WithCancel(bg())
	var writers sync.WaitGroup
	writers.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			_, _, _ = fruits(m).Put(ctx, fmt.Sprint("k", i%50), fruit{strings.Repeat("x", 2000), i})
		}
	})
	defer writers.Wait()
	defer stop()
	path := filepath.Join(t.TempDir(), "snapshot")
	for range 10 {
		before := must[int64](t)(m.Revision(bg()))
		info := snapshotTo(t, m, path)
		got := must[store.SnapshotInfo](t)(store.VerifySnapshot(bg(), path, opts.Sealer))
		if info.Revision < before || got.Revision < info.Revision {
			t.Errorf("revision %d was there, the snapshot says %d, it is %d", before, info.Revision, got.Revision)
		}
	}
}

func TestSnapshotWithoutQuorum(t *testing.T) {
	a, b := storetest.Options(t), storetest.Options(t)
	a.Name, b.Name, b.Sealer = "n-a", "n-b", a.Sealer
	a.InitialCluster = map[string]string{a.Name: a.PeerListen, b.Name: b.PeerListen}
	b.InitialCluster = a.InitialCluster
	a.Heartbeat, b.Heartbeat = 50*time.Millisecond, 50*time.Millisecond
	ma, _ := storetest.Launch(t, a)
	mb, stopB := storetest.Launch(t, b)
	<-ma.Ready()
	<-mb.Ready()
	eventually(t, "two members accept a write", func() bool {
		_, _, err := fruits(ma).Put(bg(), "x", fruit{"x", 1})
		return err == nil
	})
	stopB()
	path := filepath.Join(t.TempDir(), "snapshot")
	snapshotTo(t, ma, path)
	if got, err := store.VerifySnapshot(bg(), path, a.Sealer); err != nil || got.Records != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}

// writerFunc is a function that is an io.Writer.
type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func TestSnapshotEnds(t *testing.T) {
	m, stop := storetest.Start(t, storetest.Options(t))
	ctx, cancel := context.WithCancel(bg())
	_, err := m.Snapshot(ctx, writerFunc(func(b []byte) (int, error) { cancel(); return len(b), nil }))
	wantErr(t, "Snapshot", err, context.Canceled)

	broken := errors.New("broken")
	_, err = m.Snapshot(bg(), writerFunc(func([]byte) (int, error) { return 0, broken }))
	wantErr(t, "Snapshot", err, broken)

	// A snapshot under way does not hold up the stop.
	_, err = m.Snapshot(bg(), writerFunc(func(b []byte) (int, error) {
		go stop()
		eventually(t, "the member is closed", func() bool { _, err := m.Revision(bg()); return errors.Is(err, store.ErrClosed) })
		return len(b), nil
	}))
	wantErr(t, "Snapshot", err, store.ErrClosed)
	stop()
	_, err = m.Snapshot(bg(), io.Discard)
	wantErr(t, "Snapshot", err, store.ErrClosed)
}
