package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
	ucli "github.com/urfave/cli/v2"
	"go.yaml.in/yaml/v3"

	"piccolo.io/piccolo/node/api"
)

// contexts is ~/.config/piccolo/config.yaml: the clusters that this user has
// logged in to.
type contexts struct {
	// Current is the name of the one that commands talk to; empty for the
	// daemon on this machine.
	Current  string         `yaml:"current"`
	Contexts []savedContext `yaml:"contexts"`
}

type savedContext struct {
	Name   string `yaml:"name"`
	Server string `yaml:"server"`
	// Cluster as the master called it at the login.
	Cluster string `yaml:"cluster"`
	// Token carries the fingerprint of the cluster's CA.
	Token string `yaml:"token"`
}

// localContext is the name that stands for the daemon on this machine.
const localContext = "local"

func (c contexts) find(name string) (savedContext, bool) {
	i := slices.IndexFunc(c.Contexts, func(s savedContext) bool { return s.Name == name })
	if name == "" || i < 0 {
		return savedContext{}, false
	}
	return c.Contexts[i], true
}

// tokenFor returns the credential for a server, the current context's first.
func (c contexts) tokenFor(server string) string {
	server = withPort(server)
	if cur, ok := c.find(c.Current); ok && withPort(cur.Server) == server {
		return cur.Token
	}
	for _, s := range c.Contexts {
		if withPort(s.Server) == server {
			return s.Token
		}
	}
	return ""
}

// put adds a context, or replaces the one of that name.
func (c *contexts) put(s savedContext) {
	if i := slices.IndexFunc(c.Contexts, func(o savedContext) bool { return o.Name == s.Name }); i >= 0 {
		c.Contexts[i] = s
		return
	}
	c.Contexts = append(c.Contexts, s)
}

// contextsPath is $XDG_CONFIG_HOME/piccolo/config.yaml, ~/.config where that
// is not set; empty for a user without a home.
func (a *app) contextsPath() string {
	dir, _ := a.env.Lookup("XDG_CONFIG_HOME")
	if !filepath.IsAbs(dir) {
		home, _ := a.env.Lookup("HOME")
		if !filepath.IsAbs(home) {
			return ""
		}
		dir = filepath.Join(home, ".config")
	}
	return filepath.Join(dir, "piccolo", "config.yaml")
}

func (a *app) readContexts() (c contexts, err error) {
	path := a.contextsPath()
	if path == "" {
		return c, nil
	}
	text, err := readBounded(path, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, api.Invalidf("read contexts: %w", err)
	}
	return parseContexts(path, text)
}

func parseContexts(path string, text []byte) (c contexts, err error) {
	d := yaml.NewDecoder(strings.NewReader(string(text)))
	d.KnownFields(true)
	if err := d.Decode(&c); err != nil && !errors.Is(err, io.EOF) {
		// yaml's message may quote a value, and one of them is a secret.
		return contexts{}, api.Invalidf("read contexts %s: it is not as `piccolo login` writes it%s", path, lineOf(err)).
			WithHint("delete it and log in again")
	}
	for _, s := range c.Contexts {
		if checkServer(s.Server) != nil || s.Server == "" || s.Name == "" {
			return contexts{}, api.Invalidf("read contexts %s: context %q has no valid server", path, shorten(s.Name)).WithHint("delete it and log in again")
		}
	}
	return c, nil
}

var yamlLine = regexp.MustCompile(`line \d+`)

// lineOf takes only the line number out of a message of yaml.
func lineOf(err error) string {
	if m := yamlLine.FindString(err.Error()); m != "" {
		return " (" + m + ")"
	}
	return ""
}

func (a *app) writeContexts(c contexts) error {
	path := a.contextsPath()
	if path == "" {
		return api.Invalidf("write contexts: HOME is not set")
	}
	text, err := yaml.Marshal(c)
	if err != nil {
		return fmt.Errorf("write contexts: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("write contexts: %w", err)
	}
	if err := renameio.WriteFile(path, text, 0o600, renameio.WithStaticPermissions(0o600)); err != nil {
		return fmt.Errorf("write contexts: %w", err)
	}
	return nil
}

// contextLine is the shape of `piccolo context ls -o json`: no secret.
type contextLine struct {
	Name    string `json:"name"`
	Server  string `json:"server"`
	Cluster string `json:"cluster"`
	Current bool   `json:"current"`
}

func (a *app) contextCommand() *ucli.Command {
	return &ucli.Command{
		Name: "context", Usage: "choose between the clusters that you have logged in to",
		Description: examples("piccolo context ls", "piccolo context use farm", "piccolo context use local    # the daemon on this machine"),
		Subcommands: []*ucli.Command{
			{Name: "ls", Aliases: []string{"list"}, Usage: "list the contexts", Description: examples("piccolo context ls"), Action: a.listContexts},
			{Name: "use", Usage: "talk to this one from now on", ArgsUsage: "NAME", Description: examples("piccolo context use farm"),
				Action: func(c *ucli.Context) error {
					return a.changeContexts(c, "uses context", func(cs *contexts, name string) { cs.Current = name })
				}},
			{Name: "rm", Aliases: []string{"remove"}, Usage: "forget one and its credential", ArgsUsage: "NAME", Description: examples("piccolo context rm farm"),
				Action: func(c *ucli.Context) error {
					return a.changeContexts(c, "has forgotten context", func(cs *contexts, name string) {
						cs.Contexts = slices.DeleteFunc(cs.Contexts, func(s savedContext) bool { return s.Name == name })
						if cs.Current == name {
							cs.Current = ""
						}
					})
				}},
		},
	}
}

func (a *app) listContexts(c *ucli.Context) error {
	if _, err := words(c); err != nil {
		return err
	}
	cs, err := a.readContexts()
	if err != nil {
		return err
	}
	list := []contextLine{}
	for _, s := range cs.Contexts {
		list = append(list, contextLine{s.Name, s.Server, s.Cluster, s.Name == cs.Current})
	}
	return a.print(list, func(w io.Writer) {
		g := &grid{app: a, head: []string{"CURRENT", "NAME", "SERVER", "CLUSTER"}}
		for _, l := range list {
			mark := ""
			if l.Current {
				mark = "*"
			}
			g.add(mark, l.Name, l.Server, l.Cluster)
		}
		g.write(w)
	})
}

func (a *app) changeContexts(c *ucli.Context, did string, change func(*contexts, string)) error {
	arg, err := words(c, "NAME")
	if err != nil {
		return err
	}
	cs, err := a.readContexts()
	if err != nil {
		return err
	}
	name := arg[0]
	if name == localContext && c.Command.Name == "use" {
		name = ""
	} else if _, ok := cs.find(name); !ok {
		return api.NotFoundf("there is no context %q", shorten(name)).WithHint("`piccolo context ls` lists them, `piccolo login` makes one")
	}
	change(&cs, name)
	if err := a.writeContexts(cs); err != nil {
		return err
	}
	return a.print(done{c.Command.Name}, func(w io.Writer) { fmt.Fprintf(w, "piccolo %s %s.\n", did, arg[0]) })
}
