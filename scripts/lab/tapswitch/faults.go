package main

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// faults is what is wrong with the network. The zero value is a perfect one.
type faults struct {
	cut   map[[2]string]bool   // from, to
	loss  map[string]float64   // share of a port's frames, 0 to 1
	delay map[string]portDelay // of a port's frames
}

type portDelay struct{ fixed, jitter time.Duration }

// parseFaults reads the lines that doc.go describes; empty ones are skipped.
func parseFaults(r io.Reader) (faults, error) {
	f := faults{cut: map[[2]string]bool{}, loss: map[string]float64{}, delay: map[string]portDelay{}}
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 {
			continue
		}
		if err := f.add(fields); err != nil {
			return faults{}, fmt.Errorf("read faults: line %d %q: %w", n, lines.Text(), err)
		}
	}
	if err := lines.Err(); err != nil {
		return faults{}, fmt.Errorf("read faults: %w", err)
	}
	return f, nil
}

func (f *faults) add(fields []string) error {
	switch kind := fields[0]; {
	case kind == "cut" && len(fields) == 3:
		f.cut[[2]string{fields[1], fields[2]}] = true
	case kind == "loss" && len(fields) == 3:
		percent, err := strconv.ParseFloat(fields[2], 64)
		if err != nil || !(percent >= 0 && percent <= 100) {
			return fmt.Errorf("loss %q: not 0 to 100", fields[2])
		}
		f.loss[fields[1]] = percent / 100
	case kind == "delay" && len(fields) == 4:
		fixed, err1 := strconv.ParseUint(fields[2], 10, 17)
		jitter, err2 := strconv.ParseUint(fields[3], 10, 17)
		if err1 != nil || err2 != nil {
			return fmt.Errorf("delay %q %q: not whole milliseconds", fields[2], fields[3])
		}
		f.delay[fields[1]] = portDelay{time.Duration(fixed) * time.Millisecond, time.Duration(jitter) * time.Millisecond}
	default:
		return fmt.Errorf("must be cut FROM TO, loss PORT PERCENT or delay PORT MS JITTER_MS")
	}
	return nil
}

// meet decides the fate of one frame: whether it is lost, else how late it is.
func (f *faults) meet(from, to string) (lost bool, late time.Duration) {
	if f.cut[[2]string{from, to}] {
		return true, 0
	}
	for _, port := range [2]string{from, to} {
		if share := f.loss[port]; share > 0 && rand.Float64() < share {
			return true, 0
		}
		d := f.delay[port]
		late += d.fixed
		if d.jitter > 0 {
			late += rand.N(d.jitter)
		}
	}
	return false, late
}
