package cli

import (
	"strings"
	"testing"

	"piccolo.io/piccolo/node/auth"
	"time"
)

// TestBadInput: each is refused with a clear message and the right exit code,
// and nothing is done to the machine.
func TestBadInput(t *testing.T) {
	token, _, err := auth.NewAPIToken(auth.APIOptions{Fingerprint: strings.Repeat("ab", 16), Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	api := token.Reveal()
	long := strings.Repeat("a", 300)
	for _, tc := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"init", "--name", "my board"}, 2, `flag --name: name "my board" is not valid`},
		{[]string{"init", "--name", "brett-ü"}, 2, `flag --name: name "brett-ü" is not valid`},
		{[]string{"init", "--name", ""}, 2, "flag --name: name is empty"},
		{[]string{"init", "--name", long}, 2, "is 300 bytes long: at most 63"},
		{[]string{"init", "--name", "Board"}, 2, "is not valid"},
		{[]string{"init", "--cluster", "a_b"}, 2, "flag --cluster: name"},
		{[]string{"init", "--cluster", long}, 2, "300 bytes long"},
		{[]string{"init", "--advertise", "board-1"}, 2, `flag --advertise: "board-1" is not IP`},
		{[]string{"init", "--advertise", "10.0.0.1:99999"}, 2, "is not IP or IP:PORT"},
		{[]string{"init", "--advertise", "0.0.0.0"}, 2, "cannot reach 0.0.0.0"},
		{[]string{"init", "--advertise", long}, 2, "is not IP or IP:PORT"},
		{[]string{"init", "--api-port", "0"}, 2, "is not a port"},
		{[]string{"init", "--gossip-port", "-1"}, 2, "is not a port"},
		{[]string{"init", "--label", "novalue"}, 2, `label "novalue" is not KEY=VALUE`},
		{[]string{"init", "--label", "a=1", "--label", "a=2"}, 2, `label "a" is given twice`},
		{[]string{"init", "--label", "k=" + long}, 2, "label k: value"},
		{[]string{"init", "now"}, 2, `piccolo init: unexpected argument "now"`},
		{[]string{"init", "--data-dir", "relative"}, 2, "is not an absolute path"},
		{[]string{"join"}, 2, "MASTER[:PORT] is missing"},
		{[]string{"join", "10.0.0.1"}, 2, "a token is missing"},
		{[]string{"join", "10.0.0.1", "--token", ""}, 2, "a token is missing"},
		{[]string{"join", "10.0.0.1", "--token", "two words"}, 2, "the token is damaged"},
		{[]string{"join", "10.0.0.1", "--token", "pic1.ü"}, 2, "the token is damaged"},
		{[]string{"join", "10.0.0.1", "--token", strings.Repeat("x", 5000)}, 2, "the token is damaged"},
		{[]string{"join", "10.0.0.1", "--token-file", "/does/not/exist"}, 2, "read the token: open /does/not/exist"},
		{[]string{"join", "10.0.0.1", "--token-file", "/dev/zero"}, 2, "is larger than 4096 bytes"},
		{[]string{"join", "10.0.0.1", "--token", "a", "--token-file", "b"}, 2, "use either"},
		{[]string{"join", "10.0.0.1:0", "--token", "a"}, 2, `"0" is not a port`},
		{[]string{"join", "10.0.0.1:x", "--token", "a"}, 2, `"x" is not a port`},
		{[]string{"join", "https://10.0.0.1", "--token", "a"}, 2, "master"},
		{[]string{"join", "a b", "--token", "a"}, 2, "neither an IP address nor a host name"},
		{[]string{"join", long, "--token", "a"}, 2, "at most 253 characters"},
		{[]string{"join", "", "--token", "a"}, 2, "the host is missing"},
		{[]string{"join", "[::1", "--token", "a"}, 2, "the port is missing or not a number"},
		{[]string{"join", "[board]", "--token", "a"}, 2, "the port is missing or not a number"},
		{[]string{"join", "a", "b", "--token", "a"}, 2, `unexpected argument "b"`},
		{[]string{"join", "a", "--token", "a", "--role", "king"}, 2, `flag --role: "king"`},
		{[]string{"join", "a", "--token"}, 2, "flag --token needs a value"},
		{[]string{"join", "a", "--foreground=maybe", "--token", "t"}, 2, `invalid boolean value "maybe"`},
		{[]string{"login"}, 2, "https://MASTER[:PORT] is missing"},
		{[]string{"login", "10.0.0.1", "--token", api}, 2, "is not a server"},
		{[]string{"login", "http://10.0.0.1", "--token", api}, 2, "is not a server"},
		{[]string{"login", "https://10.0.0.1/x", "--token", api}, 2, "is not a server"},
		{[]string{"login", "https://10.0.0.1", "--token", "pic1.x"}, 2, "Hint: copy it again, as a whole; the first one is in admin.token"},
		{[]string{"login", "https://10.0.0.1", "--token", "pic1.x"}, 2, "Error: read API token: it is a token of another kind"},
		{[]string{"login", "https://10.0.0.1", "--token", api[:50]}, 2, "a part is missing"},
		{[]string{"login", "https://10.0.0.1", "--token", api + "x"}, 2, "it is too long"},
		{[]string{"login", "https://10.0.0.1", "--token", "hello"}, 2, "it is not a token of piccolo"},
		{[]string{"login", "https://127.0.0.1:1", "--token", api}, 5, "connection refused"},
		{[]string{"login", "https://10.0.0.1", "--token", api, "--context", "local"}, 2, "cannot be the name of a context"},
		{[]string{"node", "show"}, 2, "NODE is missing"},
		{[]string{"node", "show", "nobody"}, 3, `node "nobody" is not in this cluster`},
		{[]string{"node", "show", "../status"}, 3, "is not in this cluster"},
		{[]string{"node", "label", "board-1"}, 2, "at least one label"},
		{[]string{"node", "label", "board-1", "a=1", "a-"}, 2, "given twice"},
		{[]string{"node", "log-level", "board-1", "loud"}, 2, "log_level"},
		{[]string{"node", "resume", "board-1"}, 4, "not possible in this state"},
		{[]string{"node", "rm", "board-2"}, 2, "nobody is there to confirm it"},
		{[]string{"token", "create", "--ttl", "soon"}, 2, "soon"},
		{[]string{"token", "create", "--ttl", "-1h"}, 2, "flag --ttl -1h0m0s is out of bounds: use 1m to 8760h, which is 365 days"},
		{[]string{"token", "create", "--ttl", "0s"}, 2, "use 1m to 8760h"},
		{[]string{"token", "create", "--role", "king"}, 2, "flag --role"},
		{[]string{"topology", "apply"}, 2, "--file is missing"},
		{[]string{"topology", "apply", "-f", "/does/not/exist"}, 2, "read topology: open"},
		{[]string{"topology", "apply", "-f", "/dev/zero"}, 2, "larger than"},
		{[]string{"events", "--limit", "-1"}, 2, "out of bounds"},
		{[]string{"check", "--master", "a:b:c"}, 2, `master "a:b:c"`},
		{[]string{"status", "-o", "xml"}, 2, "is not one of table"},
		{[]string{"--server", "ftp://x", "status"}, 2, "is not a server"},
		{[]string{"--server", "https://10.0.0.1", "status"}, 6, "no credential"},
		{[]string{"context", "use", "nowhere"}, 3, "there is no context"},
		{[]string{"completion", "tcsh"}, 2, "there is no completion"},
		{[]string{"nonsense"}, 2, "unknown command"},
		{[]string{"node", "nonsense"}, 2, "unknown command"},
		{[]string{"status", "--nonsense"}, 2, "unknown flag"},
	} {
		t.Run(strings.Join(tc.args, " ")[:min(40, len(strings.Join(tc.args, " ")))], func(t *testing.T) {
			b := newBench(t)
			b.serve()
			code := b.do(t.Context(), tc.args...)
			b.want(tc.code, code, "", tc.want)
			if b.out.Len() > 0 {
				t.Errorf("stdout: %q", b.out.String())
			}
			if len(b.err.String()) > 1200 {
				t.Errorf("the message is %d bytes long", b.err.Len())
			}
			if strings.Contains(b.err.String(), api) || strings.Contains(b.err.String(), string(token.Secret.Reveal())) {
				t.Error("the token is told")
			}
		})
	}
}

