package pki

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// TestLostCertificate: with a good key and CA it is told, not refused, is never
// shown, and a new one takes its place.
func TestLostCertificate(t *testing.T) {
	clock := newClock(t, nil)
	ca := newCA(t, "home", clock)
	for name, lose := range map[string]func(path string) error{
		"gone":    os.Remove,
		"empty":   func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"damaged": func(path string) error { return os.WriteFile(path, []byte("half a fi"), 0o600) },
	} {
		id := newNode(t, ca, subProfile)
		if whole, lost, err := LoadMember(id.dir); err != nil || lost != nil || !whole.Enrolled() {
			t.Fatalf("%s: before: %v, %v", name, lost, err)
		}
		if err := lose(filepath.Join(id.dir, NodeCrtFile)); err != nil {
			t.Fatal(err)
		}
		back, lost, err := LoadMember(id.dir)
		if err != nil || lost == nil || back.Enrolled() || back.ID() != id.ID() {
			t.Fatalf("%s: %v, %v", name, lost, err)
		}
		source := newSource(t, back, clock)
		shown, err := source.GetClientCertificate(nil)
		if err != nil || len(shown.Certificate) > 0 || !source.Current().NotAfter.IsZero() {
			t.Errorf("%s: it shows %d certificates, %v", name, len(shown.Certificate), err)
		}
		issued, err := ca.SignNode(request(t, back), NodeProfile{ID: back.ID(), Role: subProfile.Role})
		if err != nil {
			t.Fatal(err)
		}
		if err := source.Replace(issued.ChainPEM); err != nil || source.Current().NotAfter.IsZero() {
			t.Errorf("%s: replaced: %v", name, err)
		}
		if whole, lost, err := LoadMember(id.dir); err != nil || lost != nil || !whole.Enrolled() {
			t.Errorf("%s: afterwards: %v, %v", name, lost, err)
		}
	}
}

// TestDamagedFilesAreNamed: each error says which file it is about.
func TestDamagedFilesAreNamed(t *testing.T) {
	clock := newClock(t, nil)
	ca, other := newCA(t, "home", clock), newCA(t, "cabin", clock)
	for name, try := range map[string]struct {
		damage func(id *Identity) error
		want   error
	}{
		NodeKeyFile: {func(id *Identity) error { return os.Remove(filepath.Join(id.dir, NodeKeyFile)) }, fs.ErrNotExist},
		CACrtFile:   {func(id *Identity) error { return os.WriteFile(filepath.Join(id.dir, CACrtFile), nil, 0o600) }, ErrBadCertificate},
		// Whole, but of another cluster: nothing that may be replaced unasked.
		NodeCrtFile: {func(id *Identity) error {
			return os.WriteFile(filepath.Join(id.dir, CACrtFile), other.PEM(), 0o600)
		}, ErrOtherCluster},
	} {
		id := newNode(t, ca, subProfile)
		if err := try.damage(id); err != nil {
			t.Fatal(err)
		}
		for what, err := range map[string]error{"LoadMember": third(LoadMember(id.dir)), "LoadIdentity": second(LoadIdentity(id.dir))} {
			var file *FileError
			if !errors.Is(err, try.want) || !errors.As(err, &file) || file.Name != name {
				t.Errorf("%s: %s: %v", name, what, err)
			}
		}
	}
}

func second[T any](_ T, err error) error { return err }

func third(_ *Identity, _, err error) error { return err }

// TestLostCertificateIsNotAskedFor again and again: it comes with the next
// connection.
func TestLostCertificateIsNotAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := newClock(t, nil)
		id := newNode(t, newCA(t, "home", clock), subProfile)
		if err := os.Remove(filepath.Join(id.dir, NodeCrtFile)); err != nil {
			t.Fatal(err)
		}
		lost, _, err := LoadMember(id.dir)
		if err != nil {
			t.Fatal(err)
		}
		asked := 0
		r, err := NewRenewer(RenewerOptions{Source: newSource(t, lost, clock), Clock: clock, Renew: func(context.Context, []byte) ([]byte, error) {
			asked++
			return nil, errors.New("no master")
		}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*24*time.Hour)
		defer cancel()
		if err := r.Run(ctx); err != nil || asked > 0 {
			t.Errorf("asked %d times, %v", asked, err)
		}
	})
}
