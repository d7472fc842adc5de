package agent

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"unicode"

	"piccolo.io/piccolo/topology"
)

// maxTold bounds how many kinds of reasons are said while the mode stays.
const maxTold = 8

// stand changes the mode; an unchanged one keeps its time. A mode and each
// kind of reason for it are said once: an agent that cannot attach tries every
// second or two, for months perhaps.
func (a *Agent) stand(mode Mode, master string, why error) {
	a.mu.Lock()
	if a.standing.Mode == ModeRemoved {
		a.mu.Unlock()
		return
	}
	reason := ""
	if why != nil {
		reason = why.Error()
	}
	if a.standing.Mode != mode {
		a.standing.Since, a.told = a.o.Now(), map[string]bool{}
	}
	a.standing.Mode, a.standing.Master, a.standing.Reason = mode, master, reason
	first, news := len(a.told) == 0, a.news(reason)
	a.mu.Unlock()
	if !news {
		return
	}
	is := "agent is "
	if !first {
		is = "agent is still "
	}
	level, attrs := slog.LevelInfo, []any{"master", master, "reason", reason}
	switch {
	case errors.Is(why, topology.ErrIdentityInUse):
		level = slog.LevelError
		attrs = append(attrs, "hint", "the data directory is a copy of another board's: `piccolo reset` here, then join it anew")
	case mode == ModeOffline:
		level = slog.LevelWarn
	}
	a.o.Logger.Log(context.Background(), level, is+string(mode), attrs...)
	if mode == ModeOnline {
		reason = "attached to " + master
	}
	a.o.OnEvent("Mode", string(mode)+": "+reason)
}

// news notes a reason and reports whether its kind is new in this mode. The
// caller holds mu.
func (a *Agent) news(reason string) bool {
	kind := kindOf(reason)
	if a.told[kind] || len(a.told) == maxTold {
		return false
	}
	a.told[kind] = true
	return true
}

// kindOf is a reason without its figures: ports and times differ each time.
func kindOf(reason string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsDigit(r) {
			return -1
		}
		return r
	}, reason)
}

// heard notes that a master has just said something.
func (a *Agent) heard() {
	at := a.o.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.view.AsOf = at
}
