package gossip

import (
	"bytes"
	"context"
	"io"
	"log"
	"log/slog"
	"sync/atomic"

	"golang.org/x/time/rate"
)

const (
	// warnEvery and warnBurst bound warnings: anybody on the network can make memberlist complain per packet.
	warnEvery = 1
	warnBurst = 20
)

// libraryLog turns memberlist's "[LEVEL] memberlist: text" lines into slog records.
type libraryLog struct {
	to      *slog.Logger
	limit   *rate.Limiter
	skipped atomic.Uint64
}

// newLibraryLog gives memberlist a logger; one that formats nothing if nothing would be kept.
func newLibraryLog(to *slog.Logger) *log.Logger {
	if !to.Enabled(context.Background(), slog.LevelWarn) {
		return log.New(io.Discard, "", 0)
	}
	return log.New(&libraryLog{to: to, limit: rate.NewLimiter(warnEvery, warnBurst)}, "", 0)
}

func (l *libraryLog) Write(line []byte) (int, error) {
	level, text := parseLine(line)
	if !l.to.Enabled(context.Background(), level) {
		return len(line), nil
	}
	if level < slog.LevelWarn {
		l.to.Log(context.Background(), level, text)
		return len(line), nil
	}
	if !l.limit.Allow() {
		l.skipped.Add(1)
		return len(line), nil
	}
	var more []any
	if n := l.skipped.Swap(0); n > 0 {
		more = []any{"skipped", n}
	}
	l.to.Log(context.Background(), level, text, more...)
	return len(line), nil
}

// parseLine splits a line into level and text. What memberlist calls errors are mostly other nodes' failures, so
// they are warnings here; its infos are about suspicions that heal or become events, so they are for debugging.
func parseLine(line []byte) (slog.Level, string) {
	text := bytes.TrimSpace(line)
	level := slog.LevelDebug
	if word, rest, ok := bytes.Cut(text, []byte("] ")); ok && bytes.HasPrefix(word, []byte("[")) {
		switch string(word[1:]) {
		case "WARN", "ERR", "ERROR":
			level = slog.LevelWarn
		}
		text = rest
	}
	return level, "gossip: " + string(bytes.TrimPrefix(text, []byte("memberlist: ")))
}
