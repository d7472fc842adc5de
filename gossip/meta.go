package gossip

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
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
	maxProfile  = 16
	// maxBroken bounds the broken links that a node tells of. Fewer are told where they don't fit into MaxMeta.
	maxBroken = 16
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
	// Profile is the node's link, by which the others judge its silence. The mesh sets it from its options.
	Profile Profile
}

// wireMeta is version 1 of the encoding: JSON with one-letter keys. Keys are only ever added, so a reader of any
// version takes what it knows and passes over the rest.
type wireMeta struct {
	Format   int            `json:"v"`
	Role     string         `json:"r,omitempty"`
	API      netip.AddrPort `json:"a,omitzero"`
	Version  string         `json:"p,omitempty"`
	Instance string         `json:"i,omitempty"`
	Profile  Profile        `json:"l,omitempty"`
	Broken   []string       `json:"b,omitempty"` // ids of living members that it doesn't reach
}

// Encode gives the wire form, at most [MaxMeta] bytes.
func (m Meta) Encode() ([]byte, error) { return m.encode(nil) }

// encode adds as many of the broken links as there is room for.
func (m Meta) encode(broken []string) ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("encode gossip meta: %w", err)
	}
	for broken = broken[:min(len(broken), maxBroken)]; ; broken = broken[:len(broken)-1] {
		b, err := json.Marshal(wireMeta{metaVersion, m.Role, m.API, m.Version, m.Instance, m.Profile, broken})
		switch {
		case err != nil:
			return nil, fmt.Errorf("encode gossip meta: %w", err)
		case len(b) <= MaxMeta:
			return b, nil
		case len(broken) == 0:
			return nil, fmt.Errorf("encode gossip meta: %w: %d bytes, at most %d", ErrInvalid, len(b), MaxMeta)
		}
	}
}

func (m Meta) check() error {
	for _, f := range []struct {
		name, value string
		limit       int
	}{{"Role", m.Role, maxRole}, {"Version", m.Version, maxVersion}, {"Instance", m.Instance, maxInstance},
		{"Profile", string(m.Profile), maxProfile}} {
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
	m, _, err := decodeMeta(b)
	return m, err
}

// decodeMeta gives the broken links too, sorted.
func decodeMeta(b []byte) (Meta, []string, error) {
	if len(b) > MaxMeta {
		return Meta{}, nil, fmt.Errorf("decode gossip meta: %w: %d bytes, at most %d", ErrInvalid, len(b), MaxMeta)
	}
	var w wireMeta
	if err := json.Unmarshal(b, &w); err != nil {
		return Meta{}, nil, fmt.Errorf("decode gossip meta: %w: %w", ErrInvalid, err)
	}
	if w.Format < 1 {
		return Meta{}, nil, fmt.Errorf("decode gossip meta: %w: format %d", ErrInvalid, w.Format)
	}
	m := Meta{Role: w.Role, API: w.API, Version: w.Version, Instance: w.Instance, Profile: w.Profile}
	if err := m.check(); err != nil {
		return Meta{}, nil, fmt.Errorf("decode gossip meta: %w", err)
	}
	broken := slices.DeleteFunc(w.Broken, func(id string) bool { return checkID(id) != nil })
	slices.Sort(broken)
	return m, broken[:min(len(broken), maxBroken)], nil
}

// NewInstance returns a random instance id of 16 hex digits.
func NewInstance() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
