package cli

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	ucli "github.com/urfave/cli/v2"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/api/client"
	"piccolo.io/piccolo/topology"
)

func (a *app) nodeCommand() *ucli.Command {
	status := func(name, usage string, want topology.NodeStatus, did func(topology.Node) string) *ucli.Command {
		return &ucli.Command{
			Name: name, Usage: usage, ArgsUsage: "NODE", Description: examples("piccolo node " + name + " board-2"),
			Action: func(c *ucli.Context) error {
				return a.ask(c, []string{"NODE"}, func(c *ucli.Context, conn *client.HTTP, arg []string) error {
					n, err := conn.PatchNode(c.Context, arg[0], api.NodePatch{Status: &want})
					return a.nodeDone(n, err, did(n))
				})
			},
		}
	}
	now := func(did string) func(topology.Node) string {
		return func(n topology.Node) string { return did + "; it is " + n.Status.Word() + " now" }
	}
	return &ucli.Command{
		Name: "node", Usage: "list and change nodes",
		Description: "NODE is a name or an id.\n\n" + examples("piccolo node ls", "piccolo node show board-2"),
		Subcommands: []*ucli.Command{
			a.nodeListCommand(), a.nodeShowCommand(), a.nodeLabelCommand(), a.nodeLogLevelCommand(),
			status("maintenance", "keep a node out of work", topology.StatusMaintenance, func(topology.Node) string { return "is in maintenance" }),
			status("resume", "end a node's maintenance", topology.StatusReady, now("has resumed")),
			status("approve", "let a pending node in", topology.StatusInitializing, now("is approved")),
			a.nodeRoleCommand("promote", "make a sub a master", topology.RoleMaster,
				"The node restarts as a master. Of two masters the second follows as a standby; of three, all vote."),
			a.nodeRoleCommand("demote", "make a master a sub", topology.RoleSub,
				"The node restarts as a sub and forgets what only masters hold. Refused where the cluster would lose its quorum or its data."),
			a.nodeRemoveCommand(),
		},
	}
}

// nodeDone tells what became of a node.
func (a *app) nodeDone(n topology.Node, err error, did string) error {
	if err != nil {
		return err
	}
	return a.print(n, func(w io.Writer) { fmt.Fprintf(w, "Node %s %s.\n", plain(n.Name), did) })
}

func (a *app) nodeListCommand() *ucli.Command {
	return &ucli.Command{
		Name: "ls", Aliases: []string{"list"}, Usage: "list the nodes", Description: examples("piccolo node ls", "piccolo node ls -o wide"),
		Action: func(c *ucli.Context) error {
			return a.ask(c, nil, func(c *ucli.Context, conn *client.HTTP, _ []string) error {
				nodes, err := conn.Nodes(c.Context)
				if err != nil {
					return err
				}
				a.markStale(nodes.AsOf)
				return a.print(nodes.Value, func(w io.Writer) { a.nodeTable(nodes.Value).write(w) })
			})
		},
	}
}

func (a *app) nodeTable(nodes []topology.Node) *grid {
	g := &grid{app: a, head: []string{"NAME", "ROLE", "STATUS", "REASONS", "IP", "VERSION", "HEARTBEAT", "AGE"}}
	if a.wide() {
		g.head = append(g.head, "ID", "CPU", "MEMORY", "DISK", "LOAD", "TEMP", "PLATFORM", "LABELS")
	}
	g.tint = func(column int, value string) colour {
		if column == 2 {
			return statusColour(value)
		}
		return noColour
	}
	for _, n := range nodes {
		heartbeat := "-"
		if n.LastHeartbeat != nil {
			heartbeat = ago(*n.LastHeartbeat, a.now())
		}
		cells := []string{n.Name, string(n.Role), n.Status.Word(), n.Reasons.String(), n.IP, n.Version, heartbeat, age(n.CreatedAt, a.now())}
		if a.wide() {
			cells = append(cells, n.ID, fmt.Sprint(n.Resources.CPU), fmt.Sprintf("%d MB", n.Resources.Memory), fmt.Sprintf("%d GB", n.Resources.Disk),
				loadOf(n), temperatureOf(n), platformOf(n.Platform), labelText(n.Labels))
		}
		g.add(cells...)
	}
	return g
}

func loadOf(n topology.Node) string {
	if n.Usage == nil {
		return ""
	}
	return fmt.Sprintf("%.2f", n.Usage.Load1)
}

func temperatureOf(n topology.Node) string {
	if n.Usage == nil || n.Usage.Temperature == nil {
		return ""
	}
	return fmt.Sprintf("%.0f°C", *n.Usage.Temperature)
}

func platformOf(p topology.Platform) string {
	if p.OS == "" {
		return ""
	}
	return p.OS + "/" + p.Arch + p.Variant
}

func labelText(labels map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		out = append(out, k+"="+labels[k])
	}
	return strings.Join(out, ",")
}

func (a *app) nodeShowCommand() *ucli.Command {
	return &ucli.Command{
		Name: "show", Usage: "show one node", ArgsUsage: "NODE", Description: examples("piccolo node show board-2", "piccolo node show board-2 -o yaml"),
		Action: func(c *ucli.Context) error {
			return a.ask(c, []string{"NODE"}, func(c *ucli.Context, conn *client.HTTP, arg []string) error {
				n, err := conn.Node(c.Context, arg[0])
				if err != nil {
					return err
				}
				a.markStale(n.AsOf)
				return a.print(n.Value, func(w io.Writer) { a.nodePage(w, n.Value) })
			})
		},
	}
}

