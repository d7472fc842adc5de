package cli

import (
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"

	ucli "github.com/urfave/cli/v2"

	"piccolo.io/piccolo/node/api/client"
	"piccolo.io/piccolo/node/workload"
)

func (a *app) psCommand() *ucli.Command {
	return &ucli.Command{
		Name: "ps", Usage: "list the containers of all nodes, or of one", ArgsUsage: "[NODE]",
		Description: "Lists what runs; with -a what has stopped too.\n\n" + examples("piccolo ps", "piccolo ps -a board-2", "piccolo ps --stats -o wide"),
		Flags: []ucli.Flag{
			&ucli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "containers that do not run, too"},
			&ucli.BoolFlag{Name: "stats", Usage: "CPU and memory, asked from the nodes now"},
		},
		Action: func(c *ucli.Context) error {
			return a.ask(c, []string{"[NODE]"}, func(c *ucli.Context, conn *client.HTTP, arg []string) error {
				answer, err := conn.Containers(c.Context, arg[0], c.Bool("stats"))
				if err != nil {
					return err
				}
				list := answer.Value
				if !c.Bool("all") {
					list = alive(list)
				}
				a.markStale(answer.AsOf)
				if answer.AsOf != nil {
					a.say("a sub lists its own containers only: ask a master for those of the others")
				}
				return a.print(list, func(w io.Writer) { a.containerTable(list, c.Bool("stats")).write(w) })
			})
		},
	}
}

// alive keeps the containers that have a process.
func alive(list []workload.Container) []workload.Container {
	out := []workload.Container{}
	for _, c := range list {
		switch c.State {
		case "running", "paused", "stopping", "restarting":
			out = append(out, c)
		}
	}
	return out
}

func (a *app) containerTable(list []workload.Container, stats bool) *grid {
	g := &grid{app: a, head: []string{"NODE", "NAME", "IMAGE", "STATE", "HEALTH", "RESTARTS", "STARTED", "PORTS"}}
	if stats {
		g.head = append(g.head, "CPU", "MEMORY")
	}
	if a.wide() {
		g.head = append(g.head, "ID", "EXIT", "CREATED")
	}
	g.tint = func(column int, value string) colour {
		switch {
		case column == 3 && value == "running", column == 4 && value == "healthy":
			return green
		case column == 4 && value == "unhealthy":
			return red
		case column == 3:
			return yellow
		}
		return noColour
	}
	for _, c := range list {
		started := ""
		if c.StartedAt != nil {
			started = ago(*c.StartedAt, a.now())
		}
		state := c.State
		if c.AsOf != nil { // its board is lost: that was so when it was heard of last
			state += "?"
			started = "as of " + ago(*c.AsOf, a.now())
		}
		cells := []string{c.NodeName, c.Name, c.Image, state, c.Health, strconv.Itoa(c.Restarts), started, portText(c.Ports)}
		if stats {
			cells = append(cells, statText(c.Stats)...)
		}
		if a.wide() {
			cells = append(cells, c.ID[:min(12, len(c.ID))], strconv.Itoa(c.ExitCode), ago(c.CreatedAt, a.now()))
		}
		g.add(cells...)
	}
	return g
}

func portText(ports []workload.Port) string {
	var out []string
	for _, p := range ports {
		host := strconv.Itoa(p.HostPort)
		if p.HostIP != "" {
			host = net.JoinHostPort(p.HostIP, host)
		}
		out = append(out, fmt.Sprintf("%s→%d/%s", host, p.ContainerPort, p.Protocol))
	}
	return strings.Join(out, ", ")
}

func statText(s *workload.ContainerStats) []string {
	if s == nil {
		return []string{"", ""}
	}
	return []string{fmt.Sprintf("%.1f%%", s.CPUPercent), fmt.Sprintf("%.1f MB", float64(s.MemoryBytes)/(1<<20))}
}
