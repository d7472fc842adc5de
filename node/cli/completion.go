package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	ucli "github.com/urfave/cli/v2"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/topology"
)

// completionFlag is what the shells' completion scripts append.
const completionFlag = "--generate-bash-completion"

// filesWanted is the answer that tells a shell to offer its files.
const filesWanted = ":files"

// The scripts ask the program itself: they hand it the complete words, then
// the one under the cursor where that begins with a dash, or else an empty
// one. They choose from its answer, one word a line, and need no library of
// their shell.
const (
	bashCompletion = `# piccolo completion bash
_piccolo_completion() {
  local cur="${COMP_WORDS[COMP_CWORD]}" word found asked=()
  # bash splits a word at every '='.
  for word in "${COMP_WORDS[@]:0:COMP_CWORD}"; do [[ "$word" == "=" ]] || asked+=("$word"); done
  [[ "$cur" == "=" ]] && cur=""
  if [[ "$cur" == -* ]]; then asked+=("$cur"); else asked+=(""); fi
  found=$("${asked[@]}" --generate-bash-completion 2>/dev/null)
  COMPREPLY=()
  if [[ "$found" == ":files" ]]; then
    compopt -o filenames 2>/dev/null
    found=$(compgen -f -- "$cur")
  fi
  while IFS= read -r word; do
    [[ -n "$word" && "$word" == "$cur"* ]] && COMPREPLY+=("$word")
  done <<<"$found"
}
complete -F _piccolo_completion piccolo
`
	zshCompletion = `#compdef piccolo
_piccolo() {
  local cur=${words[CURRENT]}
  local -a asked=("${(@)words[1,CURRENT-1]}") found
  if [[ "$cur" == -* ]]; then asked+=("$cur"); else asked+=(""); fi
  found=("${(@f)$("${asked[@]}" --generate-bash-completion 2>/dev/null)}")
  if [[ "${found[1]}" == ":files" ]]; then
    _files
  elif [[ -n "${found[1]}" ]]; then
    compadd -- "${found[@]}"
  fi
}
if [[ "${funcstack[1]}" == "_piccolo" ]]; then
  _piccolo "$@"
else
  compdef _piccolo piccolo
fi
`
	fishCompletion = `# piccolo completion fish
function __piccolo_completion
  set -l asked (commandline -opc)
  set -l cur (commandline -ct)
  if string match -q -- '-*' "$cur"
    set -a asked "$cur"
  else
    set -a asked ""
  end
  set -l found ($asked --generate-bash-completion 2>/dev/null)
  if test "$found[1]" = ":files"
    __fish_complete_path "$cur"
  else
    printf '%s\n' $found
  end
end
complete -c piccolo -f -a '(__piccolo_completion)'
`
)

// shells are those that there is a script for.
func shells() []string { return []string{"bash", "zsh", "fish"} }

func (a *app) completionCommand() *ucli.Command {
	return &ucli.Command{
		Name: "completion", Usage: "print a shell's completion script", ArgsUsage: strings.Join(shells(), "|"),
		Description: examples("source <(piccolo completion bash)", "piccolo completion zsh > /usr/share/zsh/site-functions/_piccolo",
			"piccolo completion fish > ~/.config/fish/completions/piccolo.fish"),
		Action: func(c *ucli.Context) error {
			shell, err := words(c, "SHELL")
			if err != nil {
				return err
			}
			script, ok := map[string]string{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}[shell[0]]
			if !ok {
				return api.Invalidf("there is no completion for %q", shorten(shell[0])).WithHint("use bash, zsh or fish")
			}
			_, err = fmt.Fprint(a.streams.Out, script)
			return err
		},
	}
}

