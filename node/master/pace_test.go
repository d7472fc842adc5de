package master

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/topology"
)

// TestPace over a day: the first changes pass at once, what goes on for ever
// is bounded by the slow bucket.
func TestPace(t *testing.T) {
	t.Parallel()
	p, start := newPace(reportEvery), time.Now()
	passed := 0
	for i := range 86400 {
		now := start.Add(time.Duration(i) * time.Second)
		if p.take(now, 1) == 0 {
			passed++
		}
		if i == quickBurst-1 && passed != quickBurst {
			t.Fatalf("%d of the first %d passed", passed, quickBurst)
		}
	}
	if most := steadyBurst + 24*60 + 1; passed > most || passed < most-5 {
		t.Errorf("%d writes in a day, %d are allowed", passed, most)
	}
	if wait := newPace(reportEvery).take(start, 1000); wait != 0 {
		t.Errorf("a cost above the burst never passes: %s", wait)
	}
}

// tight makes a node's buckets small: two writes, then one in every.
func (c *cluster) tight(id string, every time.Duration) {
	n := c.live.paces.of(id)
	for _, p := range []*pace{n.reports, n.attaches, n.alerts} {
		p.quick, p.steady = rate.NewLimiter(rate.Every(every), 2), rate.NewLimiter(rate.Every(every), 2)
	}
}

// TestReportsAboveThePace wait, the newest one only, and are written when the
// pace allows; a crash loop is not a put for each restart.
func TestReportsAboveThePace(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	b := c.ready("kitchen")
	c.tight(b.id, 500*time.Millisecond)
	before := c.Counts().ReportsWritten
	r := b.report(topology.ReasonPodmanDown)
	for i := range 200 {
		r.Containers[0].Restarts = i + 1
		if err := c.Report(t.Context(), b.connection, r); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the newest report", func() string {
		if list := c.Containers(b.id); len(list) != 1 || list[0].Restarts != 200 {
			return fmt.Sprintf("%+v", list)
		}
		return ""
	})
	c.waitStatus(b.id, topology.StatusNotReady, topology.ReasonPodmanDown)
	if written := c.Counts().ReportsWritten - before; written > 20 {
		t.Errorf("200 changes were %d puts", written)
	}
	// Without tokens: one that waits is replaced by what is stored already.
	c.tight(b.id, time.Hour)
	c.live.paces.of(b.id).reports.take(time.Now(), 2)
	count := c.Counts().ReportsWritten
	r.Containers[0].Restarts = 201
	for _, restarts := range []int{201, 200} {
		r.Containers[0].Restarts = restarts
		if err := c.Report(t.Context(), b.connection, r); err != nil {
			t.Fatal(err)
		}
	}
	if s := c.sessions.get(b.id); s.late(nil, 0) != nil || c.Counts().ReportsWritten != count {
		t.Error("what is stored already was not taken for the newest")
	}
	b.detach()
}

// TestAttachesAboveThePace wait: alternating addresses are not a put each.
func TestAttachesAboveThePace(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	b := c.ready("kitchen")
	c.tight(b.id, 300*time.Millisecond)
	began := time.Now()
	for i := range 6 {
		b.detach()
		b.hello.Version = fmt.Sprint("v", i)
		b.attach()
	}
	if took := time.Since(began); took < time.Second {
		t.Errorf("six sessions of new content took %s: nothing waited", took)
	}
	b.detach()
	c.tight(b.id, time.Hour)
	c.live.paces.of(b.id).attaches.take(time.Now(), 2)
	if err := b.refused(); !errors.Is(err, topology.ErrTooOften) || !strings.Contains(err.Error(), "too often") {
		t.Errorf("refused with %v", err)
	}
}

// TestAlertsAboveThePace are not written, and the alert of a link comes once
// in ten minutes.
func TestAlertsAboveThePace(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	b := c.ready("kitchen")
	before := c.revision()
	for i := range 100 {
		c.raise(t.Context(), workload.Alert{Kind: "IdentityInUse", Node: b.id, Message: fmt.Sprint(i)})
	}
	if writes := c.revision() - before; writes > quickBurst+1 {
		t.Errorf("100 alerts were %d writes", writes)
	}
	other := c.ready("garage")
	before = c.revision()
	link := alertID(degradedLink, other.id)
	stands := func(want bool) {
		eventually(t, "the alert", func() string {
			if _, ok := c.alerts.get(link); ok != want {
				return fmt.Sprint("it stands: ", ok)
			}
			return ""
		})
	}
	for i := range 20 {
		c.raise(t.Context(), workload.Alert{Kind: degradedLink, Node: other.id, Message: "bad"})
		stands(i == 0)
		c.clear(t.Context(), link)
		stands(false)
	}
	if writes := c.revision() - before; writes > 2 {
		t.Errorf("a flapping link was %d writes", writes)
	}
}

// TestRefusalsInTheAudit are one entry a minute for each principal, with a
// count.
func TestRefusalsInTheAudit(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	c.audit.every = 300 * time.Millisecond
	for i := range 300 {
		c.Record(auth.AuditEntry{At: c.wall.now(), Principal: "node n-1 (sub)", Action: "nodes:write", Resource: fmt.Sprint(i), Outcome: "denied"})
	}
	c.Record(auth.AuditEntry{At: c.wall.now(), Principal: "admin root", Action: "nodes:write", Resource: "x", Outcome: "ok"})
	list := func() []auth.AuditEntry {
		out := []auth.AuditEntry{}
		rows, _, err := c.audit.entries.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rows {
			out = append(out, r.Value)
		}
		return out
	}
	eventually(t, "three entries", func() string {
		if got := list(); len(got) != 3 {
			return fmt.Sprintf("%d: %+v", len(got), got)
		}
		return ""
	})
	got := list()
	if got[0].Resource != "0" || got[1].Outcome != "ok" || !strings.Contains(got[2].Resource, "299 (299 refused") {
		t.Errorf("%+v", got)
	}
	eventually(t, "the principal is forgotten", func() string {
		c.audit.mu.Lock()
		defer c.audit.mu.Unlock()
		return strings.Repeat("x", len(c.audit.denied))
	})
	for i := range 3 * maxDenied {
		c.Record(auth.AuditEntry{Principal: fmt.Sprint(i), Outcome: "denied"})
	}
	c.audit.mu.Lock()
	if n := len(c.audit.denied); n != maxDenied {
		t.Errorf("%d principals are counted", n)
	}
	c.audit.mu.Unlock()
}

// TestAuditAfterALostCommit: what was kept or removed without this master
// knowing does not stop the log.
func TestAuditAfterALostCommit(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	c.stop()
	next := must[*Master](t)(New(c.options(nil)))
	a := next.audit
	a.kept = 2
	for i := range 2 {
		a.write(t.Context(), auth.AuditEntry{Resource: fmt.Sprint(i), Outcome: "ok"})
	}
	// Done by a commit whose answer was lost.
	must[int64](t)(a.entries.Create(t.Context(), "000000000003", auth.AuditEntry{Resource: "lost"}))
	if err := a.entries.Delete(t.Context(), a.keys[0], store.AnyRevision); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		next.Record(auth.AuditEntry{Resource: fmt.Sprint("after ", i), Outcome: "ok"})
	}
	a.drain(t.Context()) // as at the end of run
	rows, _, err := a.entries.List(t.Context())
	if err != nil || len(rows) != 2 || rows[1].Value.Resource != "after 2" {
		t.Errorf("%+v, %v", rows, err)
	}
}
