package readiness

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// cgroupOptions switch the memory cgroup on. Over the years Raspberry Pi's
// kernels have known one or the other (raspberrypi/linux issues 1198 and 1950,
// k3s' installation requirements); each ignores what it doesn't know.
const cgroupOptions = "cgroup_enable=memory cgroup_memory=1"

// ErrCmdline is wrapped by EnableMemoryCgroup's errors.
var ErrCmdline = errors.New("cmdline.txt is not one line of kernel options")

// maxCmdline is the longest command line that arm and arm64 kernels take
// (COMMAND_LINE_SIZE, 2048 on arm64, 1024 on arm), with room for what the
// firmware puts in front.
const maxCmdline = 1024

// EnableMemoryCgroup returns the text of a Raspberry Pi's cmdline.txt with the
// memory cgroup switched on. Applied twice it is as if applied once; every
// other option, the spaces between them and the end of the line stay as they
// are. An option that switches it off is taken out. Options after a lone "--"
// belong to init, so the new ones go before it.
//
// A text that is empty, has more than one line or an open quotation mark, or
// becomes too long for the kernel is refused with ErrCmdline and returned unchanged.
func EnableMemoryCgroup(text string) (string, error) {
	line := strings.TrimRight(text, "\r\n")
	end := text[len(line):]
	switch {
	case strings.TrimSpace(line) == "":
		return text, fmt.Errorf("%w: it is empty", ErrCmdline)
	case strings.ContainsAny(line, "\r\n\x00"):
		return text, fmt.Errorf("%w: it has several lines", ErrCmdline)
	case strings.Count(line, `"`)%2 != 0:
		return text, fmt.Errorf("%w: a quotation mark is left open", ErrCmdline)
	}
	tokens := splitCmdline(line)
	own := len(tokens) // where init's options begin
	if i := slices.IndexFunc(tokens, func(t token) bool { return t.word == "--" }); i >= 0 {
		own = i
	}
	head := make([]token, 0, own+2)
	for _, t := range tokens[:own] {
		if t.word = withoutDisable(t.word); t.word != "" {
			head = append(head, t)
		}
	}
	for _, option := range strings.Fields(cgroupOptions) {
		if !slices.ContainsFunc(head, func(t token) bool { return t.word == option }) {
			head = append(head, token{space: " ", word: option})
		}
	}
	tail := slices.Clone(tokens[own:])
	if len(tail) > 0 && tail[0].space == "" { // a line that begins with "--"
		tail[0].space = " "
	}
	out := joinCmdline(head) + joinCmdline(tail) + line[len(joinCmdline(tokens)):]
	if out != line && len(out) > maxCmdline {
		return text, fmt.Errorf("%w: with the new options it has %d bytes, more than the kernel's %d", ErrCmdline, len(out), maxCmdline)
	}
	return out + end, nil
}

// withoutDisable takes "memory" out of a cgroup_disable option and drops a
// cgroup_memory option that isn't 1. Other words come back unchanged.
func withoutDisable(word string) string {
	if value, found := strings.CutPrefix(word, "cgroup_memory="); found && value != "1" {
		return ""
	}
	value, found := strings.CutPrefix(word, "cgroup_disable=")
	if !found {
		return word
	}
	names := strings.Split(value, ",")
	left := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == "memory" })
	switch len(left) {
	case len(names):
		return word
	case 0:
		return ""
	}
	return "cgroup_disable=" + strings.Join(left, ",")
}

// memoryDisabled reports whether the last word of a kernel's command line on
// the memory cgroup switches it off.
func memoryDisabled(cmdline string) bool {
	off := false
	for _, t := range splitCmdline(strings.TrimRight(cmdline, "\r\n")) {
		switch {
		case t.word == "--":
			return off
		case t.word != withoutDisable(t.word):
			off = true
		case t.word == "cgroup_enable=memory" || t.word == "cgroup_memory=1":
			off = false
		}
	}
	return off
}

// token is one option with the white space before it.
type token struct{ space, word string }

// splitCmdline splits as the kernel's next_arg does: at white space, except
// between double quotes. White space at the end belongs to no token.
func splitCmdline(line string) []token {
	var out []token
	for rest := line; ; {
		word := strings.TrimLeft(rest, " \t\v\f")
		space := rest[:len(rest)-len(word)]
		if word == "" {
			return out
		}
		end, quoted := 0, false
		for end < len(word) && (quoted || !strings.ContainsRune(" \t\v\f", rune(word[end]))) {
			if word[end] == '"' {
				quoted = !quoted
			}
			end++
		}
		out = append(out, token{space, word[:end]})
		rest = word[end:]
	}
}

func joinCmdline(tokens []token) string {
	var b strings.Builder
	for _, t := range tokens {
		b.WriteString(t.space)
		b.WriteString(t.word)
	}
	return b.String()
}
