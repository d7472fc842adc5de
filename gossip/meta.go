package gossip

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"unicode/utf8"

	"github.com/hashicorp/memberlist"
)

// MaxMeta is the largest encoded [Meta] in bytes: memberlist's own limit, beyond which it panics.
const MaxMeta = memberlist.MetaMaxSize

const (
	metaVersion = 1
	maxRole     = 32
	maxVersion  = 64
	maxInstance = 32
)

// Meta is what a node says of itself to everybody. It travels with every announcement of the node, so it is small.
type Meta struct {
	// Role is the node's role as topology names it, at most 32 bytes.
	Role string
	// API is the address of the node's API; the zero value where it has none.
	API netip.AddrPort
	// Version is the version of the node's program, at most 64 bytes.
	Version string
	// Instance is random for every start of the process, at most 32 bytes: a node that came back with another
	// instance has been restarted, however quick it was.
	Instance string
}

// wireMeta is version 1 of the encoding: JSON with one-letter keys. Keys are only ever added, so a reader of any
// version takes what it knows and passes over the rest.
type wireMeta struct {
	Format   int            `json:"v"`
	Role     string         `json:"r,omitempty"`
	API      netip.AddrPort `json:"a,omitzero"`
	Version  string         `json:"p,omitempty"`
	Instance string         `json:"i,omitempty"`
}

// Encode gives the wire form, at most [MaxMeta] bytes.
func (m Meta) Encode() ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("encode gossip meta: %w", err)
	}
	b, err := json.Marshal(wireMeta{metaVersion, m.Role, m.API, m.Version, m.Instance})
	if err != nil {
		return nil, fmt.Errorf("encode gossip meta: %w", err)
	}
	if len(b) > MaxMeta {
		return nil, fmt.Errorf("encode gossip meta: %w: %d bytes, at most %d", ErrInvalid, len(b), MaxMeta)
	}
	return b, nil
}

func (m Meta) check() error {
	for _, f := range []struct {
		name, value string
		limit       int
	}{{"Role", m.Role, maxRole}, {"Version", m.Version, maxVersion}, {"Instance", m.Instance, maxInstance}} {
		if len(f.value) > f.limit {
			return fmt.Errorf("%s: %w: %d bytes, at most %d", f.name, ErrInvalid, len(f.value), f.limit)
		}
		if !utf8.ValidString(f.value) {
			return fmt.Errorf("%s: %w: not UTF-8", f.name, ErrInvalid)
		}
	}
	if m.API.Addr().Zone() != "" {
		return fmt.Errorf("API: %w: an address with a zone means nothing on another machine", ErrInvalid)
	}
	return nil
}

// DecodeMeta reads a wire form of this or a later version. Unknown fields are passed over; bytes that no version
// would write are an error.
func DecodeMeta(b []byte) (Meta, error) {
	if len(b) > MaxMeta {
		return Meta{}, fmt.Errorf("decode gossip meta: %w: %d bytes, at most %d", ErrInvalid, len(b), MaxMeta)
	}
	var w wireMeta
	if err := json.Unmarshal(b, &w); err != nil {
		return Meta{}, fmt.Errorf("decode gossip meta: %w: %w", ErrInvalid, err)
	}
	if w.Format < 1 {
		return Meta{}, fmt.Errorf("decode gossip meta: %w: format %d", ErrInvalid, w.Format)
	}
	m := Meta{Role: w.Role, API: w.API, Version: w.Version, Instance: w.Instance}
	if err := m.check(); err != nil {
		return Meta{}, fmt.Errorf("decode gossip meta: %w", err)
	}
	return m, nil
}

// NewInstance returns a random instance id of 16 hex digits.
func NewInstance() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
