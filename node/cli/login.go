package cli

import (
	"fmt"
	"io"
	"net/url"

	ucli "github.com/urfave/cli/v2"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/topology"
)

func (a *app) loginCommand() *ucli.Command {
	return &ucli.Command{
		Name: "login", Usage: "talk to a cluster from this machine", ArgsUsage: "https://MASTER[:PORT]",
		Description: "The API token pins the cluster's CA: no other server is ever believed. The first one is in admin.token in the first master's data directory. " +
			"The credential is tried, then written to ~/.config/piccolo/config.yaml for you alone.\n\n" +
			examples("piccolo login https://10.0.0.1:7443 --token-file admin.token", "ssh root@10.0.0.1 cat /var/lib/piccolo/admin.token | piccolo login https://10.0.0.1 --token-file - --context farm"),
		Flags: []ucli.Flag{
			&ucli.StringFlag{Name: "token", Usage: "API `TOKEN` [$PICCOLO_TOKEN]"},
			&ucli.StringFlag{Name: "token-file", Usage: "`FILE` with the API token; - is standard input"},
			&ucli.StringFlag{Name: "context", Usage: "`NAME` of the context", DefaultText: "the cluster's name"},
		},
		Action: a.login,
	}
}

func (a *app) login(c *ucli.Context) error {
	arg, err := words(c, "https://MASTER[:PORT]")
	if err != nil {
		return err
	}
	server := arg[0]
	if u, err := url.Parse(server); err != nil || u.Scheme != "https" || checkServer(server) != nil {
		return api.Invalidf("%q is not a server", shorten(server)).WithHint("write it as https://10.0.0.1:7443")
	}
	server = withPort(server)
	if name := c.String("context"); c.IsSet("context") {
		if err := topology.ValidateName(name); err != nil || name == localContext {
			return api.Invalidf("flag --context: %q cannot be the name of a context", shorten(name)).WithHint("use a-z, 0-9 and '-'")
		}
	}
	text, err := a.readToken(c)
	if err != nil {
		return err
	}
	token, err := auth.ParseAPIToken(text)
	if err != nil {
		return badAPIToken(err)
	}
	conn, err := a.dialServer(server, token.Reveal())
	if err != nil {
		return err
	}
	defer conn.Close()
	st, err := conn.Status(c.Context)
	if err != nil {
		return err
	}
	return a.saveLogin(c.String("context"), savedContext{Server: server, Cluster: st.Value.Cluster.Name, Token: token.Reveal()})
}

// saveLogin makes a context and the current one of it.
func (a *app) saveLogin(name string, s savedContext) error {
	cs, err := a.readContexts()
	if err != nil {
		return err
	}
	if s.Name = name; s.Name == "" {
		s.Name = freeName(cs, s)
	}
	cs.put(s)
	cs.Current = s.Name
	if err := a.writeContexts(cs); err != nil {
		return err
	}
	return a.print(contextLine{s.Name, s.Server, s.Cluster, true}, func(w io.Writer) {
		fmt.Fprintf(w, "Logged in to cluster %s at %s; context %s is the current one.\n", plain(s.Cluster), s.Server, s.Name)
	})
}

// freeName is the cluster's name, with a number where another cluster's
// context has it already.
func freeName(cs contexts, s savedContext) string {
	base := s.Cluster
	if topology.ValidateName(base) != nil || base == localContext {
		base = "cluster"
	}
	same := func(o savedContext) bool {
		mine, err1 := auth.ParseAPIToken(s.Token)
		theirs, err2 := auth.ParseAPIToken(o.Token)
		return err1 == nil && err2 == nil && mine.Fingerprint == theirs.Fingerprint
	}
	name := base
	for i := 2; ; i++ {
		o, taken := cs.find(name)
		if !taken || same(o) {
			return name
		}
		name = fmt.Sprintf("%s-%d", base, i)
	}
}
