package readiness

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"piccolo.io/piccolo/topology"
)

// bands draws a valid Band of either direction.
func bands(t *rapid.T) Band {
	a := rapid.Float64Range(0, 1e6).Draw(t, "a")
	b := rapid.Float64Range(0, 1e6).Filter(func(b float64) bool { return b != a }).Draw(t, "b")
	return Band{a, b}
}

func TestBand(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := bands(t)
		v := rapid.Float64Range(-10, 2e6).Draw(t, "v")
		worse := v + rapid.Float64Range(0, 1e6).Draw(t, "more")
		if b.Enter < b.Leave {
			v, worse = worse, v
		}
		if b.of(worse) < b.of(v) {
			t.Fatalf("%+v: %g is zone %d but the worse %g zone %d", b, v, b.of(v), worse, b.of(worse))
		}
		if b.of(b.Enter) != zoneOver || b.of(b.Leave) != zoneClear {
			t.Fatalf("%+v: the limits themselves belong to their zones", b)
		}
	})
}

// TestConditionsModel drives the memory check's own report through Conditions
// and compares with the plain definition of hysteresis. A figure that stays
// between the limits never changes anything.
func TestConditionsModel(t *testing.T) {
	c := boardChecker(t, "pi-zero-2", nil)
	disks := diskLimits{pressure: c.opts.Thresholds.DataPressure, warn: c.opts.Thresholds.DataWarn}
	var s spec
	for _, row := range table() {
		if row.name == "data_disk" {
			s = row
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		standing, stood := topology.Reasons{topology.ReasonUnreachable}, false
		for _, free := range rapid.SliceOfN(rapid.Uint64Range(0, 400), 1, 40).Draw(t, "free MiB") {
			f := c.judgeDisk(GateRunning, "", free*MiB, 100, disks)
			standing = Conditions(standing, Report{Gate: GateRunning, Results: []Result{s.result(GateRunning, f)}})
			b := disks.pressure
			switch v := float64(free * MiB); {
			case v <= b.Enter:
				stood = true
			case v >= b.Leave:
				stood = false
			}
			if standing.Has(topology.ReasonDiskPressure) != stood || !standing.Has(topology.ReasonUnreachable) {
				t.Fatalf("at %d MiB: %s, want DiskPressure %v", free, standing, stood)
			}
		}
	})
}

func TestConditions(t *testing.T) {
	const disk, broken, down, away = topology.ReasonDiskPressure, topology.ReasonReadinessFailed, topology.ReasonPodmanDown, topology.ReasonUnreachable
	tests := map[string]struct {
		standing topology.Reasons
		results  []Result
		gate     Gate
		want     topology.Reasons
	}{
		"raised":              {nil, []Result{{Check: "podman", Condition: down}}, GateRunning, topology.Reasons{down}},
		"cleared":             {topology.Reasons{down}, []Result{{Check: "podman"}}, GateRunning, topology.Reasons{}},
		"not looked at":       {topology.Reasons{down}, []Result{{Check: "clock"}}, GateRunning, topology.Reasons{down}},
		"held":                {topology.Reasons{disk}, []Result{{Check: "data_disk", Condition: disk, Hold: true}}, GateRunning, topology.Reasons{disk}},
		"held but not stood":  {topology.Reasons{}, []Result{{Check: "data_disk", Condition: disk, Hold: true}}, GateRunning, topology.Reasons{}},
		"another is over":     {nil, []Result{{Check: "data_disk"}, {Check: "podman_disk", Condition: disk}}, GateRunning, topology.Reasons{disk}},
		"writable again":      {topology.Reasons{disk, broken}, []Result{{Check: "data_disk", Condition: disk, Hold: true}}, GateRunning, topology.Reasons{disk}},
		"nothing known":       {topology.Reasons{disk, broken}, []Result{{Check: "data_disk", Hold: true}}, GateRunning, topology.Reasons{disk, broken}},
		"not ours":            {topology.Reasons{away}, []Result{{Check: "podman"}}, GateRunning, topology.Reasons{away}},
		"another gate":        {topology.Reasons{down}, []Result{{Check: "podman"}}, GateStart, topology.Reasons{down}},
		"a check of tomorrow": {topology.Reasons{down}, []Result{{Check: "future"}}, GateRunning, topology.Reasons{down}},
	}
	for name, tt := range tests {
		if got := Conditions(tt.standing, Report{Gate: tt.gate, Results: tt.results}); got.String() != tt.want.String() {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

// TestTable holds what every row must have.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range table() {
		if seen[s.name] || s.asks == "" || s.remedy == "" || s.run == nil || s.timeout <= 0 || s.timeout >= maxTimeout {
			t.Errorf("row %q is incomplete, twice there or too slow", s.name)
		}
		seen[s.name] = true
		if s.start != SeverityWarning {
			t.Errorf("%s: the start gate never has an error", s.name)
		}
		if (s.running == SeverityError) != (len(s.reasons) > 0) {
			t.Errorf("%s: an error while running needs a reason", s.name)
		}
		for _, r := range s.reasons {
			if !r.FromNode() {
				t.Errorf("%s raises %s, which is the masters' word", s.name, r)
			}
		}
	}
}

func TestReport(t *testing.T) {
	r := Report{Gate: GateJoin, Results: []Result{
		{Check: "a", Severity: SeverityOK, Found: "fine"},
		{Check: "b", Severity: SeverityError, Found: "broken", Mend: "mend it", Fix: FixMemoryCgroup, RebootNeeded: true},
		{Check: "c", Severity: SeverityWarning, Found: "hm", Condition: topology.ReasonDiskPressure, Hold: true},
	}}
	if err := r.Err(); !errors.Is(err, ErrNotReady) || !strings.Contains(err.Error(), "b: broken. To mend it: mend it") {
		t.Errorf("%v", err)
	}
	below := Report{Gate: GateStart, Results: []Result{{Check: "z", Severity: SeveritySkipped}, {Check: "a", Severity: SeverityWarning}}}
	if got := (Report{Gate: GateRunning, Results: r.Results[:1]}).Over(below); got.Gate != GateRunning || len(got.Results) != 2 || got.Results[0].Check != "z" || got.Results[1].Severity != SeverityOK || got.Worst() != SeverityOK {
		t.Errorf("one report over another: %+v", got)
	}
	if r.Worst() != SeverityError || (Report{}).Worst() != SeverityOK || (Report{}).Err() != nil {
		t.Error("Worst or Err")
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"gate":"join","at":"0001-01-01T00:00:00Z","results":[` +
		`{"check":"a","severity":"ok","found":"fine"},` +
		`{"check":"b","severity":"error","found":"broken","mend":"mend it","fix":"enable_memory_cgroup","reboot_needed":true},` +
		`{"check":"c","severity":"warning","found":"hm","condition":"DiskPressure","hold":true}]}`
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Error(diff)
	}
}
