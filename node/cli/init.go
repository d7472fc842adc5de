package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	ucli "github.com/urfave/cli/v2"

	"piccolo.io/piccolo/node"
	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/topology"
)

// initAnswer is the shape of `piccolo init -o json`.
type initAnswer struct {
	node.InitResult
	// ReadySeconds from the start of the command, 0 if the node did not
	// become Ready.
	ReadySeconds float64 `json:"ready_seconds"`
}

func (a *app) initCommand() *ucli.Command {
	return &ucli.Command{
		Name: "init", Usage: "make a new cluster, with this machine as its master",
		Description: "As root where systemd runs the machine, the daemon is installed as piccolo.service; otherwise it runs in this terminal. " +
			"The line that begins with \"piccolo join\" is what to type on the other boards.\n\n" +
			examples("piccolo init", "piccolo init --name board-1 --cluster farm --advertise 10.0.0.1", "piccolo init --foreground --data-dir /srv/p1 --run-dir /run/p1"),
		Flags: append(machineFlags(), &ucli.StringFlag{Name: "cluster", Usage: "`NAME` of the cluster", DefaultText: "piccolo"}),
		Action: func(c *ucli.Context) error {
			if _, err := words(c); err != nil {
				return err
			}
			return a.initCluster(c)
		},
	}
}

func (a *app) initCluster(c *ucli.Context) error {
	d, err := a.describe(c)
	if err != nil {
		return err
	}
	if c.IsSet("cluster") {
		if err := topology.ValidateName(c.String("cluster")); err != nil {
			return api.Invalidf("flag --cluster: %w", err)
		}
	}
	p, err := a.choosePlace(c.Context, c.Bool("foreground"))
	if err != nil {
		return err
	}
	a.step("making the cluster")
	res, err := a.machine.init(c.Context, node.InitOptions{
		Options: a.nodeOptions(), Name: d.name, Cluster: c.String("cluster"), Advertise: d.advertise, Labels: d.labels,
	})
	if err != nil {
		return a.nameCluster(c.Context, err)
	}
	for _, w := range res.Warnings {
		a.say("Warning: %s", plainLines(w))
	}
	return a.bringUp(c.Context, p, res.NodeID, func(took time.Duration) error {
		return a.print(initAnswer{res, took.Seconds()}, func(w io.Writer) {
			fmt.Fprintf(w, "Cluster %s is made; this machine is its master %s (%s).\n", res.Cluster, res.Name, res.NodeID)
			readyLine(w, took)
			fmt.Fprintf(w, "API address   https://%s\n", res.API)
			fmt.Fprintf(w, "Admin token   %s (keep it secret; for `piccolo login` on another machine)\n\n", res.AdminToken)
			fmt.Fprintf(w, "Type this on every other board, as root, within 24 hours:\n\n%s\n", res.JoinCommand)
		})
	})
}

// readyLine says how long it took.
func readyLine(w io.Writer, took time.Duration) {
	if took > 0 {
		fmt.Fprintf(w, "Ready after %.1f s.\n", took.Seconds())
	}
}

// joinAnswer is the shape of `piccolo join -o json`.
type joinAnswer struct {
	node.JoinResult
	ReadySeconds float64 `json:"ready_seconds"`
}

func (a *app) joinCommand() *ucli.Command {
	return &ucli.Command{
		Name: "join", Usage: "bring this board into a cluster", ArgsUsage: "MASTER[:PORT]",
		Description: "`piccolo init` prints the line to type, `piccolo token create` makes another. " +
			"A token on the command line can be seen by every user of the machine while the command runs; --token-file and PICCOLO_TOKEN avoid that. " +
			"Doing it again changes nothing, goes on with a join that was interrupted, and brings up a daemon that does not run. " +
			"A master joins with --role master and a token for that role (`piccolo token create --role master`).\n\n" +
			examples("piccolo join 10.0.0.1 --token pic1.…", "piccolo join master.lan:7443 --token-file - --name board-2 --label site=barn < token"),
		Flags: append(machineFlags(),
			&ucli.StringFlag{Name: "token", Usage: "join `TOKEN` [$PICCOLO_TOKEN]"},
			&ucli.StringFlag{Name: "token-file", Usage: "`FILE` with the join token; - is standard input"},
			&ucli.StringFlag{Name: "role", Usage: "sub or master", DefaultText: "sub"},
		),
		Action: a.joinCluster,
	}
}

