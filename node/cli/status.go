package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	ucli "github.com/urfave/cli/v2"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/api/client"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/topology"
)

func (a *app) statusCommand() *ucli.Command {
	return &ucli.Command{
		Name: "status", Usage: "show how the cluster and this node stand",
		Description: "Answers on every node, with no master too; what is not live is marked.\n\n" + examples("piccolo status", "piccolo status -o json"),
		Action: func(c *ucli.Context) error {
			return a.ask(c, nil, func(c *ucli.Context, conn *client.HTTP, _ []string) error {
				answer, err := conn.Status(c.Context)
				if err != nil {
					return err
				}
				st := answer.Value
				if answer.AsOf == nil {
					answer.AsOf = st.AsOf
				}
				a.markStale(answer.AsOf)
				return a.print(st, func(w io.Writer) { a.statusPage(w, st) })
			})
		},
	}
}

// flashPatience after the daemon's start, before what it has written is told
// as a pace per day: of a minute, it would be nonsense.
const flashPatience = 10 * time.Minute

// ask checks the arguments and lets do talk to the chosen server.
func (a *app) ask(c *ucli.Context, names []string, do func(*ucli.Context, *client.HTTP, []string) error) error {
	args, err := words(c, names...)
	if err != nil {
		return err
	}
	conn, err := a.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	return a.noDaemon(do(c, conn, args))
}

// markStale says on stderr that an answer is not live.
func (a *app) markStale(asOf *time.Time) {
	switch {
	case asOf == nil:
	case asOf.IsZero():
		a.say("not live: this node has not heard a master yet since it started")
	default:
		a.say("as of %s (%s): what this node knows; a master knows the whole cluster", asOf.Local().Format(time.DateTime), ago(*asOf, a.now()))
	}
}

func (a *app) statusPage(w io.Writer, st api.Status) {
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%-14s %s\n", name, fmt.Sprintf(format, args...))
	}
	line("Cluster", "%s (%s)", a.paint(bold, plain(st.Cluster.Name)), orDash(string(st.Cluster.Type)))
	line("Nodes", "%s", a.nodeCounts(st.Nodes))
	line("Containers", "%d, %d running", st.Containers, st.Running)
	self := st.Self
	who := "This node"
	if a.remote {
		who = "Answered by"
	}
	line(who, "%s (%s, %s)", a.paint(bold, plain(self.Name)), self.Role, self.ID)
	mode := a.paint(modeColour(self.Mode), orDash(self.Mode))
	if !self.Since.IsZero() {
		mode += " since " + age(self.Since, a.now())
	}
	if self.ModeReason != "" {
		mode += ": " + plain(self.ModeReason)
	}
	line("  mode", "%s", mode)
	if self.Master != "" && self.Role != topology.RoleMaster {
		line("  master", "%s", plain(self.Master))
	}
	line("  version", "%s, up %s", orDash(plain(self.Version)), age(self.StartedAt, a.now()))
	if a.now().Sub(self.StartedAt) < flashPatience {
		line("  flash", "- (a pace is known %s after the start)", span(flashPatience))
	} else {
		line("  flash", "%.1f MB/day written to its device", self.FlashMBPerDay)
	}
	if !self.CertificateExpires.IsZero() && (a.wide() || self.CertificateExpires.Sub(a.now()) < 30*24*time.Hour) {
		line("  certificate", "expires %s", ago(self.CertificateExpires, a.now()))
	}
	if a.wide() {
		line("  plan", "revision %d", self.PlanRevision)
	}
	a.alertLines(w, st.Alerts)
	if len(st.Advice) > 0 {
		fmt.Fprintf(w, "\nAdvice:\n")
		for _, s := range st.Advice {
			fmt.Fprintf(w, "  %s\n", plain(s))
		}
	}
}

// nodeCounts says how many nodes are in each state, in the order of a node's
// life.
func (a *app) nodeCounts(counts map[topology.NodeStatus]int) string {
	total, parts := 0, []string{}
	for _, s := range topology.Statuses() {
		if n := counts[s]; n > 0 {
			total += n
			parts = append(parts, a.paint(statusColour(string(s)), fmt.Sprintf("%d %s", n, s)))
		}
	}
	if total == 0 {
		return "0"
	}
	return fmt.Sprintf("%d: %s", total, strings.Join(parts, ", "))
}

// maxAlerts keeps the page on one screen.
const maxAlerts = 10

func (a *app) alertLines(w io.Writer, alerts []workload.Alert) {
	if len(alerts) == 0 {
		return
	}
	fmt.Fprintf(w, "\nAlerts:\n")
	for i, al := range alerts {
		if i == maxAlerts && !a.wide() {
			fmt.Fprintf(w, "  … and %d more (-o wide)\n", len(alerts)-i)
			return
		}
		where := orDash(al.NodeName)
		if al.Node == "" {
			where = "cluster"
		}
		fmt.Fprintf(w, "  %s %s: %s (%s)\n", a.paint(severityColour(string(al.Severity)), string(al.Severity)), plain(where), plain(al.Message), ago(al.RaisedAt, a.now()))
		if al.Hint != "" {
			fmt.Fprintf(w, "    try: %s\n", plain(al.Hint))
		}
	}
}

func statusColour(s string) colour {
	switch topology.NodeStatus(s) {
	case topology.StatusReady:
		return green
	case topology.StatusNotReady:
		return red
	case topology.StatusPending, topology.StatusInitializing, topology.StatusMaintenance, topology.StatusTerminating:
		return yellow
	}
	return noColour
}

func modeColour(mode string) colour {
	switch mode {
	case modeOnline:
		return green
	case "Offline", modeRemoved:
		return red
	}
	return yellow
}

func severityColour(s string) colour {
	switch s {
	case "ok":
		return green
	case "error":
		return red
	case "warning":
		return yellow
	case "skipped":
		return faint
	}
	return noColour
}
