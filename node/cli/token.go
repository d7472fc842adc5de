package cli

import (
	"fmt"
	"io"
	"time"

	ucli "github.com/urfave/cli/v2"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/api/client"
	"piccolo.io/piccolo/topology"
)

func (a *app) tokenCommand() *ucli.Command {
	return &ucli.Command{
		Name: "token", Usage: "make and remove join tokens",
		Description: examples("piccolo token create", "piccolo token ls", "piccolo token rm ID"),
		Subcommands: []*ucli.Command{a.tokenCreateCommand(), a.tokenListCommand(), a.tokenRemoveCommand()},
	}
}

func (a *app) tokenCreateCommand() *ucli.Command {
	return &ucli.Command{
		Name: "create", Usage: "make a join token and print the line to type",
		Description: "The token is shown this once and stored nowhere.\n\n" + examples("piccolo token create", "piccolo token create --ttl 1h --description 'boards of the barn'"),
		Flags: []ucli.Flag{
			&ucli.StringFlag{Name: "role", Usage: "`ROLE` that nodes join in: sub or master", DefaultText: "sub"},
			&ucli.DurationFlag{Name: "ttl", Usage: "`DURATION` until it expires, such as 90m", DefaultText: "24h"},
			&ucli.StringFlag{Name: "description", Usage: "`TEXT` shown in the list"},
		},
		Action: func(c *ucli.Context) error {
			if ttl := c.Duration("ttl"); c.IsSet("ttl") && (ttl < api.MinTokenTTL || ttl > api.MaxTokenTTL) {
				return api.Invalidf("flag --ttl %s is out of bounds: use 1m to %dh, which is %d days", ttl, api.MaxTokenTTL/time.Hour, api.MaxTokenTTL/(24*time.Hour))
			}
			if role := topology.Role(c.String("role")); c.IsSet("role") && !role.Valid() {
				return api.Invalidf("flag --role: %q is not a role: use sub or master", shorten(string(role)))
			}
			return a.ask(c, nil, func(c *ucli.Context, conn *client.HTTP, _ []string) error {
				t, err := conn.CreateToken(c.Context, api.TokenRequest{
					Role: topology.Role(c.String("role")), TTL: topology.Duration(c.Duration("ttl")), Description: c.String("description"),
				})
				if err != nil {
					return err
				}
				return a.print(t, func(w io.Writer) {
					a.say("Token %s for role %s, valid until %s. On the new board, as root:", t.ID, t.Role, t.ExpiresAt.Local().Format(time.DateTime))
					fmt.Fprintln(w, plain(t.JoinCommand))
				})
			})
		},
	}
}

func (a *app) tokenListCommand() *ucli.Command {
	return &ucli.Command{
		Name: "ls", Aliases: []string{"list"}, Usage: "list the join tokens", Description: examples("piccolo token ls"),
		Action: func(c *ucli.Context) error {
			return a.ask(c, nil, func(c *ucli.Context, conn *client.HTTP, _ []string) error {
				list, err := conn.Tokens(c.Context)
				if err != nil {
					return err
				}
				return a.print(list, func(w io.Writer) {
					g := &grid{app: a, head: []string{"ID", "ROLE", "EXPIRES", "USES", "AGE", "DESCRIPTION"}}
					for _, t := range list {
						g.add(t.ID, string(t.Role), expiry(t.ExpiresAt, a.now()), fmt.Sprint(t.Uses), age(t.CreatedAt, a.now()), t.Description)
					}
					g.write(w)
				})
			})
		},
	}
}

func expiry(t, now time.Time) string {
	if !t.After(now) {
		return "expired"
	}
	return ago(t, now)
}

func (a *app) tokenRemoveCommand() *ucli.Command {
	return &ucli.Command{
		Name: "rm", Aliases: []string{"remove"}, Usage: "make a join token worthless", ArgsUsage: "ID",
		Description: "Nodes that joined with it stay.\n\n" + examples("piccolo token rm abcdefghij"),
		Action: func(c *ucli.Context) error {
			return a.ask(c, []string{"ID"}, func(c *ucli.Context, conn *client.HTTP, arg []string) error {
				if err := conn.DeleteToken(c.Context, arg[0]); err != nil {
					return err
				}
				return a.print(done{"removed"}, func(w io.Writer) { fmt.Fprintf(w, "Token %s is removed.\n", plain(arg[0])) })
			})
		},
	}
}
