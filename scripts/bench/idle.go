package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// measureIdle leaves the cluster alone and looks at what it uses meanwhile.
func measureIdle(ctx context.Context, s *session, c *cluster) error {
	if err := sleep(ctx, s.o.settle-time.Since(c.lastJoin)); err != nil {
		return err
	}
	before, err := c.read()
	if err != nil {
		return err
	}
	busy := busySince()
	if err := sleep(ctx, s.o.window); err != nil {
		return err
	}
	after, err := c.read()
	if err != nil {
		return err
	}
	load := fmt.Sprintf("machine %.0f %% busy, load %.1f", busy(), loadAverage()[0])
	for _, r := range []struct {
		who    string
		from   int
		to     int
		limits [3]promise // memory, CPU, flash
	}{
		{"master", 0, 1, [3]promise{atMost(70, "≤ 70 MB"), atMost(1.5, "≤ 1.5 %"), atMost(20, "≤ 20 MB/day")}},
		{"sub", 1, c.size, [3]promise{atMost(30, "≤ 30 MB"), atMost(0.5, "≤ 0.5 %"), none}},
	} {
		u, err := usage(ctx, c.boards[r.from:r.to], before[r.from:r.to], after[r.from:r.to])
		if err != nil {
			return err
		}
		s.idleFigures(c, r.who, r.limits, u, load)
	}
	return nil
}

func (c *cluster) read() ([]reading, error) {
	var all []reading
	for _, b := range c.boards {
		r, err := b.read()
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

// used is what several boards used over the window, one value each.
type used struct {
	rss, anonymous, cpu, network, sent, received, flash, pace []float64
}

func usage(ctx context.Context, boards []*board, before, after []reading) (u used, err error) {
	for i, b := range boards {
		x, y := before[i], after[i]
		if x.pid != y.pid {
			return u, fmt.Errorf("the daemon of %s was started again in the idle window", b.name)
		}
		seconds := y.at.Sub(x.at).Seconds()
		u.rss, u.anonymous = append(u.rss, y.rss), append(u.anonymous, y.anonymous)
		u.cpu = append(u.cpu, 100*(y.cpu-x.cpu).Seconds()/seconds)
		sent, received := float64(y.sent-x.sent)/1000/seconds, float64(y.received-x.received)/1000/seconds
		u.sent, u.received, u.network = append(u.sent, sent), append(u.received, received), append(u.network, sent+received)
		u.flash = append(u.flash, float64(y.written-x.written)/1e6/seconds*86400)
		pace, err := flashPace(ctx, b)
		if err != nil {
			return u, err
		}
		u.pace = append(u.pace, pace)
	}
	return u, nil
}

func (s *session) idleFigures(c *cluster, who string, limits [3]promise, u used, load string) {
	add := func(name, unit string, p promise, values []float64, note string) {
		f := newFigure(s, c, who+", idle: "+name, unit, p)
		f.Samples, f.boards = values, true
		f.note("%s", note)
		f.add(s)
	}
	add("memory (RSS)", "MB", limits[0], u.rss, fmt.Sprintf("of it anonymous %.1f MB", slices.Max(u.anonymous)))
	add("memory, anonymous", "MB", none, u.anonymous, "")
	add("CPU of one core", "%", limits[1], u.cpu, load)
	add("network, both ways", "KB/s", atMost(2, "≤ 2 KB/s"), u.network,
		fmt.Sprintf("of it sent %.2f, received %.2f", slices.Max(u.sent), slices.Max(u.received)))
	add("written to its disk", "MB/day", limits[2], u.flash, "at the pace of this window, at the device")
	add("piccolo_flash_mb_per_day", "MB/day", none, u.pace, "the daemon's own figure, since its start")
}

// busySince begins to measure; the function returned tells how busy the
// machine's processors were since then, in percent.
func busySince() func() float64 {
	idle, all := cpuTicks()
	return func() float64 {
		idle2, all2 := cpuTicks()
		if all2 <= all {
			return 0
		}
		return 100 * (1 - (idle2-idle)/(all2-all))
	}
}

// cpuTicks are the idle and all ticks of all processors since boot; zeros
// where the kernel does not tell.
func cpuTicks() (idle, all float64) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0
	}
	line, _, _ := strings.Cut(string(text), "\n")
	for i, word := range strings.Fields(line) {
		n, err := strconv.ParseFloat(word, 64)
		// Fields 9 and 10, of guests, are in 1 and 2 already.
		if err != nil || i > 8 {
			continue
		}
		all += n
		if i == 4 || i == 5 { // idle, and waiting for a disk
			idle += n
		}
	}
	return idle, all
}

// loadAverage is the machine's load over 1, 5 and 15 minutes.
func loadAverage() (load [3]float64) {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return load
	}
	for i, word := range strings.Fields(string(text))[:3] {
		load[i], _ = strconv.ParseFloat(word, 64)
	}
	return load
}
