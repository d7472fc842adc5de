package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	ucli "github.com/urfave/cli/v2"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/unit"
)

// Streams are where a command reads and writes. Colour and progress appear
// where Out and Err are terminals.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// Build says what this binary is.
type Build struct {
	// Version is a release's, such as "v1.2.0", or "dev".
	Version string
	// Commit is the revision of the source, empty where it is not known.
	Commit string
	// Time is when the source was committed, RFC 3339; the lower bound of
	// every clock reading.
	Time string
}

// Environment is what a command knows beside its arguments.
type Environment struct {
	// Lookup reads an environment variable; nil is an empty environment.
	Lookup func(name string) (string, bool)
	Build  Build
}

// app is one run of the command line.
type app struct {
	streams  Streams
	env      Environment
	settings settings
	machine  machine
	// booted tells whether systemd runs this machine, newUnit makes the
	// service, root whether the user may do everything.
	booted  func() bool
	newUnit func(unit.Options) (service, error)
	root    func() bool
	// remote tells, after dial, that another machine answers.
	remote bool
	// terminal tells whether a stream is one.
	terminal func(stream any) bool
	now      func() time.Time
	began    time.Time
}

// Run carries out one command line, args[0] being the program, and returns
// the exit code: 0, 1 other, 2 usage or invalid, 3 not found, 4 conflict,
// 5 unavailable, 6 denied, 130 interrupted.
func Run(ctx context.Context, args []string, s Streams, env Environment) int {
	a := newApp(s, env)
	return a.run(ctx, args)
}

func newApp(s Streams, env Environment) *app {
	if env.Lookup == nil {
		env.Lookup = func(string) (string, bool) { return "", false }
	}
	return &app{
		streams: s, env: env, settings: settings{}, machine: thisMachine(),
		booted:   unit.Booted,
		newUnit:  func(o unit.Options) (service, error) { return unit.New(o) },
		root:     func() bool { return os.Geteuid() == 0 },
		terminal: isTerminal,
		now:      time.Now, began: time.Now(),
	}
}

func (a *app) run(ctx context.Context, args []string) int {
	program := a.program()
	if n := len(args); n > 1 && args[n-1] == completionFlag {
		a.complete(ctx, program, args[1:n-1])
		return 0
	}
	arranged, err := arrange(program, args)
	if err != nil {
		a.guessFormat(args)
		return a.fail(err)
	}
	if len(arranged) == 1 {
		arranged = append(arranged, "--help")
	}
	if err := program.RunContext(ctx, arranged); err != nil {
		if a.settings["output"] == "" {
			a.guessFormat(args)
		}
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			return a.interrupted(err)
		}
		return a.fail(err)
	}
	return 0
}

// guessFormat lets an error in the arguments themselves be told in the form
// that they ask for.
func (a *app) guessFormat(args []string) {
	for i, arg := range args {
		switch {
		case arg == "--":
			return
		case arg == "-o=json", arg == "-ojson", arg == "--output=json",
			(arg == "-o" || arg == "--output") && i+1 < len(args) && args[i+1] == "json":
			a.settings["output"] = "json"
		}
	}
}

// program is the tree of commands.
func (a *app) program() *ucli.App {
	p := &ucli.App{
		Name: "piccolo", HelpName: "piccolo", Version: a.env.Build.Version,
		Usage:     "boards and cloud machines as one container cluster",
		UsageText: "piccolo [global options] COMMAND [options] [arguments]",
		Description: "A first cluster:\n" +
			"  piccolo init                            on the first board\n" +
			"  piccolo join 10.0.0.1 --token pic1.…    on every other; init prints the line\n" +
			"  piccolo status\n\n" +
			"Every global option can also be set in the environment (PICCOLO_…) and in the configuration file (key: value). " +
			"Options win over the environment, and that over the file.",
		Writer: a.streams.Out, ErrWriter: a.streams.Err, Reader: a.streams.In,
		HideHelpCommand: true, DisableSliceFlagSeparator: true,
		ExitErrHandler: func(*ucli.Context, error) {},
		OnUsageError:   usageError,
	}
	for _, s := range settingTable() {
		p.Flags = append(p.Flags, s.flag())
	}
	p.Commands = []*ucli.Command{
		a.initCommand(), a.joinCommand(), a.runCommand(), a.leaveCommand(), a.resetCommand(), a.checkCommand(),
		a.statusCommand(), a.nodeCommand(), a.psCommand(), a.eventsCommand(), a.tokenCommand(), a.topologyCommand(),
		a.loginCommand(), a.contextCommand(),
		a.versionCommand(), a.completionCommand(),
	}
	a.finish(p.Commands)
	return p
}

// finish gives every command what they all have. The settings are resolved
// when a command is about to act: its help does not need them.
func (a *app) finish(commands []*ucli.Command) {
	for _, c := range commands {
		c.HideHelpCommand = true
		c.OnUsageError = usageError
		for _, f := range c.Flags {
			if b, ok := f.(*ucli.BoolFlag); ok {
				b.DisableDefaultText = true // a switch that is not there is off
			}
		}
		if act := c.Action; act != nil {
			c.Action = func(c *ucli.Context) error {
				if err := a.resolve(c); err != nil {
					return err
				}
				return act(c)
			}
		}
		a.finish(c.Subcommands)
	}
}

func (a *app) resolve(c *ucli.Context) error {
	s, err := resolve(func(name string) (string, bool) { return c.String(name), c.IsSet(name) }, a.env.Lookup)
	if err != nil && tolerant(c) {
		// What only prints something works whatever the file says.
		a.settings = settings{"output": c.String("output")}
		return nil
	}
	if err != nil {
		return err
	}
	a.settings = s
	return nil
}

// tolerant reports whether the command needs no settings.
func tolerant(c *ucli.Context) bool {
	return c.Command.Name == "version" || c.Command.Name == "completion"
}

func usageError(c *ucli.Context, err error, _ bool) error {
	return api.Invalidf("%w", err).WithHint("see: %s --help", c.Command.HelpName)
}

// words checks the number of arguments; names are what they are called in
// the help, an optional one in brackets.
func words(c *ucli.Context, names ...string) ([]string, error) {
	least := 0
	for _, n := range names {
		if n[0] != '[' {
			least++
		}
	}
	got := c.Args().Slice()
	hint := "see: " + c.Command.HelpName + " --help"
	if len(got) < least {
		return nil, api.Invalidf("%s: %s is missing", c.Command.HelpName, names[len(got)]).WithHint("%s", hint)
	}
	if len(got) > len(names) {
		return nil, api.Invalidf("%s: unexpected argument %q", c.Command.HelpName, shorten(got[len(names)])).WithHint("%s", hint)
	}
	return append(got, make([]string, len(names)-len(got))...), nil
}

// examples writes the part of a help page that a person reads first.
func examples(lines ...string) string {
	out := "Examples:"
	for _, l := range lines {
		out += "\n  " + l
	}
	return out
}
