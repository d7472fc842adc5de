package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
)

// Kind is the first part of a token: what it is for, and its version.
type Kind string

const (
	// KindJoin lets a machine join the cluster.
	KindJoin Kind = "pic1"
	// KindAPI lets an administrator use the API.
	KindAPI Kind = "pica"
)

// what the kind is called in messages.
func (k Kind) what() string {
	if k == KindAPI {
		return "API token"
	}
	return "join token"
}

func (k Kind) article() string {
	if k == KindAPI {
		return "an " + k.what()
	}
	return "a " + k.what()
}

const (
	fingerprintLength = 32
	idLength          = 10
	secretLength      = 56
	tokenLength       = 4 + 1 + fingerprintLength + 1 + idLength + 1 + secretLength
	// maxTokenInput bounds what is looked at at all, quotes and spaces around
	// the token included.
	maxTokenInput = 512
	randomBytes   = 32
	checkBytes    = 3
)

// What can be wrong with the text of a token. All match ErrBadToken as well.
var (
	ErrBadToken        = errors.New("not a valid token")
	ErrTokenEmpty      = errors.New("it is empty")
	ErrTokenTooLong    = errors.New("it is too long")
	ErrTokenTruncated  = errors.New("a part is missing")
	ErrTokenPrefix     = errors.New("it is not a token of piccolo")
	ErrTokenKind       = errors.New("it is a token of another kind")
	ErrTokenCharacters = errors.New("it has characters that no token has")
	ErrTokenMistyped   = errors.New("its check sum is wrong")
)

// base32 in lower case has no character that a shell or a URL would mind or a
// double click would stop at. 35 bytes make 56 characters with no bits left
// over, so that each secret has one spelling.
var encoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

var (
	fingerprintPattern = regexp.MustCompile(`^[0-9a-f]{32}$`)
	idPattern          = regexp.MustCompile(`^[a-z2-7]{10}$`)
	tokenCharacters    = regexp.MustCompile(`^[a-z0-9.]*$`)
)

// Token is a parsed or new token: <kind>.<fingerprint>.<id>.<secret>.
type Token struct {
	Kind Kind
	// Fingerprint pins the cluster's CA: 32 hex digits, see pki.Fingerprint.
	Fingerprint string
	// ID names the record that the masters keep. It is not secret.
	ID string
	// Secret is 256 random bits and a check sum over the whole token, which
	// tells a mistyped token from a wrong one.
	Secret Secret
}

// Reveal is the token as it is handed to the one who is to use it.
func (t Token) Reveal() string {
	return t.head() + "." + t.Secret.Reveal()
}

func (t Token) head() string { return string(t.Kind) + "." + t.Fingerprint + "." + t.ID }

// String is the token without its secret.
func (t Token) String() string { return t.head() + "." + redacted }

// LogValue is the token without its secret.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }

func newToken(kind Kind, fingerprint string) (Token, error) {
	if !fingerprintPattern.MatchString(fingerprint) {
		return Token{}, fmt.Errorf("option Fingerprint %.40q is not 32 hex digits", fingerprint)
	}
	id := make([]byte, 7)
	raw := make([]byte, randomBytes, randomBytes+checkBytes)
	for _, b := range [][]byte{id, raw} {
		if _, err := rand.Read(b); err != nil {
			return Token{}, fmt.Errorf("draw random bytes: %w", err)
		}
	}
	t := Token{Kind: kind, Fingerprint: fingerprint, ID: encoding.EncodeToString(id)[:idLength]}
	t.Secret = Secret(encoding.EncodeToString(append(raw, t.checkSum(raw)...)))
	return t, nil
}

func (t Token) checkSum(raw []byte) []byte {
	h := sha256.New()
	h.Write([]byte(t.head()))
	h.Write(raw)
	return h.Sum(nil)[:checkBytes]
}

// ParseJoinToken reads a join token as a person pasted it: spaces and quotes
// around it are ignored. The error says what is wrong and never quotes the
// input; it matches ErrBadToken and one of the more exact causes.
func ParseJoinToken(s string) (Token, error) { return parseToken(s, KindJoin) }

// ParseAPIToken reads an administrator's token, with ParseJoinToken's errors.
func ParseAPIToken(s string) (Token, error) { return parseToken(s, KindAPI) }

func parseToken(s string, want Kind) (Token, error) {
	t, err := splitToken(s, want)
	if err != nil {
		return Token{}, fmt.Errorf("read %s: %w: %w", want.what(), ErrBadToken, err)
	}
	return t, nil
}

func splitToken(s string, want Kind) (Token, error) {
	if len(s) > maxTokenInput {
		return Token{}, fmt.Errorf("%w: %d bytes, it should have %d", ErrTokenTooLong, len(s), tokenLength)
	}
	s = strings.Trim(s, " \t\r\n\v\f\u00a0\ufeff\"'`“”‘’")
	if s == "" {
		return Token{}, fmt.Errorf("%w: make one with piccolo token create on a master", ErrTokenEmpty)
	}
	if err := checkKind(s, want); err != nil {
		return Token{}, err
	}
	if i := strings.IndexAny(s, " \t\r\n"); i >= 0 {
		return Token{}, fmt.Errorf("%w: a space or line break at position %d (copied over two lines?)", ErrTokenCharacters, i+1)
	}
	if !tokenCharacters.MatchString(s) {
		return Token{}, fmt.Errorf("%w: only a-z, 0-9 and '.' occur", ErrTokenCharacters)
	}
	if len(s) > tokenLength {
		return Token{}, fmt.Errorf("%w: %d characters, it should have %d", ErrTokenTooLong, len(s), tokenLength)
	}
	return checkParts(s, want)
}

func checkKind(s string, want Kind) error {
	prefix, _, dotted := strings.Cut(s, ".")
	other := KindAPI
	if want == KindAPI {
		other = KindJoin
	}
	switch {
	case prefix == string(want):
		return nil
	case prefix == string(other):
		return fmt.Errorf("%w: this is %s, but %s is needed, which begins with %q", ErrTokenKind, other.article(), want.article(), string(want)+".")
	case !dotted && strings.HasPrefix(string(want), s):
		return fmt.Errorf("%w: only its beginning is there", ErrTokenTruncated)
	}
	return fmt.Errorf("%w: %s begins with %q", ErrTokenPrefix, want.article(), string(want)+".")
}

func checkParts(s string, want Kind) (Token, error) {
	parts := strings.Split(s, ".")
	if len(s) < tokenLength || len(parts) < 4 {
		return Token{}, fmt.Errorf("%w: it has %d of %d characters", ErrTokenTruncated, len(s), tokenLength)
	}
	if len(parts) > 4 || !fingerprintPattern.MatchString(parts[1]) || !idPattern.MatchString(parts[2]) {
		return Token{}, fmt.Errorf("%w: its parts are not where they belong", ErrTokenCharacters)
	}
	t := Token{Kind: want, Fingerprint: parts[1], ID: parts[2], Secret: Secret(parts[3])}
	raw, err := encoding.DecodeString(parts[3])
	if err != nil || len(raw) != randomBytes+checkBytes {
		return Token{}, fmt.Errorf("%w: only a-z and 2-7 occur in the last part", ErrTokenCharacters)
	}
	if string(t.checkSum(raw[:randomBytes])) != string(raw[randomBytes:]) {
		return Token{}, fmt.Errorf("%w: a character was changed on the way, copy it again", ErrTokenMistyped)
	}
	return t, nil
}
