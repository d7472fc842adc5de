package pki

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// The master's certificate runs from `built` on for 90 days.
func TestBoardsWithWrongClocks(t *testing.T) {
	right := newClock(t, wallAt(built))
	ca := newCA(t, "home", right)
	master := newSource(t, newNode(t, ca, masterProfile), right)
	for name, c := range map[string]struct {
		wall     time.Time
		asMember error // dialling with ClientTLS
		asNewby  error // dialling with EnrolTLS
	}{
		"right":                    {built, nil, nil},
		"half an hour behind":      {built.Add(-time.Minute * 30), nil, nil},
		"1970":                     {year1970, nil, ErrClock},
		"a month behind":           {built.AddDate(0, -1, 0), nil, ErrClock},
		"last day":                 {built.AddDate(0, 0, 89), nil, nil},
		"a day after the end":      {built.AddDate(0, 0, 91), ErrExpired, ErrExpired},
		"a year after the end":     {built.AddDate(1, 0, 0), ErrClock, ErrClock},
		"2099, after the CA's end": {year2099, ErrClock, ErrClock},
	} {
		t.Run(name, func(t *testing.T) {
			// The board does not know the master's certificate yet, and its
			// binary is older than the cluster.
			clock := newClock(t, wallAt(c.wall))
			address, _ := serve(t, ServerTLS(master, right, nil))
			config, pinned, err := EnrolTLS(ca.Fingerprint(), clock)
			if err != nil {
				t.Fatal(err)
			}
			_, err = dial(t, address, config)
			expectTimes(t, "with a token", err, c.asNewby, clock)
			if c.asNewby != nil && pinned.CAPEM() != nil {
				t.Error("a CA was handed over")
			}
			_, err = dial(t, address, clientTLS(t, ClientOptions{CA: ca.Certificate(), Clock: clock}))
			expectTimes(t, "as a member", err, c.asMember, clock)
			if c.asMember == nil && clock.Now().Before(built.Add(-time.Hour)) {
				t.Errorf("the board has learned nothing: it is %s", clock.Now())
			}
		})
	}
}

func expectTimes(t *testing.T, what string, err, want error, clock *Clock) {
	t.Helper()
	if !errors.Is(err, want) || (err == nil) != (want == nil) {
		t.Errorf("%s: %v, want %v", what, err, want)
		return
	}
	if want == nil {
		return
	}
	// Both times, and no bare error of x509.
	year := clock.Now().UTC().Format("2006-")
	if !strings.Contains(err.Error(), year) || !strings.Contains(err.Error(), "2027-05-30") {
		t.Errorf("%s: the error does not say both times: %v", what, err)
	}
	var ce *ClockError
	if want == ErrClock && (!errors.As(err, &ce) || ce.NotAfter.IsZero()) {
		t.Errorf("%s: no ClockError: %v", what, err)
	}
}

func TestHotSwapOfAServersCertificate(t *testing.T) {
	clock := newClock(t, nil)
	ca := newCA(t, "home", clock)
	id := newNode(t, ca, masterProfile)
	source := newSource(t, id, clock)
	address, _ := serve(t, ServerTLS(source, clock, nil))
	serial := func() string {
		t.Helper()
		state, err := dial(t, address, clientTLS(t, ClientOptions{CA: ca.Certificate(), Clock: clock}))
		if err != nil {
			t.Fatal(err)
		}
		p, err := CertificatePeer(state.PeerCertificates[0])
		if err != nil {
			t.Fatal(err)
		}
		return p.Serial
	}
	first := serial()
	p := masterProfile
	p.ID = id.ID()
	issued, err := ca.SignNode(request(t, id), p)
	if err != nil {
		t.Fatal(err)
	}
	if err := source.Replace(issued.ChainPEM); err != nil {
		t.Fatal(err)
	}
	if got := serial(); got == first || got != issued.Serial() {
		t.Errorf("after the swap the server shows %s, want %s", got, issued.Serial())
	}
	back, err := LoadIdentity(id.dir)
	if err != nil || serialHex(back.Certificate()) != issued.Serial() {
		t.Errorf("on disk: %v", err)
	}
	if err := source.Replace([]byte("x")); !errors.Is(err, ErrBadCertificate) || serial() != issued.Serial() {
		t.Errorf("a bad certificate: %v", err)
	}
}
