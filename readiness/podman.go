package readiness

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"piccolo.io/piccolo/topology"
)

// minPodman is the first major version that Piccolo works with.
const minPodman = 4

const podmanHangs = "systemctl restart podman.service (containers go on running); if it hangs again look at 'journalctl -u podman'"

func (c *Checker) checkPodman(ctx context.Context, _ Gate) finding {
	down := func(f finding) finding { return f.raising(topology.ReasonPodmanDown, zoneOver) }
	installed := c.program("podman")
	if c.opts.PodmanVersion == nil {
		if !installed {
			return down(fail("apt-get install -y podman", "Podman is not installed"))
		}
		return ok("installed; its socket was not asked")
	}
	text, err := c.opts.PodmanVersion(ctx)
	switch {
	case err != nil && !installed:
		return down(fail("apt-get install -y podman", "Podman is not installed, and no socket answers: %v", err))
	case errors.Is(err, context.DeadlineExceeded):
		return down(fail(podmanHangs, "Podman's service hangs: %v", err))
	case err != nil:
		return down(c.podmanSilent(err))
	}
	major, err := podmanMajor(text)
	if err != nil {
		return down(fail("reinstall it: apt-get install -y --reinstall podman", "Podman's service: %v", err))
	}
	if major < minPodman {
		return down(fail("upgrade the system to Debian 12 (bookworm) or later, which brings Podman 4.3; 'apt-get install -y podman' is not enough on Debian 11",
			"Podman %s is older than %d.0", text, minPodman))
	}
	return ok("Podman %s answers", text)
}

// podmanSilent is for a Podman that is installed and does not answer. An error
// that knows what to try, and that it is not the socket, is not mended here.
func (c *Checker) podmanSilent(err error) finding {
	const mend = "systemctl enable --now podman.socket"
	found := fmt.Sprintf("Podman's socket does not answer: %v", err)
	var known interface{ Hint() string }
	if errors.As(err, &known) && known.Hint() != "" && known.Hint() != mend {
		return fail(known.Hint(), "%s", found)
	}
	return c.withSystemd(fail(mend, "%s", found), FixPodmanSocket)
}

// withSystemd adds a fix that needs systemd, where systemd runs.
func (c *Checker) withSystemd(f finding, fix FixID) finding {
	if !c.exists("/run/systemd/system") {
		return f
	}
	return f.with(fix)
}

// podmanMajor reads the major version from texts such as "4.3.1", "5.8.6-dev"
// or "v4.9.4-rhel".
func podmanMajor(text string) (int, error) {
	digits, _, found := strings.Cut(strings.TrimPrefix(text, "v"), ".")
	major, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || !found {
		if len(text) > 40 {
			text = text[:40]
		}
		return 0, fmt.Errorf("%q is not a version", text)
	}
	return int(major), nil
}
