package cache

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
)

// A file is one line, "piccolo-cache 1 <SHA-256 of the body, hex>", and the body.
const (
	magic     = "piccolo-cache 1 "
	headBytes = len(magic) + 2*sha256.Size + 1
)

var errNotOurs = errors.New("it does not begin like a cache file of this version")

func encode(body []byte) []byte {
	out := make([]byte, 0, headBytes+len(body))
	out = fmt.Appendf(out, "%s%x\n", magic, sha256.Sum256(body))
	return append(out, body...)
}

// decode returns the body, or an error if a single bit of data is another one
// than encode has written.
func decode(data []byte) ([]byte, error) {
	if len(data) < headBytes || !bytes.HasPrefix(data, []byte(magic)) {
		return nil, errNotOurs
	}
	body := data[headBytes:]
	if !bytes.Equal(data[:headBytes], encode(body)[:headBytes]) {
		return nil, errors.New("its checksum does not match")
	}
	return body, nil
}
