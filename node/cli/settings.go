package cli

import (
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	ucli "github.com/urfave/cli/v2"

	"piccolo.io/piccolo/node"
	"piccolo.io/piccolo/node/api"
)

// setting is one global option: --name, PICCOLO_NAME, and name in the file
// with '_' for '-'.
type setting struct {
	name, alias, usage, value string
	check                     func(string) error
	// words are all that may be said, where there are only a few.
	words []string
	// node settings are the daemon's too: init and join write those that
	// differ from the default into the file.
	node bool
	// hidden ones are for tests and demonstrations.
	hidden bool
}

// settingTable is the one list of global options.
func settingTable() []setting {
	port := func(name, usage string, value int) setting {
		return setting{name: name, usage: usage, value: strconv.Itoa(value), check: checkPort, node: true}
	}
	choice := func(s setting, words ...string) setting {
		s.words, s.check = words, oneOf(words...)
		return s
	}
	return []setting{
		{name: "config", usage: "configuration `FILE`", value: node.DefaultConfigFile, check: checkPath},
		{name: "data-dir", usage: "`DIR` of the node's identity and data", value: node.DefaultDataDir, check: checkPath, node: true},
		{name: "run-dir", usage: "`DIR` of the local socket", value: node.DefaultRunDir, check: checkPath, node: true},
		{name: "podman-socket", usage: "`PATH` of Podman's socket", value: node.DefaultPodmanSocket, check: checkPath, node: true},
		port("api-port", "`PORT` of the API (TCP)", node.DefaultAPIPort),
		port("gossip-port", "`PORT` of the gossip mesh (TCP and UDP)", node.DefaultGossipPort),
		port("etcd-peer-port", "`PORT` of a master's etcd for other masters (TCP)", node.DefaultEtcdPeerPort),
		{name: "server", usage: "`URL` of a master (https://HOST:7443) or of a socket (unix:///PATH) to talk to", check: checkServer},
		choice(setting{name: "output", alias: "o", usage: "`FORMAT` of the answer: table, wide, json, yaml", value: "table"}, "table", "wide", "json", "yaml"),
		choice(setting{name: "log-level", usage: "debug, info, warn or error", value: "info", node: true}, logLevels()...),
		choice(setting{name: "log-format", usage: "text or json", value: "text", node: true}, "text", "json"),
		{name: "podman-root", usage: "`DIR` of Podman's storage", value: "/var/lib/containers/storage", check: checkPath, node: true, hidden: true},
		{name: "certificate-lifetime", usage: "`DURATION` of the node certificates a master signs", value: "0s", check: checkLifetime, node: true, hidden: true},
	}
}

func logLevels() []string { return []string{"debug", "info", "warn", "error"} }

func (s setting) env() string {
	return "PICCOLO_" + strings.ToUpper(strings.ReplaceAll(s.name, "-", "_"))
}
func (s setting) key() string { return strings.ReplaceAll(s.name, "-", "_") }

func (s setting) flag() ucli.Flag {
	f := &ucli.StringFlag{Name: s.name, Usage: s.usage + " [$" + s.env() + "]", DefaultText: s.value, Hidden: s.hidden}
	if s.alias != "" {
		f.Aliases = []string{s.alias}
	}
	return f
}

// settings are the values of the table after flags, environment and file.
type settings map[string]string

// resolve finds every setting: flag says what the command line has, lookup
// what the environment has. The file may be missing only where nobody named
// it.
func resolve(flag, lookup func(string) (string, bool)) (settings, error) {
	table := settingTable()
	out := settings{}
	layered := func(s setting) (value, origin string) {
		if v, ok := flag(s.name); ok {
			return v, "flag --" + s.name
		}
		if v, ok := lookup(s.env()); ok && v != "" {
			return v, s.env()
		}
		return s.value, ""
	}
	path, origin := layered(table[0])
	if err := checkPath(path); err != nil {
		return nil, api.Invalidf("%s: %w", origin, err)
	}
	file, err := readFile(path, origin != "")
	if err != nil {
		return nil, err
	}
	for _, s := range table {
		value, origin := layered(s)
		if f, ok := file[s.key()]; ok && origin == "" {
			value, origin = f.value, fmt.Sprintf("%s:%d: %s", path, f.line, s.key())
		}
		if origin != "" && s.check != nil {
			if err := s.check(value); err != nil {
				return nil, api.Invalidf("%s: %w", origin, err)
			}
		}
		out[s.name] = value
	}
	return out, nil
}

// options are what package node needs of the settings; all were checked.
func (s settings) options() node.Options {
	number := func(name string) int { n, _ := strconv.Atoi(s[name]); return n }
	lifetime, _ := time.ParseDuration(s["certificate-lifetime"])
	return node.Options{
		DataDir: s["data-dir"], RunDir: s["run-dir"], PodmanSocket: s["podman-socket"], PodmanRoot: s["podman-root"],
		APIPort: number("api-port"), GossipPort: number("gossip-port"), EtcdPeerPort: number("etcd-peer-port"),
		CertificateLifetime: lifetime,
	}
}

// changed returns the node settings that differ from their default, by the
// file's keys.
func (s settings) changed() map[string]string {
	out := map[string]string{}
	for _, t := range settingTable() {
		if t.node && s[t.name] != t.value {
			out[t.key()] = s[t.name]
		}
	}
	return out
}

func checkPort(v string) error {
	if n, err := strconv.Atoi(v); err != nil || n < 1 || n > 65535 {
		return fmt.Errorf("%q is not a port: use 1 to 65535", shorten(v))
	}
	return nil
}

func checkPath(v string) error {
	switch {
	case !filepath.IsAbs(v):
		return fmt.Errorf("%q is not an absolute path", shorten(v))
	case strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return fmt.Errorf("%q has a control character in it", shorten(v))
	case len(v) > 1024:
		return fmt.Errorf("the path is %d bytes long: at most 1024 are allowed", len(v))
	}
	return nil
}

func checkLifetime(v string) error {
	if d, err := time.ParseDuration(v); err != nil || d < 0 {
		return fmt.Errorf("%q is not a duration such as 10m", shorten(v))
	}
	return nil
}

// checkServer accepts https://HOST[:PORT] and unix:///PATH.
func checkServer(v string) error {
	if v == "" {
		return nil
	}
	u, err := url.Parse(v)
	switch {
	case err != nil:
		return fmt.Errorf("%q is not a URL: use https://HOST:%d", shorten(v), node.DefaultAPIPort)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("a server has no user, query or fragment: use https://HOST:%d", node.DefaultAPIPort)
	case u.Scheme == "unix" && u.Host == "" && filepath.IsAbs(u.Path):
		return nil
	case u.Scheme != "https" || u.Hostname() == "" || strings.Trim(u.Path, "/") != "":
		return fmt.Errorf("%q is not a server: use https://HOST:%d or unix:///PATH", shorten(v), node.DefaultAPIPort)
	case u.Port() != "":
		return checkPort(u.Port())
	}
	return nil
}

func oneOf(words ...string) func(string) error {
	return func(v string) error {
		if slices.Contains(words, v) {
			return nil
		}
		return fmt.Errorf("%q is not one of %s", shorten(v), strings.Join(words, ", "))
	}
}
