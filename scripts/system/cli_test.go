//go:build lab

package system

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/scripts/lab"
)

// TestCluster goes through a cluster of three boards as its user does.
func TestCluster(t *testing.T) {
	t.Parallel()
	l := lab.Up(t, 4, lab.Options{})
	l.Eventually(soon, "a board without a cluster says what to do", func() error {
		for _, command := range []string{"run", "status"} {
			if got := l.Board(1).Do("piccolo", command); got.Code == 0 || strings.Contains(got.Err, "panic") {
				return fmt.Errorf("piccolo %s: %s", command, got.Err)
			}
		}
		return nil
	})
	c := start(t, l, 3)
	c.chapter("joining", joining)
	c.chapter("reading", reading)
	c.chapter("nodes", nodes)
	c.chapter("tokens", tokens)
	c.chapter("configuration", configuration)
	c.chapter("from another machine", elsewhere)
	c.chapter("words that are wrong", wrongWords)
	c.chapter("joining what is wrong", wrongJoins)
	c.chapter("strange requests", strangeRequests)
	c.chapter("files", files)
	c.chapter("secrets", secrets)
	c.chapter("certificates of subs", certificates)
	c.chapter("doors", doors)
	c.chapter("idle", idle)
	c.chapter("a full disk", fullDisk)
	c.chapter("damaged data", damaged)
	for _, b := range c.Boards()[:3] {
		if console := b.Console(); strings.Contains(console, "panic:") || strings.Contains(console, "DATA RACE") {
			t.Errorf("%s:\n%s", b.Name, console)
		}
	}
}

func joining(c *cluster) {
	b := c.Board(2)
	for _, board := range c.Boards()[1:3] {
		c.says(board, 0, "is a sub of cluster piccolo")
		c.says(board, 0, "Ready after ")
	}
	c.says(c.Board(1), 0, "admin.token")
	line, err := c.joinLine()
	if err != nil {
		c.t.Fatal(err)
	}
	c.expect(b, ok("belongs to cluster piccolo already; nothing was changed"), line...)
	c.piccolo(b, fails(4, "belongs to a cluster already|already"), "init --foreground")
	c.piccolo(b, fails(4, "another piccolo runs"), "run")
	c.expect(c.Board(4), fails(4, "board2", "belongs to another node", "--name"), append(line, "--name", "board2", "--foreground")...)
}

func reading(c *cluster) {
	master := c.Board(1)
	c.piccolo(master, ok(`Cluster +piccolo \(basic\)`, `Nodes +3: 3 Ready`, `This node +board1 \(master, n-[0-9a-f]{12}\)`, `mode +Online`), "status")
	c.piccolo(master, ok(`NAME +ROLE +STATUS`, `board1 +master +Ready`, `board2 +sub +Ready`, `board3 +sub +Ready +- +10.77.0.13`), "node ls")
	c.piccolo(master, ok(`n-[0-9a-f]{12}`, `linux/`, `LABELS`), "node ls -o wide")
	c.piccolo(master, ok(`(?m)^- id: n-`, `(?m)^  status: Ready`), "node ls -o yaml")
	c.piccolo(master, ok(`Status +Ready since`, `revision (\d+) of (\d+) applied`), "node show board2")
	c.piccolo(master, fails(3, `"board9" is not in this cluster`, `piccolo node ls`), "node show board9")
	c.piccolo(master, ok(`NODE +NAME +IMAGE`), "ps")
	c.piccolo(master, ok(`board2 +Ready`), "events")
	c.piccolo(master, ok(`"kind"`, `"at"`), "events -o json")
	c.piccolo(master, ok(`Masters +board1`, `Subs +board2, board3`, `every 10s`), "topology show")
	c.piccolo(master, ok(`piccolo .+ linux/`), "version")
	c.piccolo(master, ok(`This board can join|is fit`), "check")
	for _, shell := range []string{"bash", "zsh", "fish"} {
		c.piccolo(master, ok(`piccolo`), "completion "+shell)
	}
	c.expect(master, ok("maintenance", "approve"), "piccolo", "node", "--generate-bash-completion")
	var list []map[string]any
	if err := json.Unmarshal([]byte(c.piccolo(master, ok(), "node ls -o json").Out), &list); err != nil || len(list) != 3 {
		c.t.Fatalf("node ls -o json: %d nodes, %v", len(list), err)
	}
	for _, field := range []string{"id", "name", "ip", "role", "status", "reasons", "resources", "created_at", "last_heartbeat", "labels", "version"} {
		if _, ok := list[1][field]; !ok {
			c.t.Errorf("node ls -o json has no field %q: %v", field, list[1])
		}
	}
	c.piccolo(c.Board(2), ok(`as of`, `board1 +master`, `board3 +sub`), "node ls")
	c.piccolo(c.Board(2), ok(`This node +board2 \(sub`, `master +10.77.0.11:7443`), "status")
	if got := master.Exec("piccolo", "status"); strings.Contains(got, "\x1b") {
		c.t.Errorf("colour where nobody looks: %q", got)
	}
}

