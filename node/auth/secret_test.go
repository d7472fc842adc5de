package auth

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestSecretNeverShows(t *testing.T) {
	const text = "opensesame"
	s := Secret(text)
	tok := Token{Kind: KindJoin, Fingerprint: "f", ID: "i", Secret: s}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%10.3s"} {
		fmt.Fprintf(&out, verb+"\n", s)
		fmt.Fprintf(&out, verb+"\n", tok)
		fmt.Fprintf(&out, verb+"\n", &tok)
		fmt.Fprintf(&out, verb+"\n", []any{s, struct{ S Secret }{s}})
	}
	for _, h := range []slog.Handler{slog.NewJSONHandler(&out, nil), slog.NewTextHandler(&out, nil)} {
		slog.New(h).Info("x", "secret", s, "token", tok, "all", []any{s, tok}, "in", struct{ S Secret }{s})
	}
	b, err := json.Marshal(map[string]any{"s": s, "t": tok})
	if err != nil {
		t.Fatal(err)
	}
	out.Write(b)
	hex := fmt.Sprintf("%x", text)
	if got := out.String(); strings.Contains(got, text) || strings.Contains(strings.ToLower(got), hex) {
		t.Fatalf("the secret shows in:\n%s", got)
	}
	if s.Reveal() != text {
		t.Fatalf("Reveal gives %q", s.Reveal())
	}
}

func TestVerify(t *testing.T) {
	hash := HashSecret("a")
	for _, c := range []struct {
		hash   string
		secret Secret
		want   bool
	}{
		{hash, "a", true},
		{hash, "b", false},
		{hash, "", false},
		{"", "", false},
		{"", "a", false},
		{hash[:63], "a", false},
		{strings.ToUpper(hash), "a", false},
		{"a", "a", false},
	} {
		if got := Verify(c.hash, c.secret); got != c.want {
			t.Errorf("Verify(%q, %q) = %v, want %v", c.hash, c.secret.Reveal(), got, c.want)
		}
	}
}