func (a *app) joinCluster(c *ucli.Context) error {
	arg, err := words(c, "MASTER[:PORT]")
	if err != nil {
		return err
	}
	if err := checkMaster(arg[0]); err != nil {
		return err
	}
	o, err := a.joinOptions(c)
	if err != nil {
		return err
	}
	o.Master = arg[0]
	p, err := a.choosePlace(c.Context, c.Bool("foreground"))
	if err != nil {
		return err
	}
	res, err := a.machine.join(c.Context, o)
	if err != nil {
		return a.nameCluster(c.Context, err)
	}
	for _, w := range res.Warnings {
		a.say("Warning: %s", plainLines(w))
	}
	if res.Already {
		return a.joinedAlready(c, p, res)
	}
	return a.bringUp(c.Context, p, res.NodeID, a.announceJoin(res))
}

func (a *app) joinOptions(c *ucli.Context) (o node.JoinOptions, err error) {
	d, err := a.describe(c)
	if err != nil {
		return o, err
	}
	role := topology.Role(c.String("role"))
	if c.IsSet("role") && !role.Valid() {
		return o, api.Invalidf("flag --role: %q is not a role: use sub or master", shorten(string(role)))
	}
	token, err := a.readToken(c)
	if err != nil {
		return o, err
	}
	return node.JoinOptions{
		Options: a.nodeOptions(), Token: token, Role: role,
		Name: d.name, Advertise: d.advertise, Labels: d.labels, Progress: func(step string, patient bool) {
			if patient {
				a.say("%s", plain(strings.ToUpper(step[:1])+step[1:]))
				return
			}
			a.step(step)
		},
	}, nil
}

func (a *app) announceJoin(res node.JoinResult) func(time.Duration) error {
	return func(took time.Duration) error {
		return a.print(joinAnswer{res, took.Seconds()}, func(w io.Writer) {
			fmt.Fprintf(w, "%s (%s) is a %s of cluster %s, by way of master %s.\n", res.Name, res.NodeID, res.Role, res.Cluster, res.Master)
			readyLine(w, took)
		})
	}
}

// joinedAlready says so, and brings up the daemon of a member where none
// answers.
func (a *app) joinedAlready(c *ucli.Context, p place, res node.JoinResult) error {
	self, err := a.askSelf(c.Context)
	switch {
	case err != nil && classify(err).Kind != api.KindUnavailable:
		return err
	case err != nil:
		a.say("This machine belongs to cluster %s already, but its daemon does not answer; it is started now.", res.Cluster)
		return a.bringUp(c.Context, p, res.NodeID, a.announceJoin(res))
	case self.ID != res.NodeID:
		return api.Conflictf("%s is another node's: %s", a.settings.options().Socket(), plain(self.Name)).
			WithHint("name this node's own run directory with --run-dir")
	case self.Mode == modeRemoved:
		return errRemoved(self)
	}
	a.say("This machine belongs to cluster %s already; nothing was changed, and %s was not asked.", res.Cluster, plain(res.Master))
	if len(c.StringSlice("label")) > 0 {
		a.say("Labels of a member are changed with: piccolo node label %s KEY=VALUE", res.Name)
	}
	return a.print(joinAnswer{JoinResult: res}, func(w io.Writer) {
		fmt.Fprintf(w, "%s (%s) is a %s of cluster %s.\n", res.Name, res.NodeID, res.Role, res.Cluster)
	})
}

// What a node says of itself that hears a master, and that its cluster has
// removed.
const (
	modeOnline  = "Online"
	modeRemoved = "Removed"
)

// errGone: the cluster has removed this node.
var errGone = errors.New("this machine is no longer a node of its cluster")

func errRemoved(self api.SelfStatus) error {
	return &api.Error{Kind: api.KindConflict, Message: errGone.Error() + ": " + plain(self.ModeReason), Err: errGone,
		Hint: "`piccolo leave` clears it (`piccolo reset`, where its daemon does not run); then join again"}
}

// selfPatience bounds the question to the daemon on this machine.
const selfPatience = 2 * time.Second

// askSelf asks the daemon on this machine who it is.
func (a *app) askSelf(ctx context.Context) (api.SelfStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, selfPatience)
	defer cancel()
	conn, err := a.dialLocal()
	if err != nil {
		return api.SelfStatus{}, err
	}
	defer conn.Close()
	st, err := conn.Status(ctx)
	return st.Value.Self, err
}