// complete writes what may stand at the cursor, one word a line. typed is the
// line without the program, as the scripts hand it over. Nobody who presses
// Tab wants to wait or to read an error.
func (a *app) complete(ctx context.Context, program *ucli.App, typed []string) {
	cur := ""
	if n := len(typed); n > 0 && (typed[n-1] == "" || typed[n-1][0] == '-') {
		cur, typed = typed[n-1], typed[:n-1]
	}
	w := newWalk(program)
	for rest := typed; len(rest) > 0; {
		if f := w.waiting(rest); f != nil {
			a.offer(valuesOf(f.Names()[0]))
			return
		}
		var err error
		if rest, err = w.take(rest); err != nil {
			return
		}
	}
	name, _, hasValue := strings.Cut(cur, "=")
	switch {
	case hasValue:
		values := valuesOf(strings.TrimLeft(name, "-"))
		for i := range values {
			if values[i] != filesWanted {
				values[i] = name + "=" + values[i]
			}
		}
		a.offer(values)
	case cur != "":
		a.offer(w.visibleFlags())
	case len(w.commands) > 0:
		var names []string
		for _, c := range w.commands {
			names = append(names, c.Name)
		}
		a.offer(names)
	default:
		a.offer(a.argumentsOf(ctx, w))
	}
}

func (a *app) offer(found []string) {
	for _, word := range found {
		fmt.Fprintln(a.streams.Out, word)
	}
}

// waiting returns the flag that the last word is, where its value is missing.
func (w *walk) waiting(rest []string) ucli.Flag {
	if len(rest) != 1 || len(rest[0]) < 2 || rest[0][0] != '-' || strings.Contains(rest[0], "=") {
		return nil
	}
	_, flag := w.lookup(strings.TrimLeft(rest[0], "-"))
	if flag == nil || !takesValue(flag) {
		return nil
	}
	return flag
}

// visibleFlags are those that may stand here, the innermost command's first.
func (w *walk) visibleFlags() []string {
	var out []string
	for _, scope := range slices.Backward(w.scopes) {
		for _, f := range scope {
			if v, ok := f.(ucli.VisibleFlag); ok && v.IsVisible() && !slices.Contains(out, "--"+f.Names()[0]) {
				out = append(out, "--"+f.Names()[0])
			}
		}
	}
	return out
}

// valuesOf are the values that a flag may have, as far as they are known.
func valuesOf(flag string) []string {
	switch flag {
	case "config", "data-dir", "run-dir", "podman-socket", "podman-root", "file", "f", "token-file":
		return []string{filesWanted}
	case "role":
		return []string{string(topology.RoleSub), string(topology.RoleMaster)}
	}
	for _, s := range settingTable() {
		if flag == s.name || flag == s.alias {
			return s.words
		}
	}
	return nil
}

// argumentsOf are the words that a command may take next.
func (a *app) argumentsOf(ctx context.Context, w *walk) []string {
	switch at := len(w.words); strings.Join(w.names, " ") {
	case "node show", "node rm", "node maintenance", "node resume", "node approve", "node label", "ps":
		if at == 0 {
			return a.nodeNames(ctx, w)
		}
	case "node log-level":
		if at == 0 {
			return a.nodeNames(ctx, w)
		} else if at == 1 {
			return append(logLevels(), "default")
		}
	case "context use", "context rm":
		if cs, err := a.readContexts(); at == 0 && err == nil {
			var names []string
			for _, s := range cs.Contexts {
				names = append(names, s.Name)
			}
			return names
		}
	case "completion":
		if at == 0 {
			return shells()
		}
	}
	return nil
}

// completionPatience is how long a person who presses Tab may wait.
const completionPatience = time.Second

// nodeNames asks for the names of the cluster's nodes.
func (a *app) nodeNames(ctx context.Context, w *walk) []string {
	s, err := resolve(w.global, a.env.Lookup)
	if err != nil {
		return nil
	}
	a.settings = s
	conn, err := a.dial()
	if err != nil {
		return nil
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, completionPatience)
	defer cancel()
	nodes, err := conn.Nodes(ctx)
	if err != nil {
		return nil
	}
	var names []string
	for _, n := range nodes.Value {
		if topology.ValidateName(n.Name) == nil {
			names = append(names, n.Name)
		}
	}
	return names
}
