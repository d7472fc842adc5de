package store

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
)

const (
	keyBytes   = 32 // AES-256
	keyIDBytes = 4
	// A sealed value is: magic, key id, nonce (12 bytes), ciphertext, tag (16 bytes).
	sealMagic = "PS\x01"
	sealHead  = len(sealMagic) + keyIDBytes
)

type keyID [keyIDBytes]byte

func (id keyID) String() string { return hex.EncodeToString(id[:]) }

// Sealer encrypts values with AES-256-GCM. It holds several keys: the newest one
// seals, all of them open. It never shows its keys. Safe for concurrent use.
type Sealer struct {
	path   string // of the key file; empty if there is none
	newest keyID
	keys   map[keyID]cipher.AEAD
}

// newSealer takes the keys from the oldest to the newest.
func newSealer(path string, keys [][]byte) (*Sealer, error) {
	s := &Sealer{path: path, keys: make(map[keyID]cipher.AEAD, len(keys))}
	for _, key := range keys {
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, err
		}
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return nil, err
		}
		s.newest = idOf(key)
		if _, dup := s.keys[s.newest]; dup {
			return nil, fmt.Errorf("key %s is listed twice", s.newest)
		}
		s.keys[s.newest] = aead
	}
	if len(s.keys) == 0 {
		return nil, fmt.Errorf("no key in it")
	}
	return s, nil
}

// idOf names a key without telling anything about it.
func idOf(key []byte) (id keyID) {
	sum := sha256.Sum256(append([]byte("piccolo store key id\x00"), key...))
	copy(id[:], sum[:])
	return id
}

// KeyID is the short public name (8 hex digits) of the key that seals.
func (s *Sealer) KeyID() string { return s.newest.String() }

// Seal encrypts plain. The same context must be given to Open: it binds the
// sealed value to the place where it lies.
func (s *Sealer) Seal(context, plain []byte) []byte {
	aead := s.keys[s.newest]
	out := make([]byte, 0, sealHead+len(plain)+aead.Overhead())
	out = append(out, sealMagic...)
	out = append(out, s.newest[:]...)
	return aead.Seal(out, nil, plain, additional(out, context))
}

// Open decrypts what Seal made, and fails with ErrUnreadable if a single bit of
// it, or its context, is another one.
func (s *Sealer) Open(context, sealed []byte) ([]byte, error) {
	if len(sealed) < sealHead || !bytes.HasPrefix(sealed, []byte(sealMagic)) {
		return nil, fmt.Errorf("not a sealed value: %w", ErrUnreadable)
	}
	var id keyID
	copy(id[:], sealed[len(sealMagic):])
	aead, ok := s.keys[id]
	if !ok {
		return nil, fmt.Errorf("sealed with key %s, which is not in the key file %s: %w", id, s.path, ErrUnreadable)
	}
	plain, err := aead.Open(nil, nil, sealed[sealHead:], additional(sealed[:sealHead], context))
	if err != nil {
		return nil, fmt.Errorf("seal of key %s does not match: damaged or moved from another record: %w", id, ErrUnreadable)
	}
	return plain, nil
}

// additional is what a seal covers beside the value: its own head and the context.
func additional(head, context []byte) []byte {
	return append(bytes.Clone(head[:sealHead]), context...)
}

// String, GoString and LogValue keep the keys out of every log and error.
func (s *Sealer) String() string {
	return fmt.Sprintf("sealer(key %s, %d in all)", s.newest, len(s.keys))
}

// GoString is String.
func (s *Sealer) GoString() string { return s.String() }

// LogValue is String as a slog.Value.
func (s *Sealer) LogValue() slog.Value { return slog.StringValue(s.String()) }
