package cli

import (
	"fmt"
	"io"
	"net"
	"strings"

	ucli "github.com/urfave/cli/v2"

	"piccolo.io/piccolo/node"
	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/readiness"
)

// checkAnswer is the shape of `piccolo check -o json`.
type checkAnswer struct {
	readiness.Report
	// Ready is false where the join gate would refuse this board, and for a
	// member where something keeps it from being Ready.
	Ready bool `json:"ready"`
	// Fixes only with --fix.
	Fixes []readiness.FixResult `json:"fixes,omitempty"`
}

func (a *app) checkCommand() *ucli.Command {
	return &ucli.Command{
		Name: "check", Usage: "check whether this board is fit to join and to run",
		Description: "An error keeps a board from joining, and a member from being Ready; a warning does neither. Exits with 5 if there is an error.\n\n" +
			examples("piccolo check", "piccolo check --master 10.0.0.1", "piccolo check --fix", "piccolo check -o json"),
		Flags: []ucli.Flag{
			&ucli.BoolFlag{Name: "fix", Usage: "mend what can be mended safely"},
			&ucli.StringFlag{Name: "master", Usage: "`MASTER[:PORT]` that this board is to reach"},
		},
		Action: func(c *ucli.Context) error {
			if _, err := words(c); err != nil {
				return err
			}
			master := c.String("master")
			if c.IsSet("master") {
				if err := checkMaster(master); err != nil {
					return err
				}
			}
			report, fixes, err := a.machine.check(c.Context, a.nodeOptions(), node.CheckOptions{Master: master, Fix: c.Bool("fix")})
			if err != nil {
				return err
			}
			answer := checkAnswer{report, report.Worst() != readiness.SeverityError, fixes}
			if err := a.print(answer, func(w io.Writer) { a.checkPage(w, answer) }); err != nil {
				return err
			}
			if !answer.Ready {
				return exitCode(api.KindUnavailable.Codes().Exit)
			}
			return nil
		},
	}
}

// checkMaster accepts HOST, IP, [IP], HOST:PORT and [IP]:PORT.
func checkMaster(master string) error {
	bad := func(why string) error {
		return api.Invalidf("master %q: %s", shorten(master), why).WithHint("write it as 10.0.0.1, board-1.lan or 10.0.0.1:7443")
	}
	if strings.Contains(master, "/") {
		return bad("a host is needed, not a URL")
	}
	host, port := master, ""
	if h, p, err := net.SplitHostPort(master); err == nil {
		host, port = h, p
		if err := checkPort(port); err != nil {
			return bad(err.Error())
		}
	} else if inner, ok := strings.CutPrefix(master, "["); ok && strings.HasSuffix(inner, "]") && strings.Contains(inner, ":") {
		host = strings.TrimSuffix(inner, "]")
	} else if strings.Count(master, ":") == 1 || strings.ContainsAny(master, "[]") {
		return bad("the port is missing or not a number")
	}
	switch {
	case host == "":
		return bad("the host is missing")
	case len(host) > 253:
		return bad("a host name has at most 253 characters")
	case net.ParseIP(strings.SplitN(host, "%", 2)[0]) != nil:
		return nil
	case strings.ContainsFunc(host, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.' || r == '_')
	}):
		return bad("it is neither an IP address nor a host name")
	}
	return nil
}

func (a *app) checkPage(w io.Writer, answer checkAnswer) {
	g := &grid{app: a, head: []string{"CHECK", "RESULT", "FOUND"}}
	g.tint = func(column int, value string) colour {
		if column == 1 {
			return severityColour(value)
		}
		return noColour
	}
	for _, r := range answer.Results {
		g.add(r.Check, string(r.Severity), r.Found)
	}
	g.write(w)
	a.mends(w, answer)
	told := false
	for _, f := range answer.Fixes {
		if f.Outcome != readiness.OutcomeApplied && f.Outcome != readiness.OutcomeFailed {
			continue // what a person has to do stands above
		}
		told = true
		line := fmt.Sprintf("%s: %s", f.Outcome, f.Detail)
		if f.RebootNeeded {
			line += " (works after a reboot)"
		}
		fmt.Fprintf(w, "Fix %s: %s\n", f.Check, plain(line))
	}
	if !told && len(answer.Fixes) > 0 {
		fmt.Fprintln(w, "Nothing of it can be mended without you.")
		told = true
	}
	if told {
		fmt.Fprintln(w)
	}
	member := answer.Gate == readiness.GateRunning
	switch {
	case !answer.Ready && member:
		fmt.Fprintln(w, a.paint(red, "This node is NotReady until the errors are mended."))
	case !answer.Ready:
		fmt.Fprintln(w, a.paint(red, "This board cannot join yet."))
	case !answer.Worst().Bad():
		fmt.Fprintln(w, a.paint(green, "This board is fit."))
	case member:
		fmt.Fprintln(w, a.paint(yellow, "This board is fit to go on; look at the warnings."))
	default:
		fmt.Fprintln(w, a.paint(yellow, "This board can join; look at the warnings."))
	}
}

func (a *app) mends(w io.Writer, answer checkAnswer) {
	head := "\nTo mend:\n"
	fixable := false
	for _, r := range answer.Results {
		if !r.Severity.Bad() || r.Mend == "" {
			continue
		}
		line := r.Mend
		if r.RebootNeeded {
			line += " (then reboot)"
		}
		fmt.Fprintf(w, "%s  %s: %s\n", head, r.Check, plain(line))
		head = ""
		fixable = fixable || r.Fix != ""
	}
	if fixable && answer.Fixes == nil {
		fmt.Fprintln(w, "  (`piccolo check --fix` does what is safe)")
	}
	fmt.Fprintln(w)
}
