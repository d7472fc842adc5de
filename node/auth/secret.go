package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
)

// redacted is what a secret shows of itself.
const redacted = "[secret]"

// Secret is a text that must not appear in logs, errors or answers. Every way
// of printing or encoding it gives "[secret]"; only Reveal gives the text.
type Secret string

// Reveal is the text itself: for the one who is to have it.
func (s Secret) Reveal() string { return string(s) }

// String hides the text.
func (s Secret) String() string { return redacted }

// Format hides the text from every verb of fmt.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue hides the text from slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText hides the text from JSON, YAML and the like. To keep a secret in
// a file, write what Reveal gives.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// HashSecret is what is stored instead of a secret: its SHA-256 in hex. The
// secrets of tokens are 256 random bits, which nobody can search; a password
// that a person chose needs another function.
func HashSecret(s Secret) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// Verify reports whether a hash is of this secret, in a time that does not
// depend on where they differ. An empty or malformed hash is of no secret.
func Verify(hash string, s Secret) bool {
	return subtle.ConstantTimeCompare([]byte(hash), []byte(HashSecret(s))) == 1
}
