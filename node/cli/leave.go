package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	ucli "github.com/urfave/cli/v2"

	"piccolo.io/piccolo/node"
	"piccolo.io/piccolo/node/api"
)

func yesFlag() ucli.Flag {
	return &ucli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask"}
}

// done is the shape of an answer that says only what was done.
type done struct {
	Done string `json:"done"`
}

func (a *app) leaveCommand() *ucli.Command {
	return &ucli.Command{
		Name: "leave", Usage: "take this node out of its cluster",
		Description: "Asks the daemon on this machine. Containers run on; the identity is deleted.\n\n" +
			examples("piccolo leave", "piccolo leave --yes"),
		Flags: []ucli.Flag{yesFlag()},
		Action: func(c *ucli.Context) error {
			if _, err := words(c); err != nil {
				return err
			}
			conn, err := a.dialLocal()
			if err != nil {
				return err
			}
			defer conn.Close()
			st, err := conn.Status(c.Context)
			if err != nil {
				return a.notMember(err)
			}
			if err := a.confirm(c, "This node leaves its cluster; to come back it must join anew. Go on?"); err != nil {
				return err
			}
			text := "This node has left its cluster, and its identity is deleted."
			if st.Value.Self.Mode == modeRemoved {
				text = "The cluster has removed this node already: its identity is deleted here now."
			}
			if err := conn.Leave(c.Context); err != nil {
				return err
			}
			if err := a.disableService(c.Context); err != nil {
				return err
			}
			return a.print(done{"left"}, func(w io.Writer) {
				fmt.Fprintln(w, text, "`piccolo join` brings it into one again.")
			})
		},
	}
}

func (a *app) resetCommand() *ucli.Command {
	return &ucli.Command{
		Name: "reset", Usage: "delete this node's identity, keys and data",
		Description: "Refuses while a daemon runs. On the only master this is the end of the cluster. Containers and images stay with Podman, the configuration file stays too.\n\n" +
			examples("piccolo reset", "systemctl stop piccolo && piccolo reset --yes"),
		Flags: []ucli.Flag{yesFlag()},
		Action: func(c *ucli.Context) error {
			if _, err := words(c); err != nil {
				return err
			}
			dir := a.settings["data-dir"]
			switch traces, err := a.machine.traces(a.nodeOptions()); {
			case err != nil:
				return err
			case !traces:
				return a.print(done{"nothing"}, func(w io.Writer) {
					fmt.Fprintf(w, "There is no node in %s: nothing was deleted. This machine belongs to no cluster.\n", dir)
				})
			}
			question := fmt.Sprintf("Everything in %s is deleted: the node's identity and keys and, on a master, the cluster's data. Go on?", dir)
			if err := a.confirm(c, question); err != nil {
				return err
			}
			if err := a.machine.reset(c.Context, a.nodeOptions()); err != nil {
				return err
			}
			if err := a.disableService(c.Context); err != nil {
				return err
			}
			return a.print(done{"reset"}, func(w io.Writer) {
				fmt.Fprintf(w, "Deleted the node in %s. This machine belongs to no cluster.\n", dir)
			})
		},
	}
}

// notMember is what kept the daemon from being asked: where this machine
// belongs to no cluster that is the reason, as it is for `piccolo run`.
func (a *app) notMember(err error) error {
	if member := node.Member(a.nodeOptions()); unanswered(err) && errors.Is(member, node.ErrNotMember) {
		return member
	}
	return err
}

// disableService stops piccolo.service, if it is this node's.
func (a *app) disableService(ctx context.Context) error {
	if !a.booted() || !a.root() || a.fileDataDir() != a.settings["data-dir"] {
		return nil
	}
	u, err := a.unit()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return u.Disable(ctx)
}

// confirm asks on a terminal; without one --yes is needed.
func (a *app) confirm(c *ucli.Context, question string) error {
	if c.Bool("yes") {
		return nil
	}
	if !isTerminal(a.streams.In) {
		return api.Invalidf("%s: nobody is there to confirm it", c.Command.HelpName).WithHint("say --yes if it is meant")
	}
	fmt.Fprintf(a.streams.Err, "%s [y/N] ", question)
	answer := make(chan string, 1)
	go func() { // a read of the terminal cannot be interrupted
		line, _ := bufio.NewReader(io.LimitReader(a.streams.In, 64)).ReadString('\n')
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case said := <-answer:
		if said == "y" || said == "yes" {
			return nil
		}
	case <-c.Context.Done():
		a.say("")
	}
	a.say("Nothing was changed.")
	return exitCode(1)
}
