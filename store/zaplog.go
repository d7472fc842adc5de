package store

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// slogCore hands etcd's log entries from warn upwards to slog. (The libraries
// that join zap and slog all go the other way.)
type slogCore struct {
	log    *slog.Logger
	quiet  func() bool // the member is stopping: what breaks now was meant to break
	fields []zapcore.Field
}

// knownWarnings are about what this room does on purpose, or does not use.
var knownWarnings = map[string]bool{
	"Running http and grpc server on single port. This is not recommended for production.": true, // there is no client port
	"simple token is not cryptographically signed":                                         true, // etcd's users are not used
	// Until the first commit of the database (batchInterval) it lacks what these look for; they look again.
	"Failed to detect schema version":  true,
	"failed to update storage version": true,
	"Failed to detect storage schema version. Please wait till wal snapshot before upgrading cluster.": true,
}

// Enabled implements zapcore.LevelEnabler.
func (c slogCore) Enabled(l zapcore.Level) bool { return l >= zapcore.WarnLevel }

// With implements zapcore.Core.
func (c slogCore) With(fields []zapcore.Field) zapcore.Core {
	c.fields = append(c.fields[:len(c.fields):len(c.fields)], fields...)
	return c
}

// Check implements zapcore.Core.
func (c slogCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

// Write implements zapcore.Core.
func (c slogCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	if knownWarnings[e.Message] || c.quiet() {
		return nil
	}
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range c.fields {
		f.AddTo(enc)
	}
	for _, f := range fields {
		f.AddTo(enc)
	}
	level := slog.LevelWarn
	if e.Level >= zapcore.ErrorLevel {
		level = slog.LevelError
	}
	attrs := make([]slog.Attr, 0, len(enc.Fields)+1)
	attrs = append(attrs, slog.String("part", "etcd"))
	for k, v := range enc.Fields {
		attrs = append(attrs, slog.Any(k, v))
	}
	c.log.LogAttrs(context.Background(), level, e.Message, attrs...)
	return nil
}

// Sync implements zapcore.Core.
func (c slogCore) Sync() error { return nil }

// deathHook turns what etcd means to be the end of the process (zap's Fatal and
// Panic) into the end of the goroutine that met it, and reports the reason once.
type deathHook struct{ report func(error) }

// OnWrite implements zapcore.CheckWriteHook.
func (h deathHook) OnWrite(ce *zapcore.CheckedEntry, fields []zapcore.Field) {
	err := errors.New(ce.Message)
	for _, f := range fields {
		if cause, ok := f.Interface.(error); ok && f.Type == zapcore.ErrorType {
			err = etcdDeath{ce.Message, cause}
		}
	}
	h.report(err)
	runtime.Goexit()
}

// etcdDeath is a last word of etcd and its cause.
type etcdDeath struct {
	message string
	cause   error
}

func (e etcdDeath) Error() string { return e.message + ": " + e.cause.Error() }
func (e etcdDeath) Unwrap() error { return e.cause }

// While a peer is away etcd says so every few seconds, for as long as it takes:
// of the same warning only so many are kept in each span.
const (
	sameWarnings     = 10
	sameWarningsSpan = 10 * time.Minute
)

// newZap is etcd's logger: warnings to log until quiet, deaths to report.
func newZap(log *slog.Logger, quiet func() bool, report func(error)) *zap.Logger {
	hook := deathHook{report}
	core := zapcore.NewSamplerWithOptions(slogCore{log: log, quiet: quiet}, sameWarningsSpan, sameWarnings, 0)
	return zap.New(core, zap.WithFatalHook(hook), zap.WithPanicHook(hook))
}
