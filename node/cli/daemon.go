package cli

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	ucli "github.com/urfave/cli/v2"

	"piccolo.io/piccolo/node"
)

func (a *app) runCommand() *ucli.Command {
	return &ucli.Command{
		Name: "run", Usage: "run this node's daemon (what the systemd unit does)",
		Description: "Resumes from the data directory, with or without a network, and works until SIGINT or SIGTERM. The log goes to stderr.\n\n" +
			examples("piccolo run", "piccolo run --data-dir /srv/p1 --run-dir /run/p1 --log-level debug"),
		Action: func(c *ucli.Context) error {
			if _, err := words(c); err != nil {
				return err
			}
			return a.machine.run(c.Context, a.daemonOptions())
		},
	}
}

// daemonOptions are the node's options with the daemon's log, and systemd
// (where it waits for that) told of every step.
func (a *app) daemonOptions() node.Options {
	o := a.nodeOptions()
	o.Level = new(slog.LevelVar)
	var level slog.Level
	if level.UnmarshalText([]byte(a.settings["log-level"])) == nil {
		o.Level.Set(level)
	}
	o.Logger = logger(a.streams.Err, a.settings["log-format"], o.Level)
	notify := func(state string) {
		if _, err := daemon.SdNotify(false, state); err != nil {
			o.Logger.Warn("systemd was not told", "state", state, "error", err)
		}
	}
	o.Ready = func() { notify(daemon.SdNotifyReady) }
	o.Status = func(text string) { notify("STATUS=" + plain(text)) }
	o.Alive = func() { notify(daemon.SdNotifyWatchdog) }
	return o
}

// nodeOptions are the node's options without a daemon's.
func (a *app) nodeOptions() node.Options {
	o := a.settings.options()
	o.Version = a.env.Build.Version
	o.BuildTime = a.buildTime()
	return o
}

// buildTime is zero where the binary does not carry it.
func (a *app) buildTime() time.Time {
	t, _ := time.Parse(time.RFC3339, a.env.Build.Time)
	return t
}

func logger(w io.Writer, format string, level *slog.LevelVar) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// runHere runs the daemon in this terminal and calls ready, beside it, once
// it serves. What ready returns is told, and the daemon goes on, unless the
// cluster has removed the node.
func (a *app) runHere(ctx context.Context, ready func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	o := a.daemonOptions()
	tell, served := o.Ready, make(chan struct{})
	o.Ready = sync.OnceFunc(func() { tell(); close(served) })
	var gone error
	var beside sync.WaitGroup
	beside.Go(func() {
		select {
		case <-ctx.Done():
			return
		case <-served:
		}
		err := ready(ctx)
		switch {
		case errors.Is(err, errGone):
			gone = err
			cancel()
		case err != nil && ctx.Err() == nil:
			a.fail(err)
		}
	})
	err := a.machine.run(ctx, o)
	cancel()
	beside.Wait()
	return errors.Join(gone, err)
}
