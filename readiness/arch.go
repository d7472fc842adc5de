package readiness

import (
	"context"
	"fmt"
	"os"
)

// board is what the architecture check compares the binary with.
type board struct {
	machine  string // uname -m
	userland int    // 32 or 64 bits, 0 if unknown
	pageSize int    // bytes
}

const maxPageSize = 64 * 1024 // what Go's arm64 binaries are aligned for

func (c *Checker) checkArchitecture(context.Context, Gate) finding {
	machine, err := c.probe.machine()
	if err != nil {
		return warn("", "the kernel does not tell its architecture: %v", err)
	}
	return judgeArchitecture(c.probe.goarch, c.probe.goarm, board{machine, c.userland(), c.probe.pageSize})
}

// userland tells by the dynamic loader for what the distribution's programs,
// Podman among them, were built.
func (c *Checker) userland() int {
	for _, loader := range []string{"/lib/ld-linux-aarch64.so.1", "/lib64/ld-linux-x86-64.so.2"} {
		if _, err := os.Lstat(c.path(loader)); err == nil {
			return 64
		}
	}
	for _, loader := range []string{"/lib/ld-linux-armhf.so.3", "/lib/ld-linux.so.2"} {
		if _, err := os.Lstat(c.path(loader)); err == nil {
			return 32
		}
	}
	return 0
}

// machines maps 'uname -m' to the release that suits it.
var machines = map[string]string{
	"x86_64": "amd64", "i686": "386", "i586": "386", "aarch64": "arm64", "arm64": "arm64",
	"armv6l": "armv6", "armv7l": "armv7", "armv8l": "armv7", "riscv64": "riscv64",
}

// judgeArchitecture is pure: a table of what goes together.
func judgeArchitecture(goarch, goarm string, b board) finding {
	release := goarch
	if goarch == "arm" {
		release = "armv" + goarm
		if goarm == "" {
			release = "armv7"
		}
	}
	suits, known := machines[b.machine]
	if !known {
		suits = b.machine
	}
	if suits == "arm64" && b.userland == 32 {
		suits = "armv7"
	}
	says := fmt.Sprintf("%s binary on %s, %d KiB pages", release, b.machine, b.pageSize/1024)
	if b.userland != 0 {
		says += fmt.Sprintf(", %d-bit userland", b.userland)
	}
	take := fmt.Sprintf("install the %s tarball", suits)
	switch {
	case b.pageSize > maxPageSize:
		return fail("boot a kernel with pages of 4, 16 or 64 KiB", "%s: the pages are too large", says)
	case release == "arm64" && b.machine == "aarch64" && b.userland == 32:
		return warn("install a 64-bit system, or the armv7 tarball", "%s: Podman is 32-bit here and takes arm images, but the node calls itself arm64", says)
	case release == "armv7" && suits == "armv6":
		return fail(take, "%s: the processor lacks what the binary needs", says)
	case release != suits && isArm(release) && (isArm(suits) || suits == "arm64"):
		return warn(take, "%s: it works, but slower than it could", says)
	case release != suits && !(release == "386" && suits == "amd64"):
		return fail(take, "%s: made for another processor", says)
	case isArm(release) && b.pageSize > 4096:
		return warn("boot the kernel with 4 KiB pages (Raspberry Pi 5: kernel=kernel8.img in config.txt) or install a 64-bit system", "%s: many 32-bit programs in containers don't start with such pages", says)
	case b.pageSize > 4096:
		return ok("%s (an image that fails with \"unsupported system page size\" needs kernel=kernel8.img in config.txt)", says)
	}
	return ok("%s", says)
}

func isArm(release string) bool {
	return release == "armv5" || release == "armv6" || release == "armv7"
}
