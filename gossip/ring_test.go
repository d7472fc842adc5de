package gossip

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func drawRing(t *rapid.T) ring {
	profiles := []Profile{ProfileLAN, ProfileWiFi, ProfileWAN}
	var g ring
	for i := range rapid.IntRange(1, 12).Draw(t, "nodes") {
		g = append(g, Member{ID: fmt.Sprintf("n-%02d", i), Meta: Meta{Profile: rapid.SampledFrom(profiles).Draw(t, "profile")}})
	}
	return g
}

func TestRingProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := drawRing(t)
		for i, n := range g {
			w := g.watchers(i)
			if len(w) != min(watched, len(g)-1) {
				t.Fatalf("%s has %d watchers of %d nodes", n.ID, len(w), len(g))
			}
			noWorse := 0
			for j, o := range g {
				if j != i && worse(o, n) == 0 {
					noWorse++
				}
			}
			for k, o := range w {
				if o.ID == n.ID || slices.ContainsFunc(w[:k], func(x Member) bool { return x.ID == o.ID }) {
					t.Fatalf("%s is watched by %v", n.ID, w)
				}
				if worse(o, n) == 1 && k < noWorse {
					t.Fatalf("%s is watched by %s, although there are %d with a link no worse", n.ID, o.ID, noWorse)
				}
				if !slices.ContainsFunc(g.subjects(o.ID), func(x Member) bool { return x.ID == n.ID }) {
					t.Fatalf("%s does not know that it watches %s", o.ID, n.ID)
				}
			}
			if got := len(g.subjects(n.ID)); got > watched*3 {
				t.Fatalf("%s watches %d nodes", n.ID, got)
			}
		}
	})
}

// Whoever is silent or unwatched is known; who has a watcher left that isn't, isn't suspected.
func TestUnwatchedProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := drawRing(t)
		silent := map[string]bool{}
		for _, n := range g[1:] {
			silent[n.ID] = rapid.Bool().Draw(t, n.ID)
		}
		out := g.unwatched(g[0].ID, func(id string) bool { return silent[id] })
		for i, n := range g {
			blind := slices.Contains(out, n.ID)
			eyes := slices.ContainsFunc(g.watchers(i), func(w Member) bool { return !silent[w.ID] && !slices.Contains(out, w.ID) })
			switch {
			case n.ID == g[0].ID || silent[n.ID]:
				if blind {
					t.Fatalf("%s is this node or silent already, and told again", n.ID)
				}
			case blind == eyes:
				t.Fatalf("%s is unwatched %v, its watchers are %v, silent %v, unwatched %v", n.ID, blind, g.watchers(i), silent, out)
			}
		}
	})
}

func TestDigestSeesEveryDifference(t *testing.T) {
	raw := map[string][]byte{"a": []byte("1"), "b": []byte("2")}
	g := ring{{ID: "a", Addr: netip.MustParseAddrPort("10.0.0.1:1")}, {ID: "b", Addr: netip.MustParseAddrPort("10.0.0.2:1")}}
	digest := func() uint64 { return g.digest(func(id string) []byte { return raw[id] }) }
	seen := map[uint64]bool{digest(): true}
	for i, change := range []func(){
		func() { raw["a"] = []byte("3") },
		func() { g[1].Addr = netip.MustParseAddrPort("10.0.0.3:1") },
		func() { g = append(g, Member{ID: "c"}) },
		func() { g[2].ID = "cc" },
	} {
		if change(); seen[digest()] {
			t.Errorf("the digest does not show change %d", i)
		}
		seen[digest()] = true
	}
}

func TestBeatRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := beat{
			id: rapid.StringMatching(`[!-.0-~]{1,128}`).Draw(t, "id"), view: rapid.Uint64().Draw(t, "view"), deaf: rapid.Bool().Draw(t, "deaf"),
			limit: time.Duration(rapid.IntRange(100, 60000).Draw(t, "limit")) * time.Millisecond,
		}
		if got, ok := decodeBeat(b.encode()); !ok || got != b {
			t.Fatalf("%+v became %+v, %v", b, got, ok)
		}
	})
}

func FuzzDecodeBeat(f *testing.F) {
	f.Add(beat{id: "n-1", limit: 510 * time.Millisecond, deaf: true, view: 1}.encode())
	f.Add([]byte("B"))
	f.Add(append(bytes.Repeat([]byte{0xff}, 20), 'B'))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, ok := decodeBeat(b); ok && (checkID(got.id) != nil || got.limit < minSilence || got.limit > maxSilence) {
			t.Fatalf("%+v", got)
		}
	})
}

func FuzzDecodeMessage(f *testing.F) {
	f.Add(message{Seq: 1, Kind: kindReach, To: "a", About: "b", At: netip.MustParseAddrPort("10.0.0.1:1"), Within: time.Second}.encode())
	f.Add(message{Seq: 1, Kind: kindSilent, To: "a", From: "b", About: "c"}.encode())
	f.Add([]byte(`{"k":"yes","later":[]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		q, ok := decodeMessage(b)
		if !ok || q.Kind == kindYes || q.Kind == kindNo {
			return
		}
		if checkID(q.To) != nil || q.Kind == kindReach && (!q.At.IsValid() || checkID(q.About) != nil) ||
			q.Kind == kindSilent && (checkID(q.From) != nil || checkID(q.About) != nil) {
			t.Fatalf("%+v", q)
		}
	})
}

func FuzzOpen(f *testing.F) {
	var b box
	if err := b.set(Keyring{Primary: Key{1}, Others: []Key{{2}}}); err != nil {
		f.Fatal(err)
	}
	f.Add(b.seal([]byte("hello")))
	f.Add([]byte{ownMark})
	f.Fuzz(func(t *testing.T, datagram []byte) {
		if len(datagram) > 0 {
			b.open(datagram)
		}
	})
}

func TestBoxOpensWithAnyKeyAndNothingElse(t *testing.T) {
	var a, b, c box
	err := errors.Join(a.set(Keyring{Primary: Key{1}}), b.set(Keyring{Primary: Key{2}, Others: []Key{{1}}}), c.set(Keyring{Primary: Key{3}}))
	if err != nil {
		t.Fatal(err)
	}
	sealed := a.seal([]byte("hello"))
	if got, ok := b.open(sealed); !ok || string(got) != "hello" {
		t.Errorf("with the second key: %q, %v", got, ok)
	}
	if _, ok := c.open(sealed); ok {
		t.Error("opened with another key")
	}
	for i := range sealed {
		spoilt := bytes.Clone(sealed)
		spoilt[i] ^= 1
		if _, ok := b.open(spoilt); ok {
			t.Errorf("opened although byte %d is another", i)
		}
	}
}
