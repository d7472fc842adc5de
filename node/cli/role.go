package cli

import (
	ucli "github.com/urfave/cli/v2"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/api/client"
	"piccolo.io/piccolo/topology"
)

// nodeRoleCommand gives a node another role.
func (a *app) nodeRoleCommand(name, usage string, role topology.Role, what string) *ucli.Command {
	return &ucli.Command{
		Name: name, Usage: usage, ArgsUsage: "NODE", Description: what + "\n\n" + examples("piccolo node "+name+" board-2"),
		Action: func(c *ucli.Context) error {
			return a.ask(c, []string{"NODE"}, func(c *ucli.Context, conn *client.HTTP, args []string) error {
				n, err := conn.PatchNode(c.Context, args[0], api.NodePatch{Role: &role})
				return a.nodeDone(n, err, "becomes a "+string(role)+"; it restarts for that")
			})
		},
	}
}
