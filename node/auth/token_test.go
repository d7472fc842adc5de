package auth

import (
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"piccolo.io/piccolo/topology"
)

const testFingerprint = "00112233445566778899aabbccddeeff"

var testNow = time.Date(2027, time.March, 1, 12, 0, 0, 0, time.UTC)

func joinToken(t testing.TB) (Token, JoinRecord) {
	t.Helper()
	tok, rec, err := NewJoinToken(JoinOptions{Fingerprint: testFingerprint, Now: testNow})
	if err != nil {
		t.Fatal(err)
	}
	return tok, rec
}

func apiToken(t testing.TB) (Token, APIRecord) {
	t.Helper()
	tok, rec, err := NewAPIToken(APIOptions{Fingerprint: testFingerprint, Now: testNow})
	if err != nil {
		t.Fatal(err)
	}
	return tok, rec
}

func TestParseSaysWhatIsWrong(t *testing.T) {
	tok, _ := joinToken(t)
	api, _ := apiToken(t)
	good := tok.Reveal()
	flip := func(s string, i int) string {
		c := byte('2')
		if s[i] == c {
			c = '3'
		}
		return s[:i] + string(c) + s[i+1:]
	}
	for name, c := range map[string]struct {
		in   string
		want error
	}{
		"good":                 {good, nil},
		"spaces and newline":   {"  " + good + "\n", nil},
		"double quotes":        {`"` + good + `"`, nil},
		"typographic quotes":   {"“" + good + "”", nil},
		"byte order mark":      {"\ufeff" + good, nil},
		"empty":                {"", ErrTokenEmpty},
		"only quotes":          {` "" `, ErrTokenEmpty},
		"huge":                 {strings.Repeat("a", 1<<20), ErrTokenTooLong},
		"one too many":         {good + "a", ErrTokenTooLong},
		"twice":                {good + good, ErrTokenTooLong},
		"one missing":          {good[:len(good)-1], ErrTokenTruncated},
		"half":                 {good[:len(good)/2], ErrTokenTruncated},
		"only the prefix":      {"pic1.", ErrTokenTruncated},
		"part of the prefix":   {"pi", ErrTokenTruncated},
		"another program's":    {"K10abc::server:xyz", ErrTokenPrefix},
		"newer version":        {"pic2" + good[4:], ErrTokenPrefix},
		"upper-case prefix":    {"PIC1" + good[4:], ErrTokenPrefix},
		"beginning cut off":    {good[1:], ErrTokenPrefix},
		"an API token":         {api.Reveal(), ErrTokenKind},
		"line break inside":    {good[:40] + "\n" + good[40:], ErrTokenCharacters},
		"upper case":           {good[:60] + "A" + good[61:], ErrTokenCharacters},
		"unicode":              {good[:60] + "é" + good[62:], ErrTokenCharacters},
		"zero byte":            {good[:60] + "\x00" + good[61:], ErrTokenCharacters},
		"dot moved":            {strings.Replace(good, ".", "a", 2) + "..", ErrTokenPrefix},
		"digit 1 in secret":    {good[:len(good)-1] + "1", ErrTokenCharacters},
		"mistyped fingerprint": {flip(good, 10), ErrTokenMistyped},
		"mistyped id":          {flip(good, 40), ErrTokenMistyped},
		"mistyped secret":      {flip(good, 80), ErrTokenMistyped},
		"five parts":           {good[:100] + "." + good[101:], ErrTokenCharacters},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseJoinToken(c.in)
			if c.want == nil {
				if err != nil || got != tok {
					t.Fatalf("got %v, %v", got, err)
				}
				return
			}
			if !errors.Is(err, c.want) || !errors.Is(err, ErrBadToken) {
				t.Fatalf("got error %v, want %v", err, c.want)
			}
			if strings.Contains(err.Error(), tok.Secret.Reveal()[:20]) || len(err.Error()) > 300 {
				t.Fatalf("the error quotes the token: %v", err)
			}
		})
	}
	if _, err := ParseAPIToken(good); !errors.Is(err, ErrTokenKind) {
		t.Errorf("a join token as an API token: %v", err)
	}
	if got, err := ParseAPIToken(api.Reveal()); err != nil || got != api {
		t.Errorf("an API token: %v, %v", got, err)
	}
}

func TestParseOfRevealIsIdentity(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		fp := rapid.StringMatching(`[0-9a-f]{32}`).Draw(rt, "fingerprint")
		kind := rapid.SampledFrom([]Kind{KindJoin, KindAPI}).Draw(rt, "kind")
		tok, err := newToken(kind, fp)
		if err != nil {
			rt.Fatal(err)
		}
		got, err := parseToken(tok.Reveal(), kind)
		if err != nil || got != tok {
			rt.Fatalf("got %v, %v", got, err)
		}
	})
}

// A changed token is refused where it is typed, and, were its check sum right
// by chance, by the record.
func TestAnyMutationIsRefused(t *testing.T) {
	tok, rec := joinToken(t)
	good := tok.Reveal()
	rapid.Check(t, func(rt *rapid.T) {
		b := []byte(good)
		i := rapid.IntRange(0, len(b)-1).Draw(rt, "at")
		switch rapid.IntRange(0, 3).Draw(rt, "how") {
		case 0:
			b[i] = rapid.SampledFrom([]byte("abcdefghijklmnopqrstuvwxyz0123456789.")).Draw(rt, "char")
		case 1:
			b[i] = rapid.Byte().Draw(rt, "byte")
		case 2:
			b = append(b[:i], b[i+1:]...)
		case 3:
			j := rapid.IntRange(0, len(b)-1).Draw(rt, "with")
			b[i], b[j] = b[j], b[i]
		}
		got, err := ParseJoinToken(string(b))
		if err != nil || got == tok {
			return
		}
		if err := rec.Check(got, rec.Role, testNow); err == nil {
			rt.Fatalf("accepted %q for %q", b, good)
		}
	})
}

func TestTokensDiffer(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		tok, rec := joinToken(t)
		if seen[tok.ID] || seen[tok.Secret.Reveal()] || seen[rec.Hash] {
			t.Fatal("a token came twice")
		}
		seen[tok.ID], seen[tok.Secret.Reveal()], seen[rec.Hash] = true, true, true
		if len(tok.Reveal()) != tokenLength {
			t.Fatalf("length %d, want %d", len(tok.Reveal()), tokenLength)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add("")
	f.Add("pic1.")
	f.Add("pic1..." + strings.Repeat("a", 108))
	f.Add("\"pica." + testFingerprint + ".abcdefghij." + strings.Repeat("a", 56) + "\"")
	f.Fuzz(func(t *testing.T, s string) {
		for _, kind := range []Kind{KindJoin, KindAPI} {
			tok, err := parseToken(s, kind)
			if err != nil {
				if !errors.Is(err, ErrBadToken) || len(err.Error()) > 300 {
					t.Fatalf("error %v", err)
				}
				continue
			}
			if !strings.Contains(s, tok.Reveal()) || len(tok.Reveal()) != tokenLength {
				t.Fatalf("%q was read as %q", s, tok.Reveal())
			}
		}
	})
}

func TestRolesOfTopology(t *testing.T) {
	if topology.RoleMaster != "master" || topology.RoleSub != "sub" {
		t.Fatal("the roles have other names: records that are stored would not be understood")
	}
}