func TestTopologyFileNamesTheField(t *testing.T) {
	for text, want := range map[string]string{
		"":                        "it is empty",
		"- a":                     "read topology f",
		"name: farm\ncolour: red": `read topology f: line 2: unknown field "colour"`,
		"name: farm\nconfig:\n  log_level: info\n  pace: 3\n": `line 4: unknown field "pace"`,
		"name: farm\ntype: b: c\n":                            "read topology: f:2: mapping values",
		"name: farm\ntype: basic\nconfig: {heartbeat_interval: 1s, log_level: info, approval: token}": "heartbeat_interval 1s is too short: the minimum is 5s",
		"name: a b\ntype: basic": `name "a b" is not valid`,
		"name: farm\ntype: mesh": `type "mesh" is not valid`,
		"name: [farm]":           "cannot unmarshal",
	} {
		if _, err := parseTopology("f", []byte(text)); err == nil || !strings.Contains(err.Error(), want) || classify(err).Kind.Codes().Exit != 2 {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func TestAddressesOfAMaster(t *testing.T) {
	for _, master := range []string{"10.0.0.1", "10.0.0.1:7443", "::1", "[::1]", "[::1]:7443", "fe80::1%eth0", "[fe80::1%eth0]", "board-1.lan", "board-1:80"} {
		if err := checkMaster(master); err != nil {
			t.Errorf("%s: %v", master, err)
		}
	}
}

// TestTopologyFileFromBeforeAJoin: what the cluster says of its nodes is not
// what it is told.
func TestTopologyFileFromBeforeAJoin(t *testing.T) {
	got, err := parseTopology("f", []byte("name: farm\ntype: basic\nmaster_nodes: [a]\nsub_nodes: [b, c]\nconfig: {heartbeat_interval: 10s, log_level: info, approval: token}\n"))
	if err != nil || got.MasterNodes != nil || got.SubNodes != nil || got.Name != "farm" {
		t.Errorf("%+v, %v", got, err)
	}
}
