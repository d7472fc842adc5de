package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	ucli "github.com/urfave/cli/v2"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/api/client"
	"piccolo.io/piccolo/node/api/feed"
)

func (a *app) eventsCommand() *ucli.Command {
	return &ucli.Command{
		Name: "events", Usage: "show what happened in the cluster",
		Description: "With -o json and --follow, one JSON object per line.\n\n" + examples("piccolo events", "piccolo events -f", "piccolo events --limit 20"),
		Flags: []ucli.Flag{
			&ucli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on with what happens from now on, until Ctrl-C"},
			&ucli.IntFlag{Name: "limit", Usage: "at most the newest `N`, 0 for all that are kept", Value: 100},
		},
		Action: func(c *ucli.Context) error {
			if n := c.Int("limit"); n < 0 || n > api.MaxEvents {
				return api.Invalidf("flag --limit: %d is out of bounds: use 0 to %d", n, api.MaxEvents)
			}
			return a.ask(c, nil, func(c *ucli.Context, conn *client.HTTP, _ []string) error {
				if c.Bool("follow") {
					return a.followEvents(c, conn)
				}
				list, err := conn.Events(c.Context, c.Int("limit"))
				if err != nil {
					return err
				}
				a.markStale(list.AsOf)
				return a.print(list.Value, func(w io.Writer) {
					for _, e := range list.Value {
						a.eventLine(w, e)
					}
				})
			})
		},
	}
}

func (a *app) eventLine(w io.Writer, e api.Event) {
	node := e.Node
	if node == "" {
		node = "cluster"
	}
	fmt.Fprintf(w, "%s  %-12s %-16s %s\n", a.paint(faint, e.At.Local().Format(time.DateTime)), plain(e.Kind), plain(node), plain(e.Message))
}

// followEvents prints the newest events and then each as it comes. The
// stream's snapshot may hold more than --limit; only its end is printed.
func (a *app) followEvents(c *ucli.Context, conn *client.HTTP) error {
	var snapshot []api.Event
	synced := false
	err := conn.Watch(c.Context, []string{feed.KindEvent}, "", func(ch feed.Change) error {
		var e api.Event
		switch ch.Type {
		case feed.TypeReset:
			snapshot, synced = nil, false
		case feed.TypePut:
			if err := json.Unmarshal(ch.Object, &e); err != nil {
				return fmt.Errorf("read event: %w", err)
			}
			if synced {
				return a.followed(e)
			}
			snapshot = append(snapshot, e)
		case feed.TypeSynced:
			synced = true
			if n := c.Int("limit"); n > 0 && len(snapshot) > n {
				snapshot = snapshot[len(snapshot)-n:]
			}
			for _, e := range snapshot {
				if err := a.followed(e); err != nil {
					return err
				}
			}
			snapshot = nil
		}
		return nil
	})
	if c.Context.Err() != nil && (err == nil || errors.Is(err, c.Context.Err())) {
		return nil // Ctrl-C is how this ends
	}
	return err
}

// followed writes one event of an endless answer.
func (a *app) followed(e api.Event) error {
	switch a.format() {
	case "json":
		return json.NewEncoder(a.streams.Out).Encode(e)
	case "yaml":
		if _, err := fmt.Fprintln(a.streams.Out, "---"); err != nil {
			return err
		}
		return writeYAML(a.streams.Out, e)
	}
	a.eventLine(a.streams.Out, e)
	return nil
}
