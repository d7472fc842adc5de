package gossip_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"piccolo.io/piccolo/gossip"
)

func TestMetaRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := gossip.Meta{
			Role:     rapid.StringN(0, 8, 32).Draw(t, "role"),
			Version:  rapid.StringN(0, 16, 64).Draw(t, "version"),
			Instance: rapid.StringN(0, 8, 32).Draw(t, "instance"),
		}
		if rapid.Bool().Draw(t, "api") {
			ip := netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "ip"))).Unmap()
			m.API = netip.AddrPortFrom(ip, rapid.Uint16().Draw(t, "port"))
		}
		b, err := m.Encode()
		if errors.Is(err, gossip.ErrInvalid) {
			return // control characters grow in JSON
		}
		got, err := gossip.DecodeMeta(b)
		if err != nil || got != m || len(b) > gossip.MaxMeta {
			t.Fatalf("%+v became %+v in %d bytes, %v", m, got, len(b), err)
		}
	})
}

func TestMetaOfOtherVersions(t *testing.T) {
	for in, want := range map[string]gossip.Meta{
		`{"v":1,"r":"sub","new":{"x":[1,2]}}`:        {Role: "sub"},
		`{"v":9,"r":"sub","i":"77"}`:                 {Role: "sub", Instance: "77"},
		`{"v":1,"a":"10.0.0.1:7443","p":"1.2"}`:      {API: netip.MustParseAddrPort("10.0.0.1:7443"), Version: "1.2"},
		`{"v":2,"a":"[2001:db8::1]:7443","r":"sub"}`: {API: netip.MustParseAddrPort("[2001:db8::1]:7443"), Role: "sub"},
	} {
		if got, err := gossip.DecodeMeta([]byte(in)); err != nil || got != want {
			t.Errorf("%s: %+v, %v", in, got, err)
		}
	}
	for _, in := range []string{``, `{}`, `[]`, `{"v":0}`, `{"v":1,"a":"nowhere"}`, `{"v":1,"a":"[fe80::1%x]:1"}`,
		`{"v":1,"r":"` + strings.Repeat("x", 33) + `"}`, `{"v":1}` + strings.Repeat(" ", 600)} {
		if _, err := gossip.DecodeMeta([]byte(in)); !errors.Is(err, gossip.ErrInvalid) {
			t.Errorf("%.40s: %v", in, err)
		}
	}
}

func FuzzDecodeMeta(f *testing.F) {
	f.Add([]byte(`{"v":1,"r":"master","a":"10.0.0.1:7443","p":"1.0","i":"0123456789abcdef"}`))
	f.Add([]byte(`{"v":2,"r":"sub","later":[{}]}`))
	f.Add([]byte(`{"v":1,"a":"[fe80::1%eth0]:1"}`))
	f.Add([]byte{0xff, 0x00})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := gossip.DecodeMeta(b)
		if err != nil {
			if !errors.Is(err, gossip.ErrInvalid) {
				t.Fatalf("an error without its sentinel: %v", err)
			}
			return
		}
		out, err := m.Encode()
		if errors.Is(err, gossip.ErrInvalid) {
			return
		}
		if again, err := gossip.DecodeMeta(out); err != nil || again != m {
			t.Fatalf("%+v became %+v, %v", m, again, err)
		}
	})
}
