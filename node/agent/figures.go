package agent

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/shirou/gopsutil/v3/cpu"
	"github.com/shirou/gopsutil/v3/disk"
	"github.com/shirou/gopsutil/v3/host"
	"github.com/shirou/gopsutil/v3/load"
	"github.com/shirou/gopsutil/v3/mem"
	"github.com/shirou/gopsutil/v3/net"
	"github.com/shirou/gopsutil/v3/process"

	"piccolo.io/piccolo/topology"
)

const mib = 1 << 20

// figures reads what the board has and uses. A figure that the board does not
// give is left zero: it is never a reason to fail.
type figures struct {
	dataDir string
	now     func() time.Time
	started time.Time
	// base is what had been written at baseAt, when the start settled: the
	// pace of writing to flash is counted from then on.
	mu      sync.Mutex
	base    uint64
	baseAt  time.Time
	process *process.Process
}

const (
	// settleTime after the start, before the pace of writing is counted.
	settleTime = 30 * time.Second
	// paceTime must pass before a pace is told: a single write in the first
	// minute would look like a worn card.
	paceTime = 10 * time.Minute
)

func newFigures(dataDir string, now func() time.Time) *figures {
	p, err := process.NewProcess(int32(os.Getpid()))
	if err != nil {
		p = nil
	}
	return &figures{dataDir: dataDir, now: now, started: time.Now(), process: p}
}

func (f *figures) resources(ctx context.Context) topology.Resources {
	return Resources(ctx, f.dataDir)
}

// Resources are what this board has: logical processors, memory in MiB, and
// the size in GiB of the file system that dir is on. What cannot be read is 0.
func Resources(ctx context.Context, dir string) topology.Resources {
	var r topology.Resources
	if n, err := cpu.CountsWithContext(ctx, true); err == nil {
		r.CPU = n
	}
	if m, err := mem.VirtualMemoryWithContext(ctx); err == nil {
		r.Memory = int(m.Total / mib)
	}
	if d, err := disk.UsageWithContext(ctx, dir); err == nil {
		r.Disk = int(d.Total / (1 << 30))
	}
	return r
}

func (f *figures) usage(ctx context.Context) topology.Usage {
	u := topology.Usage{At: f.now()}
	if p, err := cpu.PercentWithContext(ctx, 0, false); err == nil && len(p) == 1 {
		u.CPUPercent = tenths(p[0])
	}
	if l, err := load.AvgWithContext(ctx); err == nil {
		u.Load1 = l.Load1
	}
	if m, err := mem.VirtualMemoryWithContext(ctx); err == nil {
		u.MemoryAvailable = int(m.Available / mib)
		u.MemoryUsed = int((m.Total - m.Available) / mib)
	}
	if d, err := disk.UsageWithContext(ctx, f.dataDir); err == nil {
		u.DiskUsedPercent = tenths(d.UsedPercent)
	}
	if up, err := host.UptimeWithContext(ctx); err == nil {
		u.UptimeSeconds = up
	}
	u.Temperature = temperature(ctx)
	if counters, err := net.IOCountersWithContext(ctx, true); err == nil {
		for _, c := range counters {
			if c.Name != "lo" {
				u.NetworkReceived += c.BytesRecv
				u.NetworkSent += c.BytesSent
			}
		}
	}
	u.DeviceWritten = f.deviceWritten(ctx)
	u.FlashMBPerDay = f.FlashMBPerDay(ctx)
	return u
}

// temperature is the hottest sensor of the board.
func temperature(ctx context.Context) *float64 {
	sensors, err := host.SensorsTemperaturesWithContext(ctx)
	if err != nil && len(sensors) == 0 {
		return nil
	}
	var hottest *float64
	for _, s := range sensors {
		// 0 and below are sensors that are not fitted.
		if s.Temperature > 0 && (hottest == nil || s.Temperature > *hottest) {
			t := s.Temperature
			hottest = &t
		}
	}
	return hottest
}

// deviceWritten finds the device of the data directory's file system.
func (f *figures) deviceWritten(ctx context.Context) uint64 {
	parts, err := disk.PartitionsWithContext(ctx, true)
	if err != nil {
		return 0
	}
	device, longest := "", -1
	for _, p := range parts {
		rel, err := filepath.Rel(p.Mountpoint, f.dataDir)
		if err == nil && filepath.IsLocal(rel) && len(p.Mountpoint) > longest {
			device, longest = filepath.Base(p.Device), len(p.Mountpoint)
		}
	}
	counters, err := disk.IOCountersWithContext(ctx, device)
	if err != nil {
		return 0
	}
	return counters[device].WriteBytes
}

// FlashMBPerDay is what is written to the device that holds the data
// directory, by everything on this board, in MB (10^6 bytes) a day, at the
// pace since the start settled. Where the kernel does not tell of the device
// it is what this process alone writes. 0 until there is enough to tell.
func (f *figures) FlashMBPerDay(ctx context.Context) float64 {
	written := f.deviceWritten(ctx)
	if written == 0 && f.process != nil {
		if io, err := f.process.IOCountersWithContext(ctx); err == nil {
			written = io.WriteBytes
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.baseAt.IsZero() {
		if time.Since(f.started) > settleTime {
			f.base, f.baseAt = written, time.Now()
		}
		return 0
	}
	span := time.Since(f.baseAt)
	if span < paceTime || written < f.base {
		return 0
	}
	return tenths(float64(written-f.base) / 1e6 * float64(24*time.Hour) / float64(span))
}

// tenths rounds to one decimal: more digits than that are noise.
func tenths(x float64) float64 { return math.Round(x*10) / 10 }
