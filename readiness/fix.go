package readiness

import (
	"context"
	"fmt"
	"time"
)

// FixID names a remedy that Fix can apply.
type FixID string

const (
	// FixMemoryCgroup edits cmdline.txt of a Raspberry Pi; needs a reboot.
	FixMemoryCgroup FixID = "enable_memory_cgroup"
	// FixPodmanSocket enables and starts podman.socket.
	FixPodmanSocket FixID = "enable_podman_socket"
	// FixTimeService enables and starts systemd-timesyncd.
	FixTimeService FixID = "enable_time_service"
	// FixCreateDataDir makes the data directory, mode 0700.
	FixCreateDataDir FixID = "create_data_directory"
	// FixRestrictDataDir gives the data directory mode 0700.
	FixRestrictDataDir FixID = "restrict_data_directory"
	// FixLoadOverlay loads the overlay module, now and at every boot.
	FixLoadOverlay FixID = "load_overlay"
)

// Outcome is how a fix ended.
type Outcome string

const (
	// OutcomeApplied: done.
	OutcomeApplied Outcome = "applied"
	// OutcomeUnchanged: it was done before.
	OutcomeUnchanged Outcome = "unchanged"
	// OutcomeFailed: Detail says why.
	OutcomeFailed Outcome = "failed"
	// OutcomeManual: a person is needed; Detail says what to do.
	OutcomeManual Outcome = "manual"
)

// FixResult is what Fix did about one result of a report.
type FixResult struct {
	// Check and Fix are those of the report's result.
	Check string `json:"check"`
	Fix   FixID  `json:"fix,omitempty"`
	// Outcome is how it ended.
	Outcome Outcome `json:"outcome"`
	// Detail says what was done, why it failed or what is left to do.
	Detail string `json:"detail"`
	// RebootNeeded is true if it takes effect only after a reboot.
	RebootNeeded bool `json:"reboot_needed,omitempty"`
}

// fixTimeout bounds one fix; starting a unit may load modules from a card.
const fixTimeout = 30 * time.Second

// remedies are the functions behind the FixIDs. Each returns what it did;
// changed is false if there was nothing to do.
func (c *Checker) remedies() map[FixID]func(context.Context) (detail string, changed bool, err error) {
	return map[FixID]func(context.Context) (string, bool, error){
		FixMemoryCgroup:    c.fixMemoryCgroup,
		FixPodmanSocket:    c.command("systemctl", "enable", "--now", "podman.socket"),
		FixTimeService:     c.command("systemctl", "enable", "--now", "systemd-timesyncd.service"),
		FixCreateDataDir:   c.fixCreateDataDir,
		FixRestrictDataDir: c.fixRestrictDataDir,
		FixLoadOverlay:     c.fixLoadOverlay,
	}
}

// Fix applies the safe remedies of report, one after the other, and returns
// one entry for every result that has something to mend. It installs no
// packages, deletes nothing and reboots nothing: for these it says what to
// do. It is idempotent.
func (c *Checker) Fix(ctx context.Context, report Report) []FixResult {
	out := []FixResult{}
	for _, r := range report.Results {
		remedy, known := c.remedies()[r.Fix]
		switch {
		case known:
			out = append(out, c.apply(ctx, r, remedy))
		case r.Severity.Bad() && r.Mend != "":
			out = append(out, FixResult{Check: r.Check, Outcome: OutcomeManual, Detail: r.Mend, RebootNeeded: r.RebootNeeded})
		}
	}
	return out
}

func (c *Checker) apply(ctx context.Context, r Result, remedy func(context.Context) (string, bool, error)) FixResult {
	ctx, cancel := context.WithTimeout(ctx, fixTimeout)
	defer cancel()
	res := FixResult{Check: r.Check, Fix: r.Fix, Outcome: OutcomeFailed}
	if err := ctx.Err(); err != nil {
		res.Detail = fmt.Sprintf("not tried: %v", err)
		return res
	}
	detail, changed, err := remedy(ctx)
	if err != nil {
		res.Detail = fmt.Sprintf("%v; by hand: %s", err, r.Mend)
		return res
	}
	res.Outcome, res.Detail, res.RebootNeeded = OutcomeUnchanged, detail, r.RebootNeeded
	if changed {
		res.Outcome = OutcomeApplied
	}
	c.opts.Logger.Info("readiness fix", "check", r.Check, "fix", r.Fix, "outcome", res.Outcome, "detail", res.Detail)
	return res
}
