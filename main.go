// Command piccolo is the whole of Piccolo: the daemon of a node and the
// command line that talks to it.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"piccolo.io/piccolo/node/cli"
)

// Set by the linker: -ldflags "-X main.version=…". buildTime is RFC 3339.
var (
	version   = "dev"
	commit    = ""
	buildTime = ""
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	return cli.Run(ctx, os.Args, cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}, cli.Environment{
		Lookup: os.LookupEnv,
		Build:  cli.Build{Version: version, Commit: commit, Time: buildTime},
	})
}
