//go:build lab

package system

import (
	"fmt"
	"strings"
	"time"

	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/scripts/lab"
	"piccolo.io/piccolo/topology"
)

// listener is a Perl program that accepts connections on a port, says a text,
// and then nothing.
const listener = `use IO::Socket::INET; my ($port, $text) = @ARGV;
my $l = IO::Socket::INET->new(Listen => 5, LocalPort => $port, ReuseAddr => 1) or die $!;
while (my $c = $l->accept) { syswrite $c, $text; push @kept, $c }`

// wrongJoins tries every wrong token and every wrong master. None of them may
// leave anything behind.
func wrongJoins(c *cluster) {
	master, b := c.Board(1), c.Board(4)
	token := lastWord(c.piccolo(master, ok(), "token create").Out)
	admin := strings.TrimSpace(master.Exec("cat", dataDir+"/admin.token"))
	parts := strings.Split(token, ".")
	made := func(o auth.JoinOptions) string {
		o.Now = time.Now()
		t, _, err := auth.NewJoinToken(o)
		if err != nil {
			c.t.Fatal(err)
		}
		return t.Reveal()
	}
	for _, test := range []struct {
		name, master, token string
		want                expectation
	}{
		{"no token", "10.77.0.11", "", fails(2, "token")},
		{"nonsense", "10.77.0.11", "secret", fails(2, `begins with "pic1."`)},
		{"an administrator's token", "10.77.0.11", admin, fails(2, "token")},
		{"truncated", "10.77.0.11", token[:len(token)-1], fails(2, "part is missing", "copy the token again")},
		{"truncated early", "10.77.0.11", token[:30], fails(2, "part is missing")},
		{"another character", "10.77.0.11", token[:len(token)-3] + swap(token[len(token)-3:]), fails(2, "check sum is wrong")},
		{"foreign", "10.77.0.11", made(auth.JoinOptions{Fingerprint: parts[1]}), fails(6, "not known here")},
		{"another cluster's", "10.77.0.11", made(auth.JoinOptions{Fingerprint: strings.Repeat("0a", 16)}), fails(6, "another cluster")},
		{"for a master", "10.77.0.11", made(auth.JoinOptions{Fingerprint: parts[1], Role: topology.RoleMaster}), fails(6)},
		{"huge", "10.77.0.11", strings.Repeat("x", 100_000), fails(2, "token")},
		{"no host", "10.77.0.99", token, fails(5, "10.77.0.99:7443")},
		{"a sub", "10.77.0.12", token, fails(5, "connection refused", "does a master run there")},
		{"the gossip port", "10.77.0.11:7946", token, fails(5, "not piccolo", "7443")},
		{"the etcd port", "10.77.0.11:2380", token, fails(5, "not piccolo", "7443")},
		{"a web server", "10.77.0.12:8080", token, fails(5, "not piccolo", "7443")},
		{"something like ssh", "10.77.0.12:2222", token, fails(5, "not piccolo", "7443")},
		{"something silent", "10.77.0.12:2223", token, fails(5, "10.77.0.12:2223: nothing answered within 5s", "does a master run there")},
		{"a name nobody knows", "nosuch.invalid", token, fails(5, "nosuch.invalid")},
		{"a URL", "http://10.77.0.11", token, fails(2, "not a URL")},
		{"an absurd port", "10.77.0.11:99999", token, fails(2, "99999")},
	} {
		if test.master == "10.77.0.12:8080" {
			c.listen(c.Board(2))
		}
		args := []string{"piccolo", "join", test.master, "--foreground"}
		if test.token != "" {
			args = append(args, "--token", test.token)
		}
		began := time.Now()
		c.expect(b, test.want, args...)
		if took := time.Since(began); took > 2*5*time.Second {
			c.t.Errorf("%s: refused only after %v", test.name, took)
		}
	}
	for _, name := range []string{"a b", "ünïcode", "-a", "UPPER_case", strings.Repeat("x", 300), "a\nb"} {
		c.expect(b, fails(2, "name"), "piccolo", "join", "10.77.0.11", "--token", token, "--name", name)
	}
	if left := b.Do("sh", "-c", "ls -A "+dataDir+" | grep -v -e lock -e lost+found").Out; left != "" {
		c.t.Errorf("refused joins left %s", left)
	}
	if list := c.piccolo(master, ok(), "node ls").Out; strings.Count(list, "\n") != 4 {
		c.t.Errorf("refused joins left nodes:\n%s", list)
	}
}

