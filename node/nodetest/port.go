package nodetest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/gofrs/flock"
)

// FreePort is a TCP port that nobody listens on and that no other test, of
// this process or another, is given until this one ends. It lies below the
// range from which the kernel takes ports for outgoing connections.
func FreePort(t testing.TB) int {
	t.Helper()
	for range 200 {
		port := 20000 + rand.IntN(12000)
		lock := flock.New(filepath.Join(os.TempDir(), fmt.Sprintf("piccolo-test-port-%d", port)))
		if held, err := lock.TryLock(); err != nil || !held {
			continue
		}
		l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		if err == nil {
			err = l.Close()
		}
		if err != nil {
			_ = lock.Unlock()
			continue
		}
		t.Cleanup(func() {
			_ = os.Remove(lock.Path())
			_ = lock.Unlock()
		})
		return port
	}
	t.Fatal("no free port was found between 20000 and 32000")
	return 0
}
