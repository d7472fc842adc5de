package rest

import (
	"context"
	"fmt"
	"net/http/httptest"
	"testing"
	"time"
)

func TestLimiterIsPerClientAndBounded(t *testing.T) {
	l, err := newLimiter(10, 2)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1000, 0)
	wait := func(from, path string) time.Duration {
		r := httptest.NewRequest("GET", path, nil)
		r.RemoteAddr = from
		return l.wait(r, now)
	}
	for i, x := range []struct {
		from, path string
		refused    bool
	}{
		{"10.0.0.1:1", "/x", false}, {"10.0.0.1:2", "/x", false}, {"10.0.0.1:3", "/x", true},
		{"10.0.0.2:1", "/x", false},
		{"[::ffff:10.0.0.1]:1", "/x", true},
		{"[2001:db8::1]:1", "/x", false}, {"[2001:db8::2]:1", "/x", false}, {"[2001:db8::3]:1", "/x", true},
		{"[2001:db8:0:1::1]:1", "/x", false},
		{"10.0.0.1:1", registerPath, false},
		{"10.0.0.1:1", enrolCall, false},
	} {
		if got := wait(x.from, x.path); (got > 0) != x.refused {
			t.Errorf("%d: %s %s waits %s, want refused %v", i, x.from, x.path, got, x.refused)
		}
	}
	// A refused request costs nothing: the bucket fills at its own pace.
	now = now.Add(100 * time.Millisecond)
	if got := wait("10.0.0.1:9", "/x"); got != 0 {
		t.Errorf("after the pause it still waits %s", got)
	}
	for range enrolBurst - 2 {
		wait("10.0.0.1:1", registerPath)
	}
	if wait("10.0.0.1:1", enrolCall) == 0 {
		t.Error("attempts to join over REST and gRPC are counted apart")
	}
	for i := range 3 * maxClients {
		wait(fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&255, i&255), "/x")
	}
	if l.clients.Len() > maxClients {
		t.Errorf("%d clients are remembered, want at most %d", l.clients.Len(), maxClients)
	}
}

func TestLocalSocketServesOnlyRoot(t *testing.T) {
	l, err := newLimiter(1, 1)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("GET", "/x", nil)
	r = r.WithContext(context.WithValue(r.Context(), localKey{}, localAddr{uid: 1000}))
	if _, err := new(Handler).principal(r); err == nil {
		t.Error("user 1000 is taken for root")
	}
	for range 10 {
		if l.wait(r, time.Unix(0, 0)) > 0 {
			t.Error("the local socket is limited")
		}
	}
}
