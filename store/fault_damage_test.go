package store_test

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var (
	damageSeeds = flag.Int("damage.seeds", 25, "how many random damages TestRandomDamage tries")
	damageFirst = flag.Uint64("damage.first", 0, "the first seed of TestRandomDamage")
)

// spoils are ways in which a file can be damaged. Each is called with a file
// that is not empty; nil removes it.
var spoils = []struct {
	name string
	cuts bool // may leave what a power cut leaves
	do   func(*rand.Rand, []byte) []byte
}{
	{"flipped bits", false, func(r *rand.Rand, b []byte) []byte {
		for range 1 + r.IntN(4) {
			b[r.IntN(used(b))] ^= 1 << r.IntN(8)
		}
		return b
	}},
	{"lost sector", true, func(r *rand.Rand, b []byte) []byte { return lose(b, r.IntN(used(b))&^511, 512) }},
	{"lost page", true, func(r *rand.Rand, b []byte) []byte { return lose(b, r.IntN(used(b))&^4095, 4096) }},
	{"lost end", true, func(r *rand.Rand, b []byte) []byte { return lose(b, r.IntN(used(b)), len(b)) }},
	{"misdirected page", false, func(r *rand.Rand, b []byte) []byte {
		from, to := r.IntN(used(b))&^4095, r.IntN(used(b))&^4095
		copy(b[to:], b[from:min(from+4096, len(b))])
		return b
	}},
	{"rubbish", false, func(r *rand.Rand, b []byte) []byte {
		at := r.IntN(used(b))
		for i := range b[at:min(at+r.IntN(9000), len(b))] {
			b[at+i] = byte(r.Uint32())
		}
		return b
	}},
	{"cut", true, func(r *rand.Rand, b []byte) []byte { return b[:r.IntN(used(b))] }},
	{"cut at a sector", true, func(r *rand.Rand, b []byte) []byte { return b[:r.IntN(used(b))&^511] }},
	{"empty", false, func(_ *rand.Rand, b []byte) []byte { return b[:0] }},
	{"missing", false, func(*rand.Rand, []byte) []byte { return nil }},
}

func lose(b []byte, at, n int) []byte {
	clear(b[at:min(at+n, len(b))])
	return b
}

// origin is a directory with a history, after a kill or a stop.
type origin struct {
	dir    string
	writes int // acknowledged
	killed bool
}

// damage is one thing that has happened to a copy of an origin.
type damage struct {
	origin
	name string
	cuts bool
}

// TestRandomDamage: etcd ends the process over much of what can be wrong on disk,
// and over some of it goes on without what was acknowledged. Here it must be an
// error that leaves all as it was, or everything must be there. Each try has a
// process of its own.
func TestRandomDamage(t *testing.T) {
	var origins []origin
	for _, killed := range []bool{true, false} {
		dir := t.TempDir()
		origins = append(origins, origin{dir, writeHistory(t, dir, 1500, killed), killed})
	}
	for i := range *damageSeeds {
		seed := *damageFirst + uint64(i)
		random := rand.New(rand.NewPCG(seed, 1))
		d, ok := doDamage(t, random, origins[random.IntN(len(origins))])
		if !ok {
			continue
		}
		d.name = fmt.Sprintf("seed %d, killed %t, %s", seed, d.killed, d.name)
		etcd := filepath.Join(d.dir, "etcd")
		before := fingerprint(t, etcd)
		out, err := childCommand(t, "dump", d.dir).CombinedOutput()
		result := string(out[max(0, bytes.LastIndex(out, []byte("result:"))):])
		t.Logf("%s: %.300s", d.name, result)
		switch {
		case err != nil:
			t.Errorf("%s: %v\n%s", d.name, err, out)
		case strings.HasPrefix(result, "result: ErrDamaged"):
			if fingerprint(t, etcd) != before {
				t.Errorf("%s: the directory was changed\n%s", d.name, out)
			}
		case strings.HasPrefix(result, "result: other <nil>"):
			d.wantWrites(t, out)
		default:
			t.Errorf("%s: neither well nor damaged\n%s", d.name, out)
		}
		if !t.Failed() {
			os.RemoveAll(filepath.Dir(d.dir))
		}
	}
}

// doDamage spoils one file of a copy of o.
func doDamage(t *testing.T, random *rand.Rand, o origin) (d damage, ok bool) {
	t.Helper()
	o.dir = copyDir(t, o.dir)
	_ = os.Remove(filepath.Join(o.dir, "stop"))
	spoil := spoils[random.IntN(len(spoils))]
	files, err := filepath.Glob(filepath.Join(o.dir, "etcd/member/*/*"))
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	file := files[random.IntN(len(files))]
	if random.IntN(3) > 0 { // most often what matters most
		file = []string{dbOf(o.dir), walOf(t, o.dir)}[random.IntN(2)]
	}
	data := must[[]byte](t)(os.ReadFile(file))
	if used(data) == 0 {
		return damage{}, false
	}
	if data = spoil.do(random, data); data == nil {
		err = os.Remove(file)
	} else {
		err = os.WriteFile(file, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return damage{o, spoil.name + " of " + filepath.Base(file), spoil.cuts}, true
}

// wantWrites: everything that was acknowledged must be there. Only where the end
// of the log of a killed member is gone, which looks like a power cut, what was
// written last may be missing: the two seconds that the database is behind.
func (d damage) wantWrites(t *testing.T, out []byte) {
	t.Helper()
	found := dumped(out)
	for n := d.writes + 1; n > 0; n-- {
		if !maps.Equal(found, historyAfter(n)) {
			continue
		}
		switch lost := d.writes - n; {
		case lost <= 0:
		case d.killed && d.cuts:
			t.Logf("%s: lost %d writes", d.name, lost)
		default:
			t.Errorf("%s: lost %d writes\n%s", d.name, lost, out)
		}
		return
	}
	t.Errorf("%s: found %v after %d writes\n%s", d.name, found, d.writes, out)
}

// dumped is what a child has shown.
func dumped(out []byte) map[string]int {
	found := map[string]int{}
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		var key string
		var count int
		if n, _ := fmt.Sscanf(lines.Text(), "record %s %d", &key, &count); n == 2 && key != "new" {
			found[key] = count
		}
	}
	return found
}
