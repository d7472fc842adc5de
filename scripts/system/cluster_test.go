//go:build lab

package system

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"piccolo.io/piccolo/node/api/client"
	"piccolo.io/piccolo/scripts/lab"
	"piccolo.io/piccolo/topology"
)

const (
	dataDir = "/var/lib/piccolo"
	// soon is for what takes well under a second on an idle machine.
	soon = 10 * time.Second
	// ready is for a join, a reboot or a return: seconds on an idle machine.
	ready = 40 * time.Second
)

// The nodes' states in words, with the reasons.
const (
	isReady       = "Ready"
	isUnreachable = "NotReady: Unreachable"
	isPodmanDown  = "NotReady: PodmanDown"
)

// cluster is the boards of a lab, with board1 as the master.
type cluster struct {
	*lab.Lab
	t testing.TB
}

// start makes a cluster of the lab's first n boards as a person would.
func start(t testing.TB, l *lab.Lab, n int) *cluster {
	t.Helper()
	c := &cluster{Lab: l, t: t}
	master := c.Board(1)
	master.Spawn("piccolo", "init", "--name", master.Name, "--advertise", master.Address(), "--foreground")
	c.Eventually(ready, "init prints the line to join with", func() error {
		_, err := c.joinLine()
		return err
	})
	for _, b := range c.Boards()[1:n] {
		c.join(b)
	}
	c.states(ready, isReady, c.Boards()[:n]...)
	return c
}

// with is the same cluster for a subtest.
func (c *cluster) with(t testing.TB) *cluster { return &cluster{Lab: c.With(t), t: t} }

// chapter runs one part of a test's story.
func (c *cluster) chapter(name string, do func(*cluster)) {
	t := c.t.(*testing.T)
	t.Run(name, func(t *testing.T) { do(c.with(t)) })
}

// joinLine is what init printed for the user to type on the other boards.
func (c *cluster) joinLine() ([]string, error) {
	line := regexp.MustCompile(`(?m)^ *piccolo join .*$`).FindString(c.Board(1).Console())
	if line == "" {
		return nil, fmt.Errorf("the console of board1 has no such line:\n%s", c.Board(1).Console())
	}
	return strings.Fields(line), nil
}

// join types that line on a board, and does not wait for what comes of it.
func (c *cluster) join(b *lab.Board, more ...string) {
	c.t.Helper()
	line, err := c.joinLine()
	if err != nil {
		c.t.Fatal(err)
	}
	b.Spawn(append(append(line, "--name", b.Name, "--foreground"), more...)...)
}

// run starts the daemon of a node that belongs to the cluster.
func run(b *lab.Board, more ...string) { b.Spawn(append([]string{"piccolo", "run"}, more...)...) }

// api talks to the daemon of a board through its socket, as root there does.
func (c *cluster) api(b *lab.Board) *client.HTTP {
	c.t.Helper()
	socket := filepath.Join("/proc", strconv.Itoa(b.InitPID()), "root/run/piccolo/piccolo.sock")
	h, err := client.NewHTTP(client.HTTPOptions{Socket: socket})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(h.Close)
	return h
}

// node is what the master says of a board.
func (c *cluster) node(b *lab.Board) topology.Node {
	c.t.Helper()
	n, err := c.find(b)
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}

func (c *cluster) find(b *lab.Board) (topology.Node, error) {
	var nodes []topology.Node
	out, err := c.Board(1).TryExec(c.t.Context(), "piccolo", "node", "ls", "-o", "json")
	if err == nil {
		err = json.Unmarshal([]byte(out), &nodes)
	}
	if err != nil {
		return topology.Node{}, err
	}
	for _, n := range nodes {
		if n.Name == b.Name {
			return n, nil
		}
	}
	return topology.Node{}, fmt.Errorf("%s is not among %s", b.Name, out)
}

// state is a node's status, with its reasons where it has any.
func state(n topology.Node) string {
	if len(n.Reasons) == 0 {
		return string(n.Status)
	}
	return string(n.Status) + ": " + n.Reasons.String()
}

// states waits until the master says this of the boards.
func (c *cluster) states(deadline time.Duration, want string, boards ...*lab.Board) {
	c.t.Helper()
	for _, b := range boards {
		c.Eventually(deadline, b.Name+" is "+want, func() error {
			n, err := c.find(b)
			if err == nil && state(n) != want {
				err = fmt.Errorf("it is %s; its console ends:\n%s", state(n), tail(b.Console(), 15))
			}
			return err
		})
	}
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// says waits until the board's console has the text somewhere after mark, a
// length that it had before.
func (c *cluster) says(b *lab.Board, mark int, text string) {
	c.t.Helper()
	c.Eventually(soon, b.Name+" says "+text, func() error {
		if console := b.Console()[mark:]; !strings.Contains(console, text) {
			return fmt.Errorf("it says:\n%s", tail(console, 30))
		}
		return nil
	})
}

// gone waits until no daemon runs on the board.
func (c *cluster) gone(b *lab.Board) {
	c.t.Helper()
	c.Eventually(soon, "the daemon of "+b.Name+" is gone", func() error {
		if out := b.Do("pgrep", "-ax", "piccolo"); out.Code == 0 {
			return fmt.Errorf("there is %s", out.Out)
		}
		return nil
	})
}

// expectation is what a command must end with and say, on stdout or stderr.
type expectation struct {
	code int
	says []string
}

func ok(says ...string) expectation              { return expectation{0, says} }
func fails(code int, says ...string) expectation { return expectation{code, says} }

// expect runs a command on a board and holds it against the expectation.
func (c *cluster) expect(b *lab.Board, want expectation, command ...string) lab.Output {
	c.t.Helper()
	return c.expectWith(b, "", want, command...)
}

// expectWith is expect with a text on standard input.
func (c *cluster) expectWith(b *lab.Board, stdin string, want expectation, command ...string) lab.Output {
	c.t.Helper()
	got := b.DoWith(stdin, command...)
	title := fmt.Sprintf("%s: %.200s", b.Name, strings.Join(command, " "))
	if got.Code != want.code {
		c.t.Errorf("%s: exit code %d, want %d; it said: %s%s", title, got.Code, want.code, got.Out, got.Err)
	}
	for _, says := range want.says {
		if !regexp.MustCompile(says).MatchString(got.Out + got.Err) {
			c.t.Errorf("%s: it said nothing like %q: %s%s", title, says, got.Out, got.Err)
		}
	}
	return got
}

// piccolo is expect for a piccolo command without spaces in its words.
func (c *cluster) piccolo(b *lab.Board, want expectation, words string) lab.Output {
	c.t.Helper()
	return c.expect(b, want, append([]string{"piccolo"}, strings.Fields(words)...)...)
}

// apply changes the cluster's configuration the way a person does: shows it,
// edits it, applies it.
func (c *cluster) apply(want expectation, edit func(string) string) {
	c.t.Helper()
	text := c.piccolo(c.Board(1), ok(), "topology show -o yaml").Out
	c.expectWith(c.Board(1), edit(text), want, "piccolo", "topology", "apply", "-f", "-")
}

// set edits one field of the configuration.
func set(field, value string) func(string) string {
	return func(text string) string {
		return regexp.MustCompile(`(?m)^( *`+field+`:).*$`).ReplaceAllString(text, "$1 "+value)
	}
}