func nodes(c *cluster) {
	master := c.Board(1)
	c.piccolo(master, ok(`site=barn`), "node label board2 site=barn rack=1")
	c.piccolo(master, ok(`rack=1`), "node label board2 site-")
	c.piccolo(master, fails(2, `label "bad" is not KEY=VALUE`), "node label board2 a=b bad")
	c.piccolo(master, ok(`aintenance`), "node maintenance board3")
	c.piccolo(master, ok(`board3 +sub +Maintenance`), "node ls")
	c.piccolo(master, ok(`Ready`), "node resume board3")
	c.piccolo(master, ok(`board3 +sub +Ready`), "node ls")
	c.piccolo(master, fails(4, `Ready`), "node approve board3")
	c.piccolo(master, ok(`board3 +Maintenance`), "events")
	c.Eventually(soon, "board2 has confirmed its labels", func() error { return c.confirmed(c.Board(2)) })
	c.piccolo(c.Board(2), fails(5, "is a sub", "https://10.77.0.11:7443"), "node label board2 a=b")
}

func tokens(c *cluster) {
	master := c.Board(1)
	line := strings.Fields(c.piccolo(master, ok("On the new board"), "token create --ttl 90m --description barn").Out)
	id := strings.Split(line[len(line)-1], ".")[2]
	c.piccolo(master, ok(id+` +sub +in \d+m .*barn`, `made by init`), "token ls")
	c.piccolo(master, ok(id), "token ls -o json")
	c.piccolo(master, ok(), "token rm "+id)
	c.piccolo(master, fails(3, "no join token", "piccolo token ls"), "token rm "+id)
	c.expect(c.Board(4), fails(6, "not known here", "deleted"), append(line[:5], "--foreground")...)
	c.piccolo(master, fails(2, "ttl 1s is out of bounds"), "token create --ttl 1s")
	c.piccolo(master, fails(2, `"king" is not a role`), "token create --role king")
}

