//go:build lab

package system

import (
	"fmt"
	"strings"
	"time"

	"piccolo.io/piccolo/scripts/lab"
)

// files checks who may read what the nodes keep.
func files(c *cluster) {
	for _, b := range c.Boards()[:3] {
		open := b.Exec("find", dataDir, "/run/piccolo", "-not", "-name", "lost+found",
			"(", "-type", "d", "-not", "-perm", "0700", "-o", "-not", "-type", "d", "-not", "-perm", "0600", ")")
		if open != "" {
			c.t.Errorf("%s: others can get at %s", b.Name, open)
		}
	}
	for _, file := range []string{"ca.key", "store.key", "admin.token", "etcd"} {
		if c.Board(2).Do("test", "-e", dataDir+"/"+file).Code == 0 {
			c.t.Errorf("a sub has %s", file)
		}
	}
}

// secrets looks for each secret of the cluster wherever it could have slipped
// out to.
func secrets(c *cluster) {
	master := c.Board(1)
	hidden := map[string]string{}
	for _, b := range c.Boards()[:2] {
		hidden["the key of "+b.Name] = pemBody(b.Exec("cat", dataDir+"/node.key"))
		hidden["the gossip key of "+b.Name] = longestWord(b.Exec("cat", dataDir+"/gossip.keys"))
	}
	hidden["the CA's key"] = pemBody(master.Exec("cat", dataDir+"/ca.key"))
	hidden["the store's key"] = longestWord(master.Exec("cat", dataDir+"/store.key"))
	hidden["the administrator's token"] = secretOf(master.Exec("cat", dataDir+"/admin.token"))
	line, err := c.joinLine()
	if err != nil {
		c.t.Fatal(err)
	}
	join := secretOf(line[len(line)-1])

	places := map[string]string{
		"the events":  c.piccolo(master, ok(), "events -o json").Out,
		"the nodes":   c.piccolo(master, ok(), "node ls -o json").Out,
		"the tokens":  c.piccolo(master, ok(), "token ls -o json").Out,
		"the status":  c.piccolo(master, ok(), "status -o json").Out,
		"the cluster": c.piccolo(master, ok(), "topology show -o json").Out,
		"the metrics": master.Exec("curl", "-sS", "--unix-socket", "/run/piccolo/piccolo.sock", "http://p/metrics"),
		"etcd":        master.Exec("sh", "-c", "find "+dataDir+"/etcd -type f -exec strings -n 8 {} + 2>/dev/null || find "+dataDir+"/etcd -type f -exec cat {} +"),
	}
	for _, b := range c.Boards()[:3] {
		// init prints the line to join with, for the user; the log has nothing.
		var log []string
		for text := range strings.Lines(b.Console()) {
			if !strings.HasPrefix(strings.TrimSpace(text), "piccolo join ") {
				log = append(log, text)
			}
		}
		places["the log of "+b.Name] = strings.Join(log, "")
		places["the environment and files of run of "+b.Name] = b.Exec("sh", "-c", "cat /run/piccolo/* 2>/dev/null; true")
	}
	for where, text := range places {
		for what, secret := range hidden {
			if strings.Contains(text, secret) {
				c.t.Errorf("%s is in %s", what, where)
			}
		}
		if strings.Contains(text, join) {
			c.t.Errorf("the join token is in %s", where)
		}
	}
	// A daemon that was started by `piccolo run` has no secret in its
	// arguments; one that join started has what the user typed.
	b := c.Board(3)
	b.Kill(lab.Piccolo)
	c.gone(b)
	run(b)
	c.states(ready, isReady, b)
	if args := b.Exec("ps", "-eo", "args"); strings.Contains(args, "pic1.") {
		c.t.Errorf("a token is among the arguments of processes:\n%s", args)
	}
}

func pemBody(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)/2]
}

func longestWord(text string) string {
	longest := ""
	for _, w := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \n\t\",:{}[]", r) }) {
		if len(w) > len(longest) {
			longest = w
		}
	}
	return longest
}

func secretOf(token string) string {
	parts := strings.Split(strings.TrimSpace(token), ".")
	return parts[len(parts)-1]
}

