package node

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// releaseCode gives back the pages of the program's own code and constants
// that only its start needed. They are unchanged pages of the binary, so the
// kernel reads those back that are used again; what stays away is what the
// linked libraries set up once, two thirds of the resident memory of a sub.
// It returns how many bytes of the binary were given back.
func releaseCode() (int, error) {
	exe, err := os.Executable()
	if err != nil {
		return 0, fmt.Errorf("release code pages: %w", err)
	}
	smaps, err := os.Open("/proc/self/smaps")
	if err != nil {
		return 0, fmt.Errorf("release code pages: %w", err)
	}
	defer func() { _ = smaps.Close() }() // only read
	released := 0
	var from, to uintptr // of the mapping that the lines are about; 0 for one that is not ours
	s := bufio.NewScanner(smaps)
	for s.Scan() {
		fields := strings.Fields(s.Text())
		switch {
		case len(fields) > 0 && strings.Contains(fields[0], "-"):
			from, to = 0, 0
			if len(fields) != 6 || fields[5] != exe || (fields[1] != "r-xp" && fields[1] != "r--p") {
				continue
			}
			if _, err := fmt.Sscanf(fields[0], "%x-%x", &from, &to); err != nil {
				return released, fmt.Errorf("release code pages: read %q: %w", fields[0], err)
			}
		// A mapping that cannot be written now may have been before: the loader
		// of a dynamically linked binary relocates first and protects then. What
		// was written is in no file.
		case to != 0 && len(fields) == 3 && fields[0] == "Anonymous:" && fields[1] == "0":
			if _, _, errno := unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED); errno != 0 {
				return released, fmt.Errorf("release code pages: %w", errno)
			}
			released += int(to - from)
		}
	}
	if err := s.Err(); err != nil {
		return released, fmt.Errorf("release code pages: %w", err)
	}
	return released, nil
}
