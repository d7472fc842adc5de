package node

import (
	"flag"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// Whole clusters wait more than they work.
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = f.Value.Set("4")
	}
	goleak.VerifyTestMain(patient{m})
}

// patient lets what was stopped end before leaks are looked for: etcd's read
// deadline of 5 s can win over its wish to close a connection.
type patient struct{ m *testing.M }

func (p patient) Run() int {
	code := p.m.Run()
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); {
		if goleak.Find() == nil { // waits a little itself
			break
		}
	}
	return code
}
