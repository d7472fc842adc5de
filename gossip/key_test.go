package gossip_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"piccolo.io/piccolo/gossip"
)

func TestKeysRotateWithoutALoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 4)
		for range 3 {
			old, next := c.keys.Primary, gossip.NewKey()
			for _, step := range []gossip.Keyring{
				{Primary: old, Others: []gossip.Key{next}},
				{Primary: next, Others: []gossip.Key{old}},
				{Primary: next},
			} {
				for _, n := range c.nodes {
					if err := n.SetKeys(step); err != nil {
						t.Fatal(err)
					}
				}
			}
			c.keys = gossip.Keyring{Primary: next}
		}
		never(t, time.Second, "somebody is lost", func() bool {
			for _, n := range c.nodes {
				if n.Stats().Lost > 0 {
					return true
				}
			}
			return false
		})
		c.start("n-new", "10.0.0.9", nil)
		c.settled(c.nodes...)
	})
}

func TestKeyringOrderWithManyKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 2)
		var keys []gossip.Key
		for range 5 {
			keys = append(keys, gossip.NewKey())
		}
		// The two never share a primary, but each holds the other's: only a ring that is exactly right works.
		for _, s := range []struct{ a, b gossip.Keyring }{
			{gossip.Keyring{c.keys.Primary, keys}, gossip.Keyring{c.keys.Primary, keys}},
			{gossip.Keyring{keys[0], keys[1:]}, gossip.Keyring{keys[4], keys[:4]}},
			{gossip.Keyring{keys[2], keys[3:4]}, gossip.Keyring{keys[3], keys[2:3]}},
		} {
			if err := errors.Join(c.nodes[0].SetKeys(s.a), c.nodes[1].SetKeys(s.b)); err != nil {
				t.Fatal(err)
			}
			if err := c.nodes[0].Reach(t.Context(), "n-02", c.nodes[1].addr); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestWrongKeyIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 2)
		stranger := c.start("n-stranger", "10.0.0.50", func(o *gossip.Options) { o.Keyring.Primary = gossip.NewKey() })
		eventually(t, "the stranger tries", func() bool { return stranger.Stats().Dials >= 2 })
		for _, n := range c.nodes {
			if got := len(n.Members()); n != stranger && got != 1 {
				t.Errorf("%s sees %d others", n.id, got)
			}
		}
		if s := stranger.Stats(); s.Rejoins != 0 || s.Alive != 0 {
			t.Errorf("the stranger got in: %+v", s)
		}
		if err := stranger.SetKeys(c.keys); err != nil {
			t.Fatal(err)
		}
		c.settled(c.nodes...)
	})
}

func TestKeyringFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gossip.keys")
	r := gossip.Keyring{Primary: gossip.NewKey(), Others: []gossip.Key{gossip.NewKey(), gossip.NewKey()}}
	if err := os.WriteFile(path, r.Encode(), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := gossip.LoadKeyring(path)
	if err != nil || got.Primary != r.Primary || len(got.Others) != 2 || got.Others[1] != r.Others[1] {
		t.Fatalf("read back %v, %v", got, err)
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := gossip.LoadKeyring(path); !errors.Is(err, gossip.ErrExposed) {
			t.Errorf("mode %#o: %v", mode, err)
		}
	}
	if _, err := gossip.LoadKeyring(filepath.Dir(path)); !errors.Is(err, gossip.ErrInvalid) {
		t.Errorf("a directory: %v", err)
	}
	if _, err := gossip.LoadKeyring(path + "x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func TestKeysDoNotShow(t *testing.T) {
	r := gossip.Keyring{Primary: gossip.NewKey(), Others: []gossip.Key{gossip.NewKey()}}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	shown := string(text) + fmt.Sprintf("%v %+v %#v %x %s %d", r, r, r, r, r, r.Primary)
	for _, k := range []gossip.Key{r.Primary, r.Others[0]} {
		for _, secret := range []string{
			base64.StdEncoding.EncodeToString(k[:])[:12], fmt.Sprintf("%x", k[:])[:12],
			fmt.Sprintf("%d %d %d", k[0], k[1], k[2]), fmt.Sprintf("%d,%d,%d", k[0], k[1], k[2]),
		} {
			if strings.Contains(shown, secret) {
				t.Errorf("a key shows in %s", shown)
			}
		}
	}
}

func TestKeyringRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		keys := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) gossip.Key {
			return gossip.Key(rapid.SliceOfN(rapid.Byte(), gossip.KeySize, gossip.KeySize).Draw(t, "key"))
		}).Filter(func(k gossip.Key) bool { return k != gossip.Key{} }), 1, 8, rapid.ID).Draw(t, "keys")
		r := gossip.Keyring{Primary: keys[0], Others: keys[1:]}
		got, err := gossip.ParseKeyring(r.Encode())
		if err != nil || !cmp.Equal(got, r) {
			t.Fatalf("%v became %v, %v", r, got, err)
		}
	})
}

func FuzzParseKeyring(f *testing.F) {
	f.Add([]byte("# keys\n\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"))
	f.Add([]byte("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="))
	f.Add([]byte("not base64\n"))
	f.Add([]byte("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := gossip.ParseKeyring(text)
		if err != nil {
			if !errors.Is(err, gossip.ErrInvalid) {
				t.Fatalf("an error without its sentinel: %v", err)
			}
			return
		}
		again, err := gossip.ParseKeyring(r.Encode())
		if err != nil || !cmp.Equal(again, r) {
			t.Fatalf("what was read cannot be written and read again: %v", err)
		}
	})
}
