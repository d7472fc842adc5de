package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	ucli "github.com/urfave/cli/v2"

	"piccolo.io/piccolo/node/api"
)

// The scripts are urfave/cli's autocomplete scripts, as functions that need
// no bash-completion package. Both ask the program itself.
const (
	bashCompletion = `# piccolo completion bash
_piccolo_completion() {
  local cur="${COMP_WORDS[COMP_CWORD]}" words=("${COMP_WORDS[@]:0:COMP_CWORD}") IFS=$'\n'
  [[ "$cur" == -* ]] && words+=("$cur")
  COMPREPLY=($(compgen -W "$("${words[@]}" --generate-bash-completion 2>/dev/null)" -- "$cur"))
}
complete -o bashdefault -o default -F _piccolo_completion piccolo
`
	zshCompletion = `#compdef piccolo
_piccolo() {
  local cur=${words[CURRENT]}
  local -a asked=("${(@)words[1,CURRENT-1]}") found
  [[ "$cur" == -* ]] && asked+=("$cur")
  found=("${(@f)$("${asked[@]}" --generate-bash-completion 2>/dev/null)}")
  if [[ -n "${found[1]}" ]]; then
    compadd -- "${found[@]}"
  else
    _files
  fi
}
if [[ "${funcstack[1]}" == "_piccolo" ]]; then
  _piccolo "$@"
else
  compdef _piccolo piccolo
fi
`
)

func (a *app) completionCommand() *ucli.Command {
	return &ucli.Command{
		Name: "completion", Usage: "print a shell's completion script", ArgsUsage: "bash|zsh|fish",
		Description: examples("source <(piccolo completion bash)", "piccolo completion zsh > /usr/share/zsh/site-functions/_piccolo",
			"piccolo completion fish > ~/.config/fish/completions/piccolo.fish"),
		BashComplete: func(c *ucli.Context) { fmt.Fprint(c.App.Writer, "bash\nzsh\nfish\n") },
		Action: func(c *ucli.Context) error {
			shell, err := words(c, "SHELL")
			if err != nil {
				return err
			}
			script := ""
			switch shell[0] {
			case "bash":
				script = bashCompletion
			case "zsh":
				script = zshCompletion
			case "fish":
				if script, err = c.App.ToFishCompletion(); err != nil {
					return fmt.Errorf("make fish completion: %w", err)
				}
				script = strings.ReplaceAll(script, "`", "") // urfave's mark of a value's name
			default:
				return api.Invalidf("there is no completion for %q", shorten(shell[0])).WithHint("use bash, zsh or fish")
			}
			_, err = fmt.Fprint(a.streams.Out, script)
			return err
		},
	}
}

// completeNodes offers the names of the nodes. Nobody who presses Tab wants
// to wait or to read an error.
func (a *app) completeNodes(c *ucli.Context) {
	if last := a.lastWord(c); strings.HasPrefix(last, "-") {
		ucli.DefaultCompleteWithFlags(c.Command)(c)
		return
	}
	if a.resolve(c) != nil {
		return
	}
	ctx, cancel := context.WithTimeout(c.Context, time.Second)
	defer cancel()
	conn, err := a.dial()
	if err != nil {
		return
	}
	defer conn.Close()
	nodes, err := conn.Nodes(ctx)
	if err != nil {
		return
	}
	for _, n := range nodes.Value {
		fmt.Fprintln(c.App.Writer, plain(n.Name))
	}
}

// lastWord is the word that is being completed, where it has begun.
func (a *app) lastWord(c *ucli.Context) string {
	if args := c.Args().Slice(); len(args) > 0 {
		return args[len(args)-1]
	}
	return ""
}
