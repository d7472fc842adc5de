package gossip

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/hashicorp/memberlist"
)

const (
	// KeySize is the length of a key in bytes: AES-256.
	KeySize = 32
	// maxKeys bounds a keyring: every packet may be tried with each key.
	maxKeys = 8
	// maxKeyFile bounds a keyring file in bytes.
	maxKeyFile = 4096
)

// ErrExposed says that a keyring file may be read by somebody else than its owner.
var ErrExposed = errors.New("keyring file is open to others")

// Key is one AES-256 key. However it is printed, only its fingerprint shows.
type Key [KeySize]byte

// NewKey returns a random key.
func NewKey() Key {
	var k Key
	_, _ = rand.Read(k[:]) // crypto/rand.Read never fails: it ends the program instead
	return k
}

// Fingerprint is the first 8 hex digits of the key's SHA-256: enough to compare, useless to an attacker.
func (k Key) Fingerprint() string {
	sum := sha256.Sum256(k[:])
	return hex.EncodeToString(sum[:4])
}

// Format prints the fingerprint for every verb.
func (k Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "key:"+k.Fingerprint()) }

// MarshalText gives the fingerprint, so that a key that strays into JSON or a log stays secret.
func (k Key) MarshalText() ([]byte, error) { return []byte("key:" + k.Fingerprint()), nil }

// Keyring is the set of keys of a mesh: Primary encrypts, every key decrypts. At most 8 keys, all different.
// To rotate: give every node the new key in Others, then make it everybody's Primary with the old one in Others,
// then drop the old one.
type Keyring struct {
	Primary Key
	Others  []Key
}

// Validate checks the keyring: a primary key that is not all zero, at most 8 keys, none twice.
func (r Keyring) Validate() error {
	keys := r.keys()
	if len(keys) > maxKeys {
		return fmt.Errorf("%w: %d keys, at most %d", ErrInvalid, len(keys), maxKeys)
	}
	for i, k := range keys {
		if k == (Key{}) {
			return fmt.Errorf("%w: key %d is empty", ErrInvalid, i+1)
		}
		if slices.Contains(keys[:i], k) {
			return fmt.Errorf("%w: key %d is there twice", ErrInvalid, i+1)
		}
	}
	return nil
}

// Equal reports whether both have the same keys in the same order.
func (r Keyring) Equal(o Keyring) bool { return slices.Equal(r.keys(), o.keys()) }

func (r Keyring) keys() []Key { return append([]Key{r.Primary}, r.Others...) }

// Encode gives the keyring's text form, the file's and the wire's: one key per line in base64, the primary first.
func (r Keyring) Encode() []byte {
	var b bytes.Buffer
	for _, k := range r.keys() {
		b.WriteString(base64.StdEncoding.EncodeToString(k[:]))
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// ParseKeyring reads what Encode wrote. Empty lines and lines that start with # are passed over. Errors name the
// line and never show its content.
func ParseKeyring(text []byte) (Keyring, error) {
	if len(text) > maxKeyFile {
		return Keyring{}, fmt.Errorf("parse keyring: %w: longer than %d bytes", ErrInvalid, maxKeyFile)
	}
	var keys []Key
	s := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; s.Scan(); n++ {
		line := bytes.TrimSpace(s.Bytes())
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		raw, err := base64.StdEncoding.Strict().DecodeString(string(line))
		if err != nil || len(raw) != KeySize {
			return Keyring{}, fmt.Errorf("parse keyring: line %d: %w: must be %d bytes in base64", n, ErrInvalid, KeySize)
		}
		keys = append(keys, Key(raw))
	}
	if len(keys) == 0 {
		return Keyring{}, fmt.Errorf("parse keyring: %w: it holds no key", ErrInvalid)
	}
	r := Keyring{Primary: keys[0], Others: keys[1:]}
	if err := r.Validate(); err != nil {
		return Keyring{}, fmt.Errorf("parse keyring: %w", err)
	}
	return r, nil
}

// LoadKeyring reads a keyring file. It refuses anything but a regular file without rights for group and others
// ([ErrExposed]): a secret that was readable must be assumed known.
func LoadKeyring(path string) (Keyring, error) {
	f, err := os.Open(path)
	if err != nil {
		return Keyring{}, fmt.Errorf("load gossip keyring: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return Keyring{}, fmt.Errorf("load gossip keyring %s: %w", path, err)
	}
	if !info.Mode().IsRegular() {
		return Keyring{}, fmt.Errorf("load gossip keyring %s: %w: not a regular file", path, ErrInvalid)
	}
	if m := info.Mode().Perm(); m&0o077 != 0 {
		return Keyring{}, fmt.Errorf("load gossip keyring %s: %w: its mode is %#o; set it with chmod 600, and "+
			"rotate the key if somebody else may have read it", path, ErrExposed, m)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return Keyring{}, fmt.Errorf("load gossip keyring %s: %w", path, err)
	}
	r, err := ParseKeyring(text)
	if err != nil {
		return Keyring{}, fmt.Errorf("load gossip keyring %s: %w", path, err)
	}
	return r, nil
}

// install brings a live memberlist keyring to exactly r, in r's order.
//
// memberlist's RemoveKey shifts the array that readers are walking without a lock; removing the *last* key shifts
// nothing. So the keys to keep are moved to the front one by one, and the others are taken off the end.
func (r Keyring) install(ring *memberlist.Keyring) error {
	keep := r.keys()
	for _, k := range keep {
		if err := ring.AddKey(bytes.Clone(k[:])); err != nil {
			return fmt.Errorf("add %v: %w", k, err)
		}
	}
	for _, k := range slices.Backward(keep) {
		if err := ring.UseKey(k[:]); err != nil {
			return fmt.Errorf("use %v: %w", k, err)
		}
	}
	for all := ring.GetKeys(); len(all) > len(keep); all = ring.GetKeys() {
		if err := ring.RemoveKey(all[len(all)-1]); err != nil {
			return fmt.Errorf("remove an old key: %w", err)
		}
	}
	return nil
}
