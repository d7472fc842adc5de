package cli

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/xrash/smetrics"
)

// nearest returns the known word that a person most likely meant by word, or
// "" where none is like it.
func nearest(word string, known []string) string {
	best, score := "", 0.75
	for _, k := range known {
		if len(k) < 2 {
			continue
		}
		// The parameters are urfave/cli's own.
		if s := smetrics.JaroWinkler(strings.ToLower(word), k, 0.7, 4); s > score {
			best, score = k, s
		}
	}
	return best
}

// shorten keeps a message readable when the input is huge.
func shorten(s string) string {
	const limit = 80
	r := []rune(s)
	if len(r) <= limit {
		return s
	}
	return string(r[:limit]) + "…"
}

// plain takes out of s what could steer a terminal: names and messages come
// from other machines.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r):
			return -1
		}
		return r
	}, s)
}

// span writes a duration as a person says it, in its largest unit.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + span(-d)
	case d < time.Second:
		return "0s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
}

// ago writes how long t is past at now, and "-" for no time.
func ago(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	switch d := now.Sub(t); {
	case d < -time.Second:
		return "in " + span(-d)
	case d < time.Second:
		return "now"
	default:
		return span(d) + " ago"
	}
}

// age is ago without the word, for a column named AGE.
func age(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return span(max(now.Sub(t), 0))
}

// orDash is s, or "-" where it is empty.
func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
