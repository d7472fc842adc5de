package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	ucli "github.com/urfave/cli/v2"
	"go.yaml.in/yaml/v3"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/api/client"
	"piccolo.io/piccolo/topology"
)

func (a *app) topologyCommand() *ucli.Command {
	return &ucli.Command{
		Name: "topology", Usage: "show and change the cluster as a whole",
		Description: examples("piccolo topology show -o yaml > cluster.yaml", "piccolo topology apply -f cluster.yaml"),
		Subcommands: []*ucli.Command{
			{
				Name: "show", Usage: "show name, type, nodes and configuration", Description: examples("piccolo topology show", "piccolo topology show -o yaml"),
				Action: func(c *ucli.Context) error {
					return a.ask(c, nil, func(c *ucli.Context, conn *client.HTTP, _ []string) error {
						t, err := conn.Topology(c.Context)
						if err != nil {
							return err
						}
						a.markStale(t.AsOf)
						return a.print(t.Value, func(w io.Writer) { topologyPage(w, t.Value) })
					})
				},
			},
			{
				Name: "apply", Usage: "set name and configuration from a file",
				Description: "The file is what `topology show -o yaml` prints, YAML or JSON. A revision in it makes sure that nobody changed the cluster in between. " +
					"The lists of nodes in it are not looked at: nodes come and go by `piccolo join` and `piccolo leave`.\n\n" +
					examples("piccolo topology apply -f cluster.yaml", "piccolo topology apply -f - < cluster.json"),
				Flags:  []ucli.Flag{&ucli.StringFlag{Name: "file", Aliases: []string{"f"}, Usage: "`FILE`; - is standard input"}},
				Action: a.applyTopology,
			},
		},
	}
}

func topologyPage(w io.Writer, t topology.ClusterTopology) {
	line := func(name, value string) { fmt.Fprintf(w, "%-12s %s\n", name, orDash(plain(value))) }
	line("Name", t.Name)
	line("ID", t.ID)
	line("Type", string(t.Type))
	line("Masters", strings.Join(t.MasterNodes, ", "))
	line("Subs", strings.Join(t.SubNodes, ", "))
	if t.ParentCluster != "" {
		line("Parent", t.ParentCluster)
	}
	line("Heartbeat", "every "+time.Duration(t.Config.HeartbeatInterval).String())
	line("Log level", t.Config.LogLevel)
	line("Approval", string(t.Config.Approval))
	if t.Revision != 0 {
		line("Revision", fmt.Sprint(t.Revision))
	}
}

func (a *app) applyTopology(c *ucli.Context) error {
	file := c.String("file")
	if file == "" {
		return api.Invalidf("%s: --file is missing", c.Command.HelpName).WithHint("see: %s --help", c.Command.HelpName)
	}
	var text []byte
	var err error
	if file == "-" {
		file = "standard input"
		text, err = readAll(a.streams.In, file, maxFile)
	} else {
		text, err = readBounded(file, maxFile)
	}
	if err != nil {
		return api.Invalidf("read topology: %w", err)
	}
	t, err := parseTopology(file, text)
	if err != nil {
		return err
	}
	return a.ask(c, nil, func(c *ucli.Context, conn *client.HTTP, _ []string) error {
		t, err := conn.PutTopology(c.Context, t)
		if err != nil {
			return err
		}
		return a.print(t, func(w io.Writer) {
			fmt.Fprintf(w, "Cluster %s is at revision %d.\n", plain(t.Name), t.Revision)
		})
	})
}

// parseTopology reads YAML or JSON, and names a field that there is not. The
// lists of nodes are what the cluster says, not what it is told.
func parseTopology(file string, text []byte) (t topology.ClusterTopology, err error) {
	var doc yaml.Node
	var any map[string]any
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return t, api.Invalidf("read topology: %w", yamlError(file, err))
	}
	if err := doc.Decode(&any); len(doc.Content) > 0 && err != nil {
		return t, api.Invalidf("read topology %s: %w", file, err)
	}
	if len(any) == 0 {
		return t, api.Invalidf("read topology %s: it is empty", file)
	}
	j, err := json.Marshal(any)
	if err != nil {
		return t, api.Invalidf("read topology %s: %w", file, err)
	}
	d := json.NewDecoder(bytes.NewReader(j))
	d.DisallowUnknownFields()
	if err := d.Decode(&t); err != nil {
		return t, api.Invalidf("read topology %s: %s", file, fieldError(&doc, err))
	}
	t.MasterNodes, t.SubNodes = nil, nil
	if err := t.Validate(); err != nil {
		return t, api.Invalidf("read topology %s: %w", file, err)
	}
	return t, nil
}

var unknownField = regexp.MustCompile(`unknown field "(.*)"$`)

// fieldError is a mistake in a field, with its line where it has a name that
// no field has.
func fieldError(doc *yaml.Node, err error) string {
	text := strings.TrimPrefix(err.Error(), "json: ")
	if m := unknownField.FindStringSubmatch(text); m != nil {
		if line := keyOf(doc, m[1]); line > 0 {
			return fmt.Sprintf("line %d: %s", line, text)
		}
	}
	return text
}

// keyOf is the first line with that key, 0 where there is none.
func keyOf(n *yaml.Node, key string) int {
	for i, inner := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			if inner.Value == key {
				return inner.Line
			}
			continue
		}
		if line := keyOf(inner, key); line > 0 {
			return line
		}
	}
	return 0
}