func configuration(c *cluster) {
	subs, all := c.Boards()[1:3], c.Boards()[:3]
	c.apply(fails(2, `heartbeat_interval 4s is too short`, `minimum is 5s`), set("heartbeat_interval", "4s"))
	c.apply(fails(2, `colour`), func(s string) string { return s + "colour: red\n" })
	c.apply(fails(4), set("revision", "1"))
	mark := make([]int, len(all))
	for i, b := range all {
		mark[i] = len(b.Console())
		if strings.Contains(b.Console(), "level=DEBUG") {
			c.t.Errorf("%s logs at level debug already", b.Name)
		}
	}
	c.apply(ok(`revision \d+`), func(s string) string { return set("log_level", "debug")(set("heartbeat_interval", "5s")(s)) })
	for i, b := range all {
		c.Eventually(5*time.Second, b.Name+" has confirmed its plan", func() error { return c.confirmed(b) })
		c.Eventually(5*time.Second, b.Name+" logs at level debug", func() error {
			c.piccolo(b, ok(), "status") // a request is worth a line
			if !strings.Contains(b.Console()[mark[i]:], "level=DEBUG") {
				return errors.New("its log has no such line")
			}
			return nil
		})
	}
	c.piccolo(c.Board(1), ok("every 5s", "debug"), "topology show")
	c.apply(ok(), set("log_level", "info"))
	c.piccolo(c.Board(1), ok(), "node log-level board2 debug")
	for _, b := range subs {
		c.Eventually(5*time.Second, b.Name+" has confirmed its plan", func() error { return c.confirmed(b) })
	}
	c.piccolo(c.Board(1), ok(`Log level +debug`), "node show board2")
	c.piccolo(c.Board(1), ok(), "node log-level board2 default")
	c.apply(ok(), set("heartbeat_interval", "10s"))
}

// elsewhere is a person's own machine, in the same network.
func elsewhere(c *cluster) {
	home := c.t.TempDir()
	here := c.Switch()
	// The switch has this machine's files, and the boards' binary is theirs.
	bin := os.Getenv("PICCOLO_BIN")
	if bin == "" {
		dir, err := os.Getwd()
		if err != nil {
			c.t.Fatal(err)
		}
		bin = dir + "/../../bin/piccolo"
	}
	type_ := func(want expectation, stdin string, words string) {
		c.t.Helper()
		c.expectWith(here, stdin, want, append([]string{"env", "HOME=" + home, "XDG_CONFIG_HOME=", bin}, strings.Fields(words)...)...)
	}
	token := c.Board(1).Exec("cat", dataDir+"/admin.token")
	type_(fails(6, "no credential", "piccolo login"), "", "--server https://10.77.0.11:7443 node ls")
	type_(fails(5), token, "login https://10.77.0.12:7443 --token-file -")
	type_(fails(2, "not a valid token|not a token"), "nonsense", "login https://10.77.0.11:7443 --token-file -")
	other, _, err := auth.NewAPIToken(auth.APIOptions{Fingerprint: strings.Repeat("ab", 16), Now: time.Now()})
	if err != nil {
		c.t.Fatal(err)
	}
	type_(fails(6), other.Reveal(), "login https://10.77.0.11:7443 --token-file -")
	type_(ok("Logged in to cluster piccolo"), token, "login https://10.77.0.11 --token-file -")
	type_(ok("Nodes +3: 3 Ready"), "", "status")
	type_(ok("board2 +sub"), "", "--server https://10.77.0.11:7443 node ls")
	type_(ok(`\* +piccolo +https://10.77.0.11:7443`), "", "context ls")
	type_(ok(), token, "login https://10.77.0.11 --token-file - --context farm")
	type_(ok(`\* +farm`), "", "context ls")
	type_(ok(), "", "context use piccolo")
	type_(fails(3, "no context"), "", "context use barn")
	type_(ok("site=hill"), "", "node label board3 site=hill")
	info, err := os.Stat(home + "/.config/piccolo/config.yaml")
	if err != nil || info.Mode().Perm() != 0o600 {
		c.t.Errorf("the file with the contexts: %v, %v", info, err)
	}
	type_(ok(), "", "context rm piccolo")
	type_(ok(), "", "context use local")
	type_(fails(5, "no piccolo daemon answers"), "", "status")
}

