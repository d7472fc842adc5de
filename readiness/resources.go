package readiness

import (
	"context"
	"fmt"

	"github.com/shirou/gopsutil/v3/cpu"
	"github.com/shirou/gopsutil/v3/load"
	"github.com/shirou/gopsutil/v3/mem"

	"piccolo.io/piccolo/topology"
)

func mib(bytes uint64) string { return fmt.Sprintf("%d MiB", bytes/MiB) }

func (b Band) mib() string {
	return fmt.Sprintf("raised ≤ %.0f MiB, cleared ≥ %.0f MiB", b.Enter/MiB, b.Leave/MiB)
}

func memorySizeLimits(t Thresholds) string {
	return "error < " + mib(t.MemorySize) + " (what Linux shows of 512 MB)"
}

// checkMemorySize compares MemTotal, not what the board was sold with.
func (c *Checker) checkMemorySize(ctx context.Context, _ Gate) finding {
	m, err := mem.VirtualMemoryWithContext(c.env(ctx))
	if err != nil || m.Total == 0 {
		return warn("mount /proc", "the kernel does not tell how much memory there is: %v", err)
	}
	if m.Total >= c.opts.Thresholds.MemorySize {
		return ok("%s", mib(m.Total))
	}
	mend := "use a board with at least 512 MB"
	if c.raspberry() != "" {
		mend = fmt.Sprintf("use a board with at least 512 MB; if this one has them, give the GPU less: gpu_mem=16 in %s, then reboot", c.bootFile("config.txt"))
	}
	return fail(mend, "%s, fewer than the %s that Linux shows of a board with 512 MB", mib(m.Total), mib(c.opts.Thresholds.MemorySize))
}

func memoryLimits(t Thresholds) string {
	return fmt.Sprintf("join: error < %s; warning < %s; running: %s", mib(t.MemoryJoin), mib(t.MemoryWarn), t.MemoryPressure.mib())
}

func (c *Checker) checkMemoryAvailable(ctx context.Context, gate Gate) finding {
	t := c.opts.Thresholds
	m, err := mem.VirtualMemoryWithContext(c.env(ctx))
	if err != nil || m.Total == 0 {
		return warn("mount /proc", "the kernel does not tell how much memory is available: %v", err).
			raising("", zoneHold)
	}
	const mend = "stop what isn't needed: 'ps -eo rss,args --sort -rss | head'"
	z := t.MemoryPressure.of(float64(m.Available))
	found := fmt.Sprintf("%s of %s available", mib(m.Available), mib(m.Total))
	switch {
	case gate != GateRunning && m.Available < t.MemoryJoin:
		return fail(mend, "%s, at least %s are needed", found, mib(t.MemoryJoin))
	case gate == GateRunning && z == zoneOver:
		return fail(mend, "%s, limit %.0f MiB", found, t.MemoryPressure.Enter/MiB).raising(topology.ReasonMemoryPressure, z)
	case m.Available < t.MemoryWarn || z != zoneClear:
		return warn(mend, "%s", found).raising(topology.ReasonMemoryPressure, z)
	}
	return ok("%s", found)
}

func loadLimits(t Thresholds) string {
	return fmt.Sprintf("warning ≥ %.1f per core (1 min); running: raised ≥ %.1f, cleared ≤ %.1f per core (5 min)", t.LoadWarn, t.LoadPressure.Enter, t.LoadPressure.Leave)
}

// checkLoad warns by the average of one minute and raises the condition by
// that of five, so that a short burst never makes a node NotReady.
func (c *Checker) checkLoad(ctx context.Context, gate Gate) finding {
	t := c.opts.Thresholds
	avg, err := load.AvgWithContext(c.env(ctx))
	if err != nil {
		return warn("mount /proc", "the kernel does not tell the load: %v", err).raising("", zoneHold)
	}
	cores, err := cpu.CountsWithContext(c.env(ctx), true)
	if err != nil || cores < 1 {
		cores = 1
	}
	one, five := avg.Load1/float64(cores), avg.Load5/float64(cores)
	const mend = "find what works or waits with 'top' (state D waits for the disk); move work to another node"
	z := t.LoadPressure.of(five)
	found := fmt.Sprintf("%.2f per core (5 min: %.2f, %d cores)", one, five, cores)
	switch {
	case gate == GateRunning && z == zoneOver:
		return fail(mend, "%s, limit %.1f for 5 min", found, t.LoadPressure.Enter).raising(topology.ReasonCPUPressure, z)
	case one >= t.LoadWarn || z != zoneClear:
		return warn(mend, "%s", found).raising(topology.ReasonCPUPressure, z)
	}
	return ok("%s", found)
}
