package readiness

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/shirou/gopsutil/v3/host"
)

// Bits of get_throttled (Raspberry Pi documentation, "vcgencmd
// get_throttled"); the same 16 bits higher mean "since boot".
const (
	throttledVoltage   = 1 << 0
	throttledNow       = 1 << 2
	throttledSoftLimit = 1 << 3
	throttledSinceBoot = 16
)

const throttledFile = "/sys/devices/platform/soc/soc:firmware/get_throttled"

func temperatureLimits(t Thresholds) string {
	return fmt.Sprintf("warning ≥ %.0f °C, or while the firmware throttles", t.TemperatureWarn)
}

func (c *Checker) checkTemperature(ctx context.Context, _ Gate) finding {
	const mend = "give it a heat sink, a fan or more air; it slows itself down to survive"
	// An error only says that single sensors could not be read.
	sensors, _ := host.SensorsTemperaturesWithContext(c.env(ctx))
	var hottest host.TemperatureStat
	for _, s := range sensors {
		// Sensors without a probe report nonsense such as -274 or 65535.
		if s.Temperature > hottest.Temperature && s.Temperature < 200 {
			hottest = s
		}
	}
	found := "the kernel shows no temperature"
	if hottest.Temperature > 0 {
		found = fmt.Sprintf("%.0f °C (%s)", hottest.Temperature, hottest.SensorKey)
	}
	bits, known := parseThrottled(c.read(throttledFile))
	switch {
	case hottest.Temperature >= c.opts.Thresholds.TemperatureWarn:
		return warn(mend, "%s, limit %.0f °C", found, c.opts.Thresholds.TemperatureWarn)
	case known && bits&(throttledSoftLimit|throttledNow) != 0 && bits&throttledVoltage == 0:
		return warn(mend, "%s, and the firmware throttles the processor", found)
	}
	return ok("%s", found)
}

func (c *Checker) checkVoltage(context.Context, Gate) finding {
	const mend = "use the board's own power supply (5.1 V) and a short, thick cable; low voltage corrupts cards"
	bits, known := parseThrottled(c.read(throttledFile))
	alarm, shown := c.voltageAlarm()
	switch {
	case known && bits&throttledVoltage != 0, alarm:
		return warn(mend, "the voltage is too low now")
	case known && bits&(throttledVoltage<<throttledSinceBoot) != 0:
		return warn(mend, "the voltage was too low since boot")
	case known || shown:
		return ok("no alarm")
	}
	return ok("the kernel shows no voltage alarm")
}

// voltageAlarm reads the driver raspberrypi-hwmon (kernel documentation).
func (c *Checker) voltageAlarm() (alarm, shown bool) {
	names, err := filepath.Glob(c.path("/sys/class/hwmon/hwmon*/name"))
	if err != nil {
		return false, false
	}
	for _, path := range names {
		name, err := filepath.Rel(c.opts.Root, path)
		if err != nil || strings.TrimSpace(c.read(name)) != "rpi_volt" {
			continue
		}
		value := strings.TrimSpace(c.read(filepath.Join(filepath.Dir(name), "in0_lcrit_alarm")))
		if value != "" {
			return value != "0", true
		}
	}
	return false, false
}

// parseThrottled reads hexadecimal with or without 0x: the kernel prints
// "50005", vcgencmd "throttled=0x50005".
func parseThrottled(text string) (bits uint64, known bool) {
	text = strings.TrimPrefix(strings.TrimSpace(text), "throttled=")
	bits, err := strconv.ParseUint(strings.TrimPrefix(text, "0x"), 16, 32)
	if err != nil {
		return 0, false
	}
	return bits, true
}