// certificates tries with a sub's certificate what only an administrator, or
// another node, may.
func certificates(c *cluster) {
	b, other := c.Board(2), c.node(c.Board(3))
	call := func(want, method, path, body string, more ...string) {
		c.t.Helper()
		args := []string{"curl", "-sS", "--max-time", "10", "--cacert", dataDir + "/ca.crt", "-X", method, "-o", "/dev/null", "-w", "%{http_code}", "-H", "Content-Type: application/json"}
		if body != "" {
			args = append(args, "--data-binary", body)
		}
		c.expect(b, ok("^"+want+"$"), append(append(args, more...), "https://10.77.0.11:7443"+path)...)
	}
	mine := []string{"--cert", dataDir + "/node.crt", "--key", dataDir + "/node.key"}
	call("200", "GET", "/api/v1/nodes/board2", "", mine...)
	call("403", "GET", "/api/v1/nodes/"+other.ID, "", mine...)
	call("403", "GET", "/api/v1/nodes", "", mine...)
	call("403", "PATCH", "/api/v1/nodes/board2", `{"labels":{"a":"b"}}`, mine...)
	call("403", "PATCH", "/api/v1/nodes/board3", `{"status":"Maintenance"}`, mine...)
	call("403", "DELETE", "/api/v1/nodes/board3", "", mine...)
	call("403", "GET", "/api/v1/containers", "", mine...)
	call("200", "GET", "/api/v1/nodes/board2/containers", "", mine...)
	call("403", "GET", "/api/v1/nodes/board3/containers", "", mine...)
	call("403", "PUT", "/api/v1/topology", `{}`, mine...)
	call("403", "GET", "/api/v1/tokens", "", mine...)
	call("403", "POST", "/api/v1/tokens", `{}`, mine...)
	call("403", "POST", "/api/v1/self/leave", "", mine...)
	call("403", "GET", "/metrics", "", mine...)
	// With nothing, and with a token that is none.
	call("401", "GET", "/api/v1/nodes", "")
	call("401", "GET", "/metrics", "")
	call("401", "GET", "/api/v1/nodes", "", "-H", "Authorization: Bearer pica.x")
	call("401", "GET", "/api/v1/nodes", "", "-H", "Authorization: Basic cm9vdDo=")
	call("200", "GET", "/healthz", "")
	call("200", "GET", "/api/v1/openapi.yaml", "")
	admin := strings.TrimSpace(c.Board(1).Exec("cat", dataDir+"/admin.token"))
	call("200", "GET", "/api/v1/nodes", "", "-H", "Authorization: Bearer "+admin)
}

// doors looks at what is open to the network, and knocks.
func doors(c *cluster) {
	master, b := c.Board(1), c.Board(2)
	for _, test := range []struct {
		board *lab.Board
		want  string
	}{{master, "2380 7443 7946"}, {c.Board(3), "7946"}} {
		got := strings.TrimSpace(test.board.Exec("sh", "-c", `ss -Hltnp | grep '"piccolo"' | sed 's/.*:\([0-9]*\) .*users.*/\1/; s/ .*//' | sort -n | xargs`))
		if got != test.want {
			c.t.Errorf("%s listens on TCP ports %q, want %q:\n%s", test.board.Name, got, test.want, test.board.Exec("ss", "-ltnp"))
		}
	}
	// No plaintext.
	c.expect(b, ok(`^400$`), "curl", "-s", "--max-time", "10", "-o", "/dev/null", "-w", "%{http_code}", "http://10.77.0.11:7443/api/v1/nodes")
	c.expect(b, fails(35), "curl", "-s", "--max-time", "10", "--tls-max", "1.1", "-k", "https://10.77.0.11:7443/healthz")
	// etcd's peers are masters; a sub's certificate is none.
	for _, path := range []string{"/members", "/version", "/raft"} {
		got := b.Do("curl", "-sk", "--max-time", "10", "--cert", dataDir+"/node.crt", "--key", dataDir+"/node.key", "-w", "%{http_code}", "https://10.77.0.11:2380"+path)
		if got.Code == 0 {
			c.t.Errorf("etcd's peer port answers a sub: %s: %s", path, got.Out)
		}
	}
	// The mesh does not mind what it cannot decrypt.
	mark := len(master.Console())
	w := c.watch("node")
	c.expect(c.Switch(), ok(), "bash", "-c", `for i in $(seq 50); do head -c $((RANDOM % 1200 + 1)) /dev/urandom >/dev/udp/10.77.0.11/7946; done
		for i in $(seq 5); do head -c 5000 /dev/urandom >/dev/tcp/10.77.0.11/7946; done; true`)
	if states := w.changesOf(master, 2*time.Second); len(states) > 0 && strings.Contains(fmt.Sprint(states), "NotReady") {
		c.t.Errorf("noise on the gossip port made the master %v", states)
	}
	if console := master.Console()[mark:]; strings.Contains(console, "panic") || strings.Count(console, "\n") > 60 {
		c.t.Errorf("noise on the gossip port fills the log:\n%s", tail(console, 20))
	}
	c.piccolo(master, ok("3 Ready"), "status")
}
