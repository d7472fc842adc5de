package master

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"

	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/topology"
)

// TestTidy: whatever comes, what is kept is short, printable and stays the
// same when it comes again.
func TestTidy(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := string(rapid.SliceOf(rapid.Byte()).Draw(t, "in")) + rapid.String().Draw(t, "text")
		limit := rapid.IntRange(1, 64).Draw(t, "limit")
		out := tidy(in, limit)
		if len(out) > limit || strings.ContainsFunc(out, unicode.IsControl) || tidy(out, limit) != out {
			t.Fatalf("%q became %q", in, out)
		}
	})
	if got := tidy("Küche läuft", maxString); got != "Küche läuft" {
		t.Errorf("an honest text became %q", got)
	}
}

func TestHelloRefused(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	b := c.join("kitchen")
	good, before := b.hello, c.revision()
	for name, change := range map[string]func(*workload.Hello){
		"no address":       func(h *workload.Hello) { h.IP = "not an ip \x1b[2J" },
		"any address":      func(h *workload.Hello) { h.IP = "::" },
		"multicast":        func(h *workload.Hello) { h.IP = "224.0.0.1" },
		"zone":             func(h *workload.Hello) { h.IP = "fe80::1%\x1b[2J" },
		"long version":     func(h *workload.Hello) { h.Version = strings.Repeat("v", 257) },
		"escape":           func(h *workload.Hello) { h.Instance = "\x1b" },
		"machine":          func(h *workload.Hello) { h.MachineID = strings.Repeat("m", 1<<20) },
		"negative applied": func(h *workload.Hello) { h.AppliedRevision = -1 },
	} {
		b.hello = good
		change(&b.hello)
		if err := b.refused(); !errors.Is(err, topology.ErrInvalid) || len(err.Error()) > 500 || strings.ContainsFunc(err.Error(), unicode.IsControl) {
			t.Errorf("%s: %.600v", name, err)
		}
	}
	if c.revision() != before || len(c.Alerts()) > 0 {
		t.Error("something of it was written")
	}
	for _, ip := range []string{"127.0.0.1", "10.0.0.2", "fd00::2", "::1"} {
		if err := validAddress("ip_address", ip); err != nil {
			t.Errorf("%s: %v", ip, err)
		}
	}
}

func TestWordsAreBounded(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	b := c.ready("kitchen")
	h := b.heartbeat()
	h.ApplyError = strings.Repeat("x\x1b", 3<<20)
	must[workload.HeartbeatReply](t)(c.Heartbeat(t.Context(), b.connection, h))
	if n := c.node(b.id); len(n.ApplyError) > maxMessage || strings.Contains(n.ApplyError, "\x1b") || n.ApplyError == "" {
		t.Errorf("%d bytes are kept: %.40q", len(n.ApplyError), n.ApplyError)
	}
	must[*workload.Plan](t)(c.NextPlan(t.Context(), b.connection, b.id, b.hello.AppliedRevision, h.ApplyError))
	if n := c.node(b.id); len(n.ApplyError) > maxMessage {
		t.Errorf("%d bytes are kept", len(n.ApplyError))
	}
	for name, change := range map[string]func(*workload.Heartbeat){
		"no number": func(h *workload.Heartbeat) { h.Usage.Load1 = math.NaN() },
		"infinity":  func(h *workload.Heartbeat) { h.Usage.CPUPercent = math.Inf(1) },
		"revision":  func(h *workload.Heartbeat) { h.AppliedRevision = -1 },
	} {
		h := b.heartbeat()
		change(&h)
		if _, err := c.Heartbeat(t.Context(), b.connection, h); !errors.Is(err, topology.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := c.NextPlan(t.Context(), b.connection, b.id, -1, ""); !errors.Is(err, topology.ErrInvalid) {
		t.Errorf("a plan that can never be made is confirmed: %v", err)
	}
	r := b.report()
	r.Containers[0].Name, r.Containers[0].Labels = "web\x1b[2J", map[string]string{}
	for i := range 500 {
		r.Containers[0].Labels[fmt.Sprintf("l%03d", i)] = strings.Repeat("v", 1000)
	}
	r.Alerts = []workload.Alert{{ID: "x", Message: strings.Repeat("m", 1<<20)}}
	if err := c.Report(t.Context(), b.connection, r); err != nil {
		t.Fatal(err)
	}
	got := c.Containers(b.id)[0]
	if strings.Contains(got.Name, "\x1b") || len(got.Labels) != maxContainerLabels || len(got.Labels["l000"]) != maxString || len(c.Alerts()[0].Message) != maxMessage {
		t.Errorf("kept: %.200v", got)
	}
	if len(r.Containers[0].Labels) != 500 {
		t.Error("the caller's own report was changed")
	}
	r.Alerts = make([]workload.Alert, maxNodeAlerts+1)
	if err := c.Report(t.Context(), b.connection, r); !errors.Is(err, topology.ErrInvalid) {
		t.Errorf("too many alerts: %v", err)
	}
	r = b.report()
	r.PodmanVersion = "5\n"
	if err := c.Report(t.Context(), b.connection, r); !errors.Is(err, topology.ErrInvalid) {
		t.Errorf("a version of two lines: %v", err)
	}
}

func TestRegistrationIsBounded(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	for name, change := range map[string]func(*workload.Registration){
		"multicast":  func(r *workload.Registration) { r.IP = "ff02::1" },
		"version":    func(r *workload.Registration) { r.Version = "v1\x07" },
		"model":      func(r *workload.Registration) { r.Platform.Model = strings.Repeat("x", 300) },
		"host name":  func(r *workload.Registration) { r.Hostname = strings.Repeat("x", 1<<20) },
		"request":    func(r *workload.Registration) { r.CSR = make([]byte, 1<<20) },
		"findings":   func(r *workload.Registration) { r.Readiness = make([]workload.Finding, 65) },
		"negative":   func(r *workload.Registration) { r.Resources.Disk = -1 },
		"machine id": func(r *workload.Registration) { r.MachineID = "\x00" },
	} {
		b := newBoard(t, c, "newcomer")
		r := b.registration(c.token(auth.JoinOptions{}))
		change(&r)
		if _, err := c.Register(t.Context(), r.NodeID, r); !errors.Is(err, topology.ErrInvalid) || len(err.Error()) > 500 {
			t.Errorf("%s: %.600v", name, err)
		}
	}
}