func lastWord(text string) string { words := strings.Fields(text); return words[len(words)-1] }

// swap changes every character for another one that a token may have.
func swap(s string) string {
	return strings.Map(func(r rune) rune {
		if r == 'a' {
			return 'b'
		}
		return 'a'
	}, s)
}

// listen starts what is no master on a board: a web server on 8080 and
// listeners on 2222 and 2223.
func (c *cluster) listen(b *lab.Board) {
	c.t.Helper()
	b.Containers(1)
	b.Spawn("perl", "-e", listener, "2222", "SSH-2.0-OpenSSH_9.2\r\n")
	b.Spawn("perl", "-e", listener, "2223", "")
	c.Eventually(soon, "the listeners listen", func() error {
		ports := b.Exec("ss", "-ltn")
		for _, port := range []string{":8080", ":2222", ":2223"} {
			if !strings.Contains(ports, port) {
				return fmt.Errorf("nothing listens on %s: %s", port, ports)
			}
		}
		return nil
	})
}

// strangeRequests sends what no client of piccolo sends, as an administrator:
// each is refused, and the API goes on.
func strangeRequests(c *cluster) {
	master := c.Board(1)
	send := func(stdin string, want expectation, args ...string) {
		c.t.Helper()
		curl := []string{"curl", "-sS", "--max-time", "20", "--unix-socket", "/run/piccolo/piccolo.sock", "-H", "Expect:", "-H", "Content-Type: application/json", "--data-binary", "@-", "-w", "\n%{http_code}\n"}
		c.expectWith(master, stdin, want, append(curl, args...)...)
	}
	const topologyURL, nodeURL = "http://p/api/v1/topology", "http://p/api/v1/nodes/board2"
	send(`{"name":`, ok(`\n400\n`, `application/problem|"kind"`), "-X", "PUT", topologyURL)
	send(`{"name":"x","colour":"red"}`, ok(`\n400\n`, `colour`), "-X", "PUT", topologyURL)
	send(`{"labels":{"a":1}}`, ok(`\n400\n`, `labels`), "-X", "PATCH", nodeURL)
	send(`{"status":"Dancing"}`, ok(`\n400\n`, `Dancing`), "-X", "PATCH", nodeURL)
	send(strings.Repeat("[", 100_000), ok(`\n400\n`), "-X", "PUT", topologyURL)
	send(strings.Repeat(`{"config":`, 20_000)+strings.Repeat("}", 20_000), ok(`\n400\n`), "-X", "PUT", topologyURL)
	send(strings.Repeat(" ", 12<<20), ok(`\n413\n`), "-X", "PUT", topologyURL)
	send("", ok(`\n405\n`), "-X", "TRACE", topologyURL)
	send("", ok(`\n404\n`), "http://p/api/v2/nodes")
	send("", ok(`\n404\n`), "-X", "DELETE", "http://p/api/v1/nodes/..%2f..%2fetc")
	send("", ok(`\n400\n`, "kind"), "-X", "GET", "http://p/api/v1/watch?kinds=colour")
	// Garbage where gRPC is spoken, with a certificate and without one.
	grpc := func(board *lab.Board, more ...string) {
		c.t.Helper()
		curl := []string{"curl", "-skS", "--max-time", "10", "--http2", "-o", "/dev/null", "-H", "Content-Type: application/grpc", "--data-binary", "@-", "-w", "%{http_code} %header{grpc-status}"}
		got := board.DoWith("\x00\xff\xff\xff\xffgarbage", append(append(curl, more...), "https://10.77.0.11:7443/piccolo.v1.NodeAgentService/Heartbeat")...)
		if strings.HasSuffix(got.Out, " 0") {
			c.t.Errorf("garbage sent to gRPC is answered with %q", got.Out)
		}
	}
	grpc(c.Switch())
	grpc(c.Board(2), "--cert", dataDir+"/node.crt", "--key", dataDir+"/node.key")
	c.expect(c.Switch(), ok(), "bash", "-c", "head -c 100000 /dev/urandom >/dev/tcp/10.77.0.11/7443 || true")
	// Slow clients: many connections that say nothing, or a line now and then.
	c.Switch().Exec("bash", "-c", `(for i in $(seq 60); do exec {fd}<>/dev/tcp/10.77.0.11/7443; done; exec timeout 20 tail -f /dev/null) </dev/null >/dev/null 2>&1 &`)
	c.expect(c.Switch(), ok(`^200$`), "curl", "-sk", "--max-time", "5", "-o", "/dev/null", "-w", "%{http_code}", "https://10.77.0.11:7443/healthz")
	c.piccolo(master, ok("3 Ready"), "status")
}

