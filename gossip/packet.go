package gossip

import (
	"crypto/aes"
	"crypto/cipher"
	"net/netip"
	"sync/atomic"
)

// ownMark begins a datagram of this room's own. memberlist's begin with 0 or 1, the version of their encryption.
const ownMark = 'P'

// box seals and opens this room's own datagrams with the mesh's keys. They travel beside memberlist's, through the
// same socket, because memberlist passes what it receives through three goroutines and doesn't say where it came from:
// several times a second that is dear.
type box struct {
	keys atomic.Pointer[[]cipher.AEAD] // the primary first
}

func (b *box) set(r Keyring) error {
	var keys []cipher.AEAD
	for _, k := range r.keys() {
		block, err := aes.NewCipher(k[:])
		if err != nil {
			return err
		}
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return err
		}
		keys = append(keys, aead)
	}
	b.keys.Store(&keys)
	return nil
}

// seal makes a datagram: the mark, then nonce, content and tag. The mark is authenticated too.
func (b *box) seal(content []byte) []byte {
	return (*b.keys.Load())[0].Seal([]byte{ownMark}, nil, content, []byte{ownMark})
}

// open gives the content of a datagram, if one of the keys fits and it isn't empty.
func (b *box) open(datagram []byte) ([]byte, bool) {
	for _, k := range *b.keys.Load() {
		if content, err := k.Open(nil, nil, datagram[1:], datagram[:1]); err == nil {
			return content, len(content) > 0
		}
	}
	return nil, false
}

// take handles one of this room's own datagrams, in the goroutine that reads the socket.
func (m *Mesh) take(content []byte, from netip.AddrPort) {
	r := m.run.Load()
	if !r.begin() {
		return
	}
	defer r.end()
	if content[0] == beatMark {
		if b, ok := decodeBeat(content); ok && b.id != m.opts.ID {
			m.witness.heard(r, b, from)
			m.observer.heard(b.id)
		}
		return
	}
	if q, ok := decodeMessage(content); ok {
		m.hear(r, q, from)
	}
}
