package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"go.yaml.in/yaml/v3"
	"golang.org/x/term"
)

// colour is an ANSI colour.
type colour string

const (
	noColour colour = ""
	red      colour = "31"
	green    colour = "32"
	yellow   colour = "33"
	faint    colour = "2"
	bold     colour = "1"
)

// isTerminal reports whether a stream is one.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// paint colours s for stdout: on a terminal that knows colours only, and where
// NO_COLOR (no-color.org) is not set.
func (a *app) paint(c colour, s string) string {
	noColor, _ := a.env.Lookup("NO_COLOR")
	terminal, _ := a.env.Lookup("TERM")
	if c == noColour || noColor != "" || terminal == "dumb" || !a.terminal(a.streams.Out) {
		return s
	}
	return "\x1b[" + string(c) + "m" + s + "\x1b[0m"
}

// say writes one line of talk to stderr.
func (a *app) say(format string, args ...any) {
	fmt.Fprintf(a.streams.Err, format+"\n", args...)
}

// step tells what is being done, to a person who waits.
func (a *app) step(text string) {
	if a.terminal(a.streams.Err) {
		a.say("· %s", plain(text))
	}
}

func (a *app) wide() bool { return a.format() == "wide" }

// format of the answer; table before the settings are known.
func (a *app) format() string {
	if f := a.settings["output"]; f != "" {
		return f
	}
	return "table"
}

// print writes an answer: value as JSON or YAML, or what page draws.
func (a *app) print(value any, page func(io.Writer)) error {
	var text bytes.Buffer
	switch a.format() {
	case "json":
		if err := writeJSON(&text, value); err != nil {
			return err
		}
	case "yaml":
		if err := writeYAML(&text, value); err != nil {
			return err
		}
	default:
		page(&text)
	}
	if _, err := a.streams.Out.Write(text.Bytes()); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

func writeJSON(w io.Writer, value any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(value)
}

// writeYAML writes the JSON shape as YAML, the fields in the same order.
func writeYAML(w io.Writer, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return err
	}
	blockStyle(&doc)
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	if err := e.Encode(&doc); err != nil {
		return err
	}
	return e.Close()
}

// blockStyle drops JSON's braces and the quotes that YAML does not need.
func blockStyle(n *yaml.Node) {
	if n.Kind == yaml.ScalarNode || len(n.Content) > 0 {
		n.Style = 0
	}
	for _, c := range n.Content {
		blockStyle(c)
	}
}

// grid is a table for a person.
type grid struct {
	app  *app
	head []string
	rows [][]string
	// tint colours cells by column and value; nil for none.
	tint func(column int, value string) colour
}

func (g *grid) add(cells ...string) {
	for i := range cells {
		cells[i] = orDash(plain(cells[i]))
	}
	g.rows = append(g.rows, cells)
}

// write draws the table without borders, as kubectl and docker do.
func (g *grid) write(w io.Writer) {
	t := table.NewWriter()
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "   "
	t.SetStyle(style)
	row := func(cells []string, tint func(int, string) colour) table.Row {
		out := make(table.Row, len(cells))
		for i, c := range cells {
			if tint != nil {
				c = g.app.paint(tint(i, c), c)
			}
			out[i] = c
		}
		return out
	}
	t.AppendHeader(row(g.head, nil))
	for _, cells := range g.rows {
		t.AppendRow(row(cells, g.tint))
	}
	for line := range strings.Lines(t.Render()) {
		fmt.Fprintln(w, strings.TrimRight(line, " \n"))
	}
}
