package store

import (
	"fmt"
	"strings"
)

// Bounds of what is stored.
const (
	// MaxKeyBytes bounds a record's key, without the collection's prefix.
	MaxKeyBytes = 256
	// MaxValueBytes bounds one value as JSON: 1 MiB.
	MaxValueBytes = 1 << 20
	// MaxTxnOps bounds the operations of one Commit.
	MaxTxnOps = 100
	// MaxTxnBytes bounds the values of one Commit together: 4 MiB.
	MaxTxnBytes = 4 << 20
)

// root is the prefix of everything that Piccolo stores in etcd.
const root = "/piccolo/"

// ValidateKey tells whether key can name a record: one or more segments joined
// by "/", each of letters, digits and ". _ : @ + -", none of them "." or "..",
// MaxKeyBytes at most. So a key can neither leave its collection nor collide
// with another one.
func ValidateKey(key string) error {
	if key == "" {
		return fmt.Errorf("key is empty: %w", ErrInvalid)
	}
	if len(key) > MaxKeyBytes {
		return fmt.Errorf("key %.32q… has %d bytes, at most %d: %w", key, len(key), MaxKeyBytes, ErrInvalid)
	}
	for segment := range strings.SplitSeq(key, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return fmt.Errorf("key %q has the segment %q: %w", key, segment, ErrInvalid)
		}
		if i := strings.IndexFunc(segment, notInKey); i >= 0 {
			return fmt.Errorf("key %q: only letters, digits and . _ : @ + - are allowed in a segment: %w", key, ErrInvalid)
		}
	}
	return nil
}

func notInKey(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		return false
	}
	return !strings.ContainsRune("._:@+-", r)
}
