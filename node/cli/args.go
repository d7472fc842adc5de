package cli

import (
	"slices"
	"strings"

	ucli "github.com/urfave/cli/v2"

	"piccolo.io/piccolo/node/api"
)

// arrange puts arguments in the order that urfave/cli can read: global flags,
// the command's path, its flags, "--", what remains. A flag may stand anywhere
// after the command that knows it, a global one anywhere at all, until "--".
//
// args[0] is the program. An unknown flag or command is an error with a
// suggestion. Nothing is ever dropped or changed, but that "-ojson" becomes
// "-o json" and the word help a flag.
func arrange(root *ucli.App, args []string) ([]string, error) {
	if len(args) == 0 {
		return args, nil
	}
	w := newWalk(root)
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

func newWalk(root *ucli.App) *walk {
	w := &walk{commands: root.Commands, scopes: [][]ucli.Flag{withHelp(root.Flags)}, flags: [][]string{nil}, path: []string{root.Name}}
	if root.Version != "" {
		w.scopes[0] = append(w.scopes[0], ucli.VersionFlag)
	}
	return w
}

// walk is where arrange has got to. scopes, flags and path have one entry per
// level: the program first, the innermost command last.
type walk struct {
	commands []*ucli.Command
	scopes   [][]ucli.Flag
	flags    [][]string
	path     []string
	// names are those of the path's commands, whatever alias was typed.
	names []string
	words []string
	help  []string
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
	if arg == "help" {
		w.help = append(w.help, "--help")
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
	w.path, w.names = append(w.path, arg), append(w.names, c.Name)
	return rest[1:], nil
}

func (w *walk) takeFlag(rest []string) ([]string, error) {
	arg := rest[0]
	name, _, hasValue := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(arg, "-"), "-"), "=")
	depth, flag := w.lookup(name)
	if flag == nil {
		if glued := w.unglue(arg); glued != nil {
			return w.takeFlag(append(glued, rest[1:]...))
		}
		return nil, w.unknownFlag(arg, name)
	}
	take := 1
	if takesValue(flag) && !hasValue {
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

func takesValue(f ucli.Flag) bool {
	_, isBool := f.(*ucli.BoolFlag)
	return !isBool
}

// unglue parts a flag of one letter from the value that follows it at once,
// and returns nil where arg is none.
func (w *walk) unglue(arg string) []string {
	if len(arg) < 3 || arg[0] != '-' || arg[1] == '-' {
		return nil
	}
	if _, flag := w.lookup(arg[1:2]); flag == nil || !takesValue(flag) {
		return nil
	}
	return []string{arg[:2], arg[2:]}
}

// global is the value of one of the program's own flags.
func (w *walk) global(name string) (string, bool) {
	value, found := "", false
	for i := 0; i < len(w.flags[0]); i++ {
		typed, v, hasValue := strings.Cut(strings.TrimLeft(w.flags[0][i], "-"), "=")
		_, flag := w.lookup(typed)
		if flag == nil || !takesValue(flag) {
			continue
		}
		if !hasValue {
			i++
			v = w.flags[0][i]
		}
		if slices.Contains(flag.Names(), name) {
			value, found = v, true
		}
	}
	return value, found
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