// fullDisk fills the data disks of a board that wants to join, of a sub and
// of the master.
func fullDisk(c *cluster) {
	master, sub, stranger := c.Board(1), c.Board(3), c.Board(4)
	line, err := c.joinLine()
	if err != nil {
		c.t.Fatal(err)
	}
	stranger.FillDisk()
	c.expect(stranger, fails(5, "data_disk"), append(line, "--foreground")...)
	stranger.FreeDisk()

	// A sub starts with a full disk, and says so.
	sub.FillDisk()
	sub.Kill(lab.Piccolo)
	c.gone(sub)
	run(sub)
	c.states(ready, "NotReady: DiskPressure", sub)
	c.piccolo(sub, ok(`Online`), "status")
	sub.FreeDisk()

	// A master answers, says why it cannot keep what it is told, and recovers.
	master.FillDisk()
	c.piccolo(master, ok("board2"), "node ls")
	for range 3 { // what etcd has reserved takes some writes
		if got := master.Do("piccolo", "node", "label", "board2", "disk=full"); got.Code != 0 && got.Code != 5 {
			c.t.Errorf("a master with a full disk: exit code %d, %s", got.Code, got.Err)
		}
	}
	master.FreeDisk()
	c.Eventually(ready, "the master writes again", func() error {
		if got := master.Do("piccolo", "node", "label", "board2", "disk=free"); got.Code != 0 {
			return fmt.Errorf("it says: %s; its console ends:\n%s", got.Err, tail(master.Console(), 10))
		}
		return nil
	})
	c.states(ready, isReady, c.Boards()[:3]...)
}

// damaged starts a sub on a data directory in which something is broken. What
// can be fetched again is; of the rest it says which file it is.
func damaged(c *cluster) {
	b := c.Board(3)
	for _, test := range []struct {
		file, damage string
		want         expectation
	}{
		{"node.json", "half", fails(1, "node.json", "damaged", "piccolo reset")},
		{"node.json", "garbage", fails(1, "node.json", "damaged")},
		{"node.key", "half", fails(1, "node.key")},
		{"node.key", "gone", fails(1, "node.key")},
		{"ca.crt", "empty", fails(1, "ca.crt")},
		{"gossip.keys", "garbage", fails(1, "gossip.keys")},
	} {
		b.Do("pkill", "-KILL", "-x", "piccolo")
		c.gone(b)
		path := dataDir + "/" + test.file
		b.Exec("cp", "-a", path, "/root/kept")
		b.Exec("sh", "-c", map[string]string{
			"half":    `truncate -s $(($(stat -c %s ` + path + `) / 2)) ` + path,
			"garbage": `head -c 200 /dev/urandom >` + path,
			"empty":   `: >` + path,
			"gone":    `rm ` + path,
		}[test.damage])
		c.expect(b, test.want, "timeout", "10", "piccolo", "run")
		b.Exec("mv", "/root/kept", path)
	}
	// What it keeps of the cluster comes back from the master, its certificate
	// too: it has its key.
	b.Exec("sh", "-c", "for f in "+dataDir+"/cache/* "+dataDir+"/node.crt; do head -c 50 /dev/urandom >$f; done")
	run(b)
	c.states(ready, isReady, b)
	c.Eventually(ready, "board3 is online", func() error {
		if got := b.Do("piccolo", "status"); !strings.Contains(got.Out, "Online") {
			return fmt.Errorf("it says: %s%s", got.Out, got.Err)
		}
		return nil
	})
	c.Eventually(soon, "board3 has a plan again", func() error { return c.confirmed(b) })
	// Another user's files, and a directory that is not its own.
	b.Exec("sh", "-c", "mkdir -p /srv/other && echo x >/srv/other/diary")
	line, err := c.joinLine()
	if err != nil {
		c.t.Fatal(err)
	}
	c.expect(b, fails(1, "diary", "not piccolo's"), append([]string{"piccolo", "--data-dir", "/srv/other", "--run-dir", "/run/other"}, append(line[1:], "--foreground")...)...)
	if got := b.Exec("ls", "-A", "/srv/other"); got != "diary\n" {
		c.t.Errorf("a refused join left in a directory that is not piccolo's: %s", got)
	}
}