func (a *app) nodePage(w io.Writer, n topology.Node) {
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%-12s %s\n", name, orDash(plain(fmt.Sprintf(format, args...))))
	}
	line("Name", "%s", n.Name)
	line("ID", "%s", n.ID)
	line("Role", "%s", n.Role)
	fmt.Fprintf(w, "%-12s %s since %s\n", "Status", a.paint(statusColour(string(n.Status)), n.Status.Word()), age(n.StatusSince, a.now()))
	if len(n.Reasons) > 0 {
		line("Reasons", "%s", n.Reasons)
	}
	line("Address", "%s (gossip port %d)", n.IP, n.GossipPort)
	if n.APIPort > 0 {
		line("API port", "%d", n.APIPort)
	}
	line("Version", "%s", n.Version)
	line("Platform", "%s %s", platformOf(n.Platform), strings.TrimSpace(n.Platform.Kernel+" "+n.Platform.Model))
	line("Resources", "%d CPU, %d MB memory, %d GB disk", n.Resources.CPU, n.Resources.Memory, n.Resources.Disk)
	line("Labels", "%s", labelText(n.Labels))
	line("Joined", "%s", ago(n.CreatedAt, a.now()))
	if n.LastHeartbeat != nil {
		line("Heartbeat", "%s", ago(*n.LastHeartbeat, a.now()))
	}
	if n.PlanRevision != 0 { // a sub does not know the plans of others
		line("Plan", "revision %d of %d applied", n.AppliedRevision, n.PlanRevision)
	}
	if n.ApplyError != "" {
		line("Plan error", "%s", n.ApplyError)
	}
	if n.LogLevel != "" {
		line("Log level", "%s", n.LogLevel)
	}
	if u := n.Usage; u != nil {
		line("CPU", "%.1f %% in use, load %.2f", u.CPUPercent, u.Load1)
		line("Memory", "%d MB in use, %d MB available", u.MemoryUsed, u.MemoryAvailable)
		flash := "-" // not known yet, or nothing
		if u.FlashMBPerDay > 0 {
			flash = fmt.Sprintf("%.1f", u.FlashMBPerDay)
		}
		line("Disk", "%.0f %% in use, %s MB/day written to its device", u.DiskUsedPercent, flash)
		if u.Temperature != nil {
			line("Temperature", "%.0f °C", *u.Temperature)
		}
	}
}

func (a *app) nodeLabelCommand() *ucli.Command {
	return &ucli.Command{
		Name: "label", Usage: "set or remove labels of a node", ArgsUsage: "NODE KEY=VALUE… KEY-…",
		Description: "KEY=VALUE sets a label, KEY- removes it.\n\n" + examples("piccolo node label board-2 site=barn", "piccolo node label board-2 site-"),
		Action: func(c *ucli.Context) error {
			args := c.Args().Slice()
			if len(args) < 2 {
				return api.Invalidf("%s: NODE and at least one label are needed", c.Command.HelpName).WithHint("see: %s --help", c.Command.HelpName)
			}
			set, remove, err := parseLabels(args[1:], true)
			if err != nil {
				return err
			}
			labels := map[string]*string{}
			for k, v := range set {
				labels[k] = &v
			}
			for _, k := range remove {
				labels[k] = nil
			}
			conn, err := a.dial()
			if err != nil {
				return err
			}
			defer conn.Close()
			n, err := conn.PatchNode(c.Context, args[0], api.NodePatch{Labels: labels})
			if err != nil {
				return err
			}
			return a.print(n, func(w io.Writer) {
				fmt.Fprintf(w, "Node %s has the labels %s\n", plain(n.Name), orDash(plain(labelText(n.Labels))))
			})
		},
	}
}

func (a *app) nodeLogLevelCommand() *ucli.Command {
	return &ucli.Command{
		Name: "log-level", Usage: "set a node's own log level", ArgsUsage: "NODE LEVEL",
		Description: "LEVEL is debug, info, warn or error, or default for the cluster's.\n\n" + examples("piccolo node log-level board-2 debug", "piccolo node log-level board-2 default"),
		Action: func(c *ucli.Context) error {
			return a.ask(c, []string{"NODE", "LEVEL"}, func(c *ucli.Context, conn *client.HTTP, arg []string) error {
				level := arg[1]
				if level == "default" {
					level = ""
				} else if err := topology.ValidateLogLevel(level); err != nil {
					return api.Invalidf("%w", err)
				}
				n, err := conn.PatchNode(c.Context, arg[0], api.NodePatch{LogLevel: &level})
				return a.nodeDone(n, err, "logs at level "+arg[1])
			})
		},
	}
}

func (a *app) nodeRemoveCommand() *ucli.Command {
	return &ucli.Command{
		Name: "rm", Aliases: []string{"remove"}, Usage: "take a node out of the cluster, or reject a pending one", ArgsUsage: "NODE",
		Description: "Its certificate is worthless from then on; its containers run on.\n\n" + examples("piccolo node rm board-2", "piccolo node rm board-2 --yes"),
		Flags:       []ucli.Flag{yesFlag()},
		Action: func(c *ucli.Context) error {
			return a.ask(c, []string{"NODE"}, func(c *ucli.Context, conn *client.HTTP, arg []string) error {
				found, err := conn.Node(c.Context, arg[0])
				if err != nil {
					return err
				}
				n := found.Value
				if err := a.confirm(c, fmt.Sprintf("Node %s (%s) is taken out of the cluster; to come back it must join anew. Go on?", plain(n.Name), n.ID)); err != nil {
					return err
				}
				before := n.Status
				n, err = conn.RemoveNode(c.Context, n.ID)
				if err := a.nodeDone(n, err, "is being removed"); err != nil {
					return err
				}
				if before != topology.StatusPending {
					a.say("Then, on the board: `piccolo leave` (or `piccolo reset`, where its daemon does not run).")
				}
				return nil
			})
		},
	}
}