// idle measures what a cluster that nobody touches writes to its cards:
// nothing, although every node's heart beats. A busy machine may raise or clear
// a warning meanwhile, and the lease of a daemon that was restarted runs out,
// which are worth a write; then the next half minute is looked at.
func idle(c *cluster) {
	const window, tries = 30 * time.Second, 4
	boards := c.Boards()[:3]
	w := c.watch("node")
	for range tries {
		written, beat := c.storeWrites(), c.node(boards[1]).LastHeartbeat
		var before [3]int64
		for i, b := range boards {
			b.Exec("sync")
			before[i] = b.Disk().Written
		}
		w.changesOf(boards[1], window)
		if now := c.storeWrites(); now != written {
			c.t.Logf("the store was written to: %s, then %s", written, now)
			continue
		}
		if now := c.node(boards[1]).LastHeartbeat; !now.After(beat.Add(window / 2)) {
			c.t.Errorf("no heartbeats: the last was at %v, now at %v", beat, now)
		}
		// 20 MB a day are 7 kB in half a minute, which is less than two blocks;
		// one put costs 35 kB or more.
		for i, b := range boards {
			b.Exec("sync")
			if n := b.Disk().Written - before[i]; n > 16<<10 {
				c.t.Errorf("%s wrote %d bytes in %v while nothing happened", b.Name, n, window)
			}
		}
		return
	}
	c.t.Errorf("the store was written to in each of %d times %v without an order", tries, window)
}

// storeWrites is the store's revision, and how many entries its log has.
func (c *cluster) storeWrites() string {
	c.t.Helper()
	metrics := c.Board(1).Exec("curl", "-sS", "--unix-socket", "/run/piccolo/piccolo.sock", "http://p/metrics")
	lines := regexp.MustCompile(`(?m)^etcd_(debugging_mvcc_current_revision|server_proposals_applied_total) .*$`).FindAllString(metrics, -1)
	if len(lines) != 2 {
		c.t.Fatalf("the metrics do not tell what the store wrote: %q", lines)
	}
	return strings.Join(lines, ", ")
}

func wrongWords(c *cluster) {
	b := c.Board(4)
	for words, want := range map[string]expectation{
		"satus":                               fails(2, `did you mean "status"`),
		"status now":                          fails(2, `unexpected argument "now"`),
		"node show":                           fails(2, `NODE is missing`),
		"join":                                fails(2, `MASTER\[:PORT\] is missing`),
		"status --colour":                     fails(2, `colour`),
		"status -o xml":                       fails(2, `"xml" is not one of`),
		"--log-level loud status":             fails(2, `"loud" is not one of`),
		"--data-dir here status":              fails(2, `"here" is not an absolute path`),
		"--api-port 70000 init":               fails(2, `"70000" is not a port`),
		"init --name a.b":                     fails(2, `name "a.b" is not valid`),
		"init --advertise nowhere":            fails(2, `"nowhere" is not IP`),
		"init --label x":                      fails(2, `"x" is not KEY=VALUE`),
		"login 10.77.0.11":                    fails(2, `https://`),
		"--server http://10.77.0.11 status":   fails(2, `is not a server`),
		"topology apply -f /nowhere":          fails(2, `/nowhere`),
		"--config /nowhere.yaml status":       fails(2, `/nowhere.yaml`),
		"events --limit -1":                   fails(2, `out of bounds`),
		"join 10.77.0.11 --token-file /where": fails(2, `/where`),
	} {
		c.piccolo(b, want, words)
	}
	b.WriteFile("/tmp/config.yaml", "log_level: debug\n# a comment\ncolour: red\n")
	c.piccolo(b, fails(2, `/tmp/config.yaml:3: unknown key "colour"`, `known keys are`), "--config /tmp/config.yaml status")
	b.WriteFile("/tmp/config.yaml", "log_level: [\n")
	c.piccolo(b, fails(2, `/tmp/config.yaml`), "--config /tmp/config.yaml status")
	var problem api.Problem
	got := c.piccolo(c.Board(1), fails(3), "node show board9 -o json")
	if err := json.Unmarshal([]byte(got.Err), &problem); err != nil || problem.Kind != api.KindNotFound || got.Out != "" {
		c.t.Errorf("an error with -o json is no problem document: %v: %s%s", err, got.Out, got.Err)
	}
}
