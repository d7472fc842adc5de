package readiness

import (
	"fmt"
	"time"
)

// MiB is 2^20 bytes.
const MiB = 1 << 20

// Band is a limit with hysteresis: a condition rises at Enter and falls at
// Leave. Where Enter < Leave small figures are bad (free memory); where
// Enter > Leave large ones are (load).
type Band struct {
	Enter, Leave float64
}

// zone is where a figure lies in relation to a Band.
type zone int

const (
	zoneClear zone = iota // beyond Leave: no condition
	zoneHold              // between the limits: as it was
	zoneOver              // at or beyond Enter: condition
)

// of returns the zone of v. It is monotonic in v.
func (b Band) of(v float64) zone {
	enter, leave := b.Enter, b.Leave
	if enter < leave {
		enter, leave, v = -enter, -leave, -v
	}
	switch {
	case v >= enter:
		return zoneOver
	case v > leave:
		return zoneHold
	}
	return zoneClear
}

// Thresholds are the limits that the checks compare with. A field that is
// zero takes its default from DefaultThresholds.
type Thresholds struct {
	// LoadWarn is the load average of one minute per core that is worth a
	// warning.
	LoadWarn float64
	// LoadPressure raises CPUPressure by the load average of five minutes
	// per core. Load counts what waits for the disk too, so it is set high: a
	// busy board is not a broken one.
	LoadPressure Band

	// MemorySize is the least memory, in bytes as Linux counts it
	// (MemTotal), of a board that was sold with 512 MB. The GPU's share and
	// the kernel are gone from it: a Raspberry Pi Zero 2 W shows 426068 kB
	// (raspberrypi/picamera2 issue 1358) and after one firmware update about
	// 400 MB (raspberrypi/linux issue 5975), a Model B Rev 2 448996 kB. A
	// board with 256 MB shows at most 240 MB.
	MemorySize uint64
	// MemoryJoin is the available memory (MemAvailable, bytes) without which
	// a board can't join: the agent takes 30 MiB, Podman's service 35.
	MemoryJoin uint64
	// MemoryWarn is the available memory, in bytes, worth a warning.
	MemoryWarn uint64
	// MemoryPressure raises MemoryPressure by the available memory in bytes.
	MemoryPressure Band

	// DataJoin is the free space in bytes that the data directory needs at
	// the join gate, DataWarn what is worth a warning at any gate and
	// DataPressure what raises DiskPressure.
	DataJoin, DataWarn uint64
	DataPressure       Band
	// PodmanJoin, PodmanWarn and PodmanPressure are the same for the file
	// system on which Podman keeps its images.
	PodmanJoin, PodmanWarn uint64
	PodmanPressure         Band
	// InodesWarn is the share of free inodes in percent that is worth a
	// warning; InodesPressure raises DiskPressure, and its Enter blocks
	// joining.
	InodesWarn     float64
	InodesPressure Band

	// FsyncWarn is the median time of one small write with fsync above which
	// a card is called slow. etcd recommends 10 ms at the 99th percentile
	// for servers; a good SD card needs 5 to 20 ms.
	FsyncWarn time.Duration
	// ClockSkew is how far the clock may lie before the build time or away
	// from the master's time.
	ClockSkew time.Duration
	// ClockHorizon is how far the clock may lie after the build time.
	ClockHorizon time.Duration
	// TemperatureWarn is in degrees Celsius. A Raspberry Pi throttles from
	// 80 °C on and hard at 85 °C (Raspberry Pi documentation, "frequency
	// management and thermal control").
	TemperatureWarn float64
}

// DefaultThresholds returns the documented defaults.
func DefaultThresholds() Thresholds {
	return Thresholds{
		LoadWarn:        2,
		LoadPressure:    Band{Enter: 32, Leave: 16},
		MemorySize:      384 * MiB,
		MemoryJoin:      64 * MiB,
		MemoryWarn:      128 * MiB,
		MemoryPressure:  Band{Enter: 32 * MiB, Leave: 48 * MiB},
		DataJoin:        256 * MiB,
		DataWarn:        1024 * MiB,
		DataPressure:    Band{Enter: 128 * MiB, Leave: 192 * MiB},
		PodmanJoin:      512 * MiB,
		PodmanWarn:      2048 * MiB,
		PodmanPressure:  Band{Enter: 256 * MiB, Leave: 384 * MiB},
		InodesWarn:      10,
		InodesPressure:  Band{Enter: 2, Leave: 4},
		FsyncWarn:       50 * time.Millisecond,
		ClockSkew:       5 * time.Minute,
		ClockHorizon:    10 * 365 * 24 * time.Hour,
		TemperatureWarn: 80,
	}
}

// withDefaults fills the fields that are zero.
func (t Thresholds) withDefaults() Thresholds {
	d := DefaultThresholds()
	fill(&t.LoadWarn, d.LoadWarn)
	fill(&t.LoadPressure, d.LoadPressure)
	fill(&t.MemorySize, d.MemorySize)
	fill(&t.MemoryJoin, d.MemoryJoin)
	fill(&t.MemoryWarn, d.MemoryWarn)
	fill(&t.MemoryPressure, d.MemoryPressure)
	fill(&t.DataJoin, d.DataJoin)
	fill(&t.DataWarn, d.DataWarn)
	fill(&t.DataPressure, d.DataPressure)
	fill(&t.PodmanJoin, d.PodmanJoin)
	fill(&t.PodmanWarn, d.PodmanWarn)
	fill(&t.PodmanPressure, d.PodmanPressure)
	fill(&t.InodesWarn, d.InodesWarn)
	fill(&t.InodesPressure, d.InodesPressure)
	fill(&t.FsyncWarn, d.FsyncWarn)
	fill(&t.ClockSkew, d.ClockSkew)
	fill(&t.ClockHorizon, d.ClockHorizon)
	fill(&t.TemperatureWarn, d.TemperatureWarn)
	return t
}

func fill[T comparable](field *T, value T) {
	if *field == *new(T) {
		*field = value
	}
}

// validate names the field that makes no sense.
func (t Thresholds) validate() error {
	low := map[string]Band{
		"MemoryPressure": t.MemoryPressure, "DataPressure": t.DataPressure,
		"PodmanPressure": t.PodmanPressure, "InodesPressure": t.InodesPressure,
	}
	for name, b := range low {
		if b.Enter < 0 || b.Enter >= b.Leave {
			return fmt.Errorf("option Thresholds.%s: Enter (%g) must be at least 0 and below Leave (%g)", name, b.Enter, b.Leave)
		}
	}
	if b := t.LoadPressure; b.Leave < 0 || b.Leave >= b.Enter {
		return fmt.Errorf("option Thresholds.LoadPressure: Leave (%g) must be at least 0 and below Enter (%g)", b.Leave, b.Enter)
	}
	for name, d := range map[string]time.Duration{"FsyncWarn": t.FsyncWarn, "ClockSkew": t.ClockSkew, "ClockHorizon": t.ClockHorizon} {
		if d < 0 {
			return fmt.Errorf("option Thresholds.%s: %s is negative", name, d)
		}
	}
	return nil
}
