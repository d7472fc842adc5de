package auth

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"piccolo.io/piccolo/topology"
)

func TestJoinRecordCheck(t *testing.T) {
	tok, rec := joinToken(t)
	other, _ := joinToken(t)
	api, _ := apiToken(t)
	wrongSecret := tok
	wrongSecret.Secret = other.Secret
	otherKind := tok
	otherKind.Kind = KindAPI
	for name, c := range map[string]struct {
		rec  JoinRecord
		tok  Token
		role topology.Role
		at   time.Time
		want error
	}{
		"good":                       {rec, tok, topology.RoleSub, testNow, nil},
		"last moment":                {rec, tok, topology.RoleSub, rec.ExpiresAt.Add(-1), nil},
		"expired":                    {rec, tok, topology.RoleSub, rec.ExpiresAt, ErrTokenExpired},
		"master with a sub token":    {rec, tok, topology.RoleMaster, testNow, ErrTokenRole},
		"no role":                    {rec, tok, "", testNow, ErrTokenRole},
		"another token":              {rec, other, topology.RoleSub, testNow, ErrTokenUnknown},
		"wrong secret":               {rec, wrongSecret, topology.RoleSub, testNow, ErrTokenUnknown},
		"wrong secret after the end": {rec, wrongSecret, topology.RoleMaster, rec.ExpiresAt, ErrTokenUnknown},
		"kind changed":               {rec, otherKind, topology.RoleSub, testNow, ErrTokenUnknown},
		"an API token":               {rec, api, topology.RoleSub, testNow, ErrTokenUnknown},
		"zero token":                 {rec, Token{}, topology.RoleSub, testNow, ErrTokenUnknown},
		"zero record":                {JoinRecord{}, tok, topology.RoleSub, testNow, ErrTokenUnknown},
		"both zero":                  {JoinRecord{}, Token{Kind: KindJoin}, "", testNow, ErrTokenUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.rec.Check(c.tok, c.role, c.at)
			if !errors.Is(err, c.want) || (c.want == nil) != (err == nil) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestAPIRecordCheck(t *testing.T) {
	tok, rec := apiToken(t)
	p, err := rec.Check(tok, testNow.AddDate(50, 0, 0))
	if err != nil || p != Admin("admin") {
		t.Fatalf("got %v, %v", p, err)
	}
	ending, endingRec, err := NewAPIToken(APIOptions{Fingerprint: testFingerprint, User: "eva", TTL: time.Hour, Now: testNow})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := endingRec.Check(ending, testNow.Add(time.Hour)); !errors.Is(err, ErrTokenExpired) || !errors.Is(err, ErrUnauthenticated) {
		t.Errorf("expired: %v", err)
	}
	if p, err := endingRec.Check(ending, testNow); err != nil || p.ID != "eva" {
		t.Errorf("before the end: %v, %v", p, err)
	}
	if _, err := rec.Check(ending, testNow); !errors.Is(err, ErrTokenUnknown) || !errors.Is(err, ErrUnauthenticated) {
		t.Errorf("another's token: %v", err)
	}
	if _, err := (APIRecord{}).Check(tok, testNow); !errors.Is(err, ErrTokenUnknown) {
		t.Errorf("zero record: %v", err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	good := JoinOptions{Fingerprint: testFingerprint, Now: testNow}
	for field, change := range map[string]func(*JoinOptions){
		"Fingerprint": func(o *JoinOptions) { o.Fingerprint = strings.Repeat("g", 32) },
		"Role":        func(o *JoinOptions) { o.Role = "boss" },
		"TTL":         func(o *JoinOptions) { o.TTL = -1 },
		"Now":         func(o *JoinOptions) { o.Now = time.Time{} },
		"Description": func(o *JoinOptions) { o.Description = strings.Repeat("x", 257) },
	} {
		o := good
		change(&o)
		if _, _, err := NewJoinToken(o); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("join %s: %v", field, err)
		}
	}
	for field, o := range map[string]APIOptions{
		"Fingerprint": {Now: testNow},
		"User":        {Fingerprint: testFingerprint, Now: testNow, User: "a b"},
		"TTL":         {Fingerprint: testFingerprint, Now: testNow, TTL: -1},
		"Now":         {Fingerprint: testFingerprint},
	} {
		if _, _, err := NewAPIToken(o); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("API %s: %v", field, err)
		}
	}
}

func TestRecordsInJSON(t *testing.T) {
	tok, rec := joinToken(t)
	b, err := json.Marshal(rec)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(b), tok.Secret.Reveal()) {
		t.Fatal("the record holds the secret")
	}
	want := `{"id":"` + rec.ID + `","hash":"` + rec.Hash + `","role":"sub","created_at":"2027-03-01T12:00:00Z","expires_at":"2027-03-02T12:00:00Z","uses":0}`
	if diff := cmp.Diff(want, string(b)); diff != "" {
		t.Error(diff)
	}
	var back JoinRecord
	if err := json.Unmarshal(b, &back); err != nil || back != rec {
		t.Errorf("read back %v, %v", back, err)
	}
	_, api := apiToken(t)
	b, err = json.Marshal(api)
	if err != nil || strings.Contains(string(b), "expires_at") {
		t.Errorf("API record without an end: %s, %v", b, err)
	}
}
