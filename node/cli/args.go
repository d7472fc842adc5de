package cli

import (
	"slices"
	"strings"

	ucli "github.com/urfave/cli/v2"

	"piccolo.io/piccolo/node/api"
)

// completionFlag is what the shells' completion scripts append.
const completionFlag = "--generate-bash-completion"

// arrange puts arguments in the order that urfave/cli can read: global flags,
// the command's path, its flags, "--", what remains. A flag may stand anywhere
// after the command that knows it, a global one anywhere at all, until "--".
//
// args[0] is the program. An unknown flag or command is an error with a
// suggestion; nothing is ever dropped or changed.
func arrange(root *ucli.App, args []string) ([]string, error) {
	if len(args) == 0 || args[len(args)-1] == completionFlag {
		return args, nil
	}
	w := walk{commands: root.Commands, scopes: [][]ucli.Flag{withHelp(root.Flags)}, flags: [][]string{nil}, path: []string{root.Name}}
	if root.Version != "" {
		w.scopes[0] = append(w.scopes[0], ucli.VersionFlag)
	}
	for rest := args[1:]; len(rest) > 0; {
		var err error
		if rest, err = w.take(rest); err != nil {
			return nil, err
		}
	}
	// Help is about the innermost command, wherever it was asked for.
	last := len(w.flags) - 1
	w.flags[last] = append(w.flags[last], w.help...)
	out := []string{args[0]}
	for depth, flags := range w.flags {
		if depth > 0 {
			out = append(out, w.path[depth])
		}
		out = append(out, flags...)
	}
	if len(w.words) > 0 {
		out = append(append(out, "--"), w.words...)
	}
	return out, nil
}

func withHelp(flags []ucli.Flag) []ucli.Flag { return append(slices.Clone(flags), ucli.HelpFlag) }

// walk is where arrange has got to. scopes, flags and path have one entry per
// level: the program first, the innermost command last.
type walk struct {
	commands []*ucli.Command
	scopes   [][]ucli.Flag
	flags    [][]string
	path     []string
	words    []string
	help     []string
}

// take reads one argument, with its value where it is a flag that has one,
// and returns what is left.
func (w *walk) take(rest []string) ([]string, error) {
	arg := rest[0]
	switch {
	case arg == "--":
		w.words = append(w.words, rest[1:]...)
		if len(w.commands) > 0 && len(w.words) > 0 {
			return nil, w.unknownCommand(w.words[0])
		}
		return nil, nil
	case len(arg) > 1 && arg[0] == '-':
		return w.takeFlag(rest)
	case len(w.commands) == 0:
		w.words = append(w.words, arg)
		return rest[1:], nil
	}
	i := slices.IndexFunc(w.commands, func(c *ucli.Command) bool { return c.HasName(arg) })
	if i < 0 {
		return nil, w.unknownCommand(arg)
	}
	c := w.commands[i]
	w.commands = c.Subcommands
	w.scopes = append(w.scopes, withHelp(c.Flags))
	w.flags = append(w.flags, nil)
	w.path = append(w.path, arg)
	return rest[1:], nil
}

func (w *walk) takeFlag(rest []string) ([]string, error) {
	arg := rest[0]
	name, _, hasValue := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(arg, "-"), "-"), "=")
	depth, flag := w.lookup(name)
	if flag == nil {
		return nil, w.unknownFlag(arg, name)
	}
	take := 1
	if _, isBool := flag.(*ucli.BoolFlag); !isBool && !hasValue {
		if take = 2; len(rest) < take {
			return nil, api.Invalidf("flag %s needs a value", arg).WithHint("%s", w.helpHint())
		}
	}
	if slices.Contains(ucli.HelpFlag.Names(), name) {
		w.help = append(w.help, arg)
		return rest[1:], nil
	}
	w.flags[depth] = append(w.flags[depth], rest[:take]...)
	return rest[take:], nil
}

// lookup finds the innermost flag of that name.
func (w *walk) lookup(name string) (int, ucli.Flag) {
	for depth := len(w.scopes) - 1; depth >= 0; depth-- {
		for _, f := range w.scopes[depth] {
			if slices.Contains(f.Names(), name) {
				return depth, f
			}
		}
	}
	return 0, nil
}

func (w *walk) helpHint() string { return "see: " + strings.Join(w.path, " ") + " --help" }

func (w *walk) unknownFlag(arg, name string) error {
	known := []string{}
	for _, scope := range w.scopes {
		for _, f := range scope {
			known = append(known, f.Names()...)
		}
	}
	arg, _, _ = strings.Cut(arg, "=") // the value may be a secret
	e := api.Invalidf("unknown flag %q for %q", shorten(arg), strings.Join(w.path, " "))
	if near := nearest(name, known); near != "" {
		return e.WithHint("did you mean --%s? Otherwise %s", near, w.helpHint())
	}
	return e.WithHint("%s", w.helpHint())
}

func (w *walk) unknownCommand(word string) error {
	known := []string{}
	for _, c := range w.commands {
		if !c.Hidden {
			known = append(known, c.Names()...)
		}
	}
	e := api.Invalidf("unknown command %q for %q", shorten(word), strings.Join(w.path, " "))
	if near := nearest(word, known); near != "" {
		return e.WithHint("did you mean %q? Otherwise %s", near, w.helpHint())
	}
	return e.WithHint("%s", w.helpHint())
}
