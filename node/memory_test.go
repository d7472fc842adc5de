package node

import (
	"net"
	"strings"
	"testing"
)

// TestReleaseCode: the program goes on afterwards, however it was linked. With
// the race detector it is linked dynamically, and the loader has written to
// pages that are read-only now.
func TestReleaseCode(t *testing.T) {
	for range 3 {
		n, err := releaseCode()
		if err != nil {
			t.Fatal(err)
		}
		if n < 1<<20 {
			t.Errorf("only %d bytes were given back", n)
		}
		if _, err := net.LookupHost("localhost"); err != nil && !strings.Contains(err.Error(), "localhost") {
			t.Error(err)
		}
	}
}
