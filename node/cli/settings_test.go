package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"piccolo.io/piccolo/node/api"
)

// from makes a lookup of a map.
func from(m map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) { v, ok := m[name]; return v, ok }
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "piccolo.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestEverySettingHasThreeSources(t *testing.T) {
	other := map[string]string{
		"output": "yaml", "log-level": "debug", "log-format": "json", "server": "https://a:1", "certificate-lifetime": "1m0s",
		"api-port": "1", "gossip-port": "2", "etcd-peer-port": "3",
	}
	for _, s := range settingTable() {
		if s.name == "config" {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			v := other[s.name]
			if v == "" {
				v = "/of/the/file"
			}
			path := writeFile(t, s.key()+": "+v+"\n")
			config := map[string]string{"PICCOLO_CONFIG": path}
			check := func(what, want string, flags, env map[string]string) {
				t.Helper()
				got, err := resolve(from(flags), from(env))
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				if got[s.name] != want {
					t.Errorf("%s: %q, want %q", what, got[s.name], want)
				}
			}
			check("default", s.value, nil, nil)
			check("file", v, nil, config)
			env := map[string]string{"PICCOLO_CONFIG": path, s.env(): s.value}
			if s.value != "" {
				check("environment over file", s.value, nil, env)
				env[s.env()] = v
				check("flag over environment", s.value, map[string]string{s.name: s.value}, env)
			}
			check("an empty variable says nothing", v, nil, map[string]string{"PICCOLO_CONFIG": path, s.env(): ""})
		})
	}
}

func TestConfigFlagWinsOverVariable(t *testing.T) {
	a, b := writeFile(t, "log_level: warn"), writeFile(t, "log_level: error")
	got, err := resolve(from(map[string]string{"config": a}), from(map[string]string{"PICCOLO_CONFIG": b}))
	if err != nil || got["log-level"] != "warn" {
		t.Fatalf("%v, %v", got["log-level"], err)
	}
}

func TestBadSettingsNameTheirSource(t *testing.T) {
	path := writeFile(t, "# comment\nlog_level: loud\n")
	for _, tc := range []struct {
		name       string
		flags, env map[string]string
		want       string
	}{
		{"flag", map[string]string{"api-port": "70000"}, nil, `flag --api-port: "70000" is not a port: use 1 to 65535`},
		{"port 0", map[string]string{"api-port": "0"}, nil, `flag --api-port: "0" is not a port`},
		{"port in words", map[string]string{"gossip-port": "http"}, nil, `"http" is not a port`},
		{"environment", nil, map[string]string{"PICCOLO_OUTPUT": "xml"}, `PICCOLO_OUTPUT: "xml" is not one of table, wide, json, yaml`},
		{"file", map[string]string{"config": path}, nil, path + `:2: log_level: "loud" is not one of`},
		{"relative path", map[string]string{"data-dir": "here"}, nil, `flag --data-dir: "here" is not an absolute path`},
		{"path with control character", map[string]string{"data-dir": "/a\nb"}, nil, "control character"},
		{"long path", map[string]string{"data-dir": "/" + strings.Repeat("a", 2000)}, nil, "2001 bytes long"},
		{"server without https", map[string]string{"server": "http://a"}, nil, "is not a server"},
		{"server with path", map[string]string{"server": "https://a/b"}, nil, "is not a server"},
		{"server with user", map[string]string{"server": "https://u:p@a"}, nil, "no user, query or fragment"},
		{"missing named file", map[string]string{"config": "/does/not/exist.yaml"}, nil, "read configuration: open /does/not/exist.yaml"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := resolve(from(tc.flags), from(tc.env))
			if err == nil || !strings.Contains(err.Error(), tc.want) || classify(err).Kind != api.KindInvalid {
				t.Errorf("%v (%v), want %s", err, classify(err).Kind, tc.want)
			}
		})
	}
}

func TestFileErrors(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"unknown key", "data_dir: /a\n\nlog_lvel: info\n", `f:3: unknown key "log_lvel" (did you mean "log_level"?)`},
		{"dash instead of underscore", "data-dir: /a\n", `f:1: unknown key "data-dir" (did you mean "data_dir"?)`},
		{"nothing near", "zzz: 1\n", `f:1: unknown key "zzz" (known keys are: data_dir, `},
		{"twice", "data_dir: /a\ndata_dir: /b\n", `f:2: key "data_dir" is there twice`},
		{"list", "data_dir: [/a]\n", "f:1: data_dir must be a single value"},
		{"not a map", "- a\n", "f:1: the file must be lines of key: value"},
		{"not YAML", "a: b: c\n", "read configuration: f:1: mapping values are not allowed"},
		{"not YAML further down", "data_dir: /a\n\nb: [\n", "read configuration: f:3: did not find"},
		{"unknown anchor", "data_dir: /a\nrun_dir: *q\n", "read configuration: f: yaml: unknown anchor 'q'"},
		{"two documents", "data_dir: /a\n---\ndata_dir: /b\n", "one document"},
		{"config in itself", "config: /a\n", `unknown key "config"`},
		{"alias", "data_dir: &a /a\nrun_dir: *a\n", "run_dir must be a single value"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := parseFile("f", []byte(tc.text))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %s", err, tc.want)
			}
		})
	}
	for _, empty := range []string{"", "\n", "# only a comment\n", "data_dir:\n", "---\n", "null\n"} {
		if got, err := parseFile("f", []byte(empty)); err != nil || len(got) != 0 {
			t.Errorf("%q: %v, %v", empty, got, err)
		}
	}
	if _, err := readFile(writeFile(t, strings.Repeat("#", maxFile+1)), true); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("huge file: %v", err)
	}
}

func TestUpdateFileKeepsWhatAPersonWrote(t *testing.T) {
	path := writeFile(t, "# mine\ndata_dir: /a # old\n#api_port: 7443\nlog_level: warn\n")
	set := map[string]string{"data_dir": "/b: c", "api_port": "7444"}
	if err := updateFile(path, set); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := "# mine\ndata_dir: '/b: c'\n#api_port: 7443\nlog_level: warn\napi_port: 7444\n"
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
	before, _ := os.Stat(path)
	if err := updateFile(path, set); err != nil {
		t.Fatal(err)
	}
	if after, _ := os.Stat(path); !os.SameFile(before, after) {
		t.Error("the file was written again though nothing changed")
	}
	if err := updateFile(filepath.Join(t.TempDir(), "new", "f.yaml"), nil); err != nil {
		t.Error(err)
	}
	odd := writeFile(t, "{data_dir: /a}\n")
	if err := updateFile(odd, map[string]string{"run_dir": "/r"}); err == nil || !strings.Contains(err.Error(), "by hand") {
		t.Errorf("flow style: %v", err)
	}
}

func TestHelpAndVersionWorkWithABrokenFile(t *testing.T) {
	path := writeFile(t, "nonsense: 1\n")
	for _, args := range [][]string{{"version"}, {"version", "-o", "json"}, {"completion", "bash"}, {"init", "--help"}, {"help", "init"}, {"--version"}} {
		var out, errs bytes.Buffer
		code := Run(context.Background(), append([]string{"piccolo"}, args...), Streams{Out: &out, Err: &errs},
			Environment{Lookup: from(map[string]string{"PICCOLO_CONFIG": path}), Build: Build{Version: "v1"}})
		if code != 0 || out.Len() == 0 || errs.Len() > 0 {
			t.Errorf("%v: exit %d, %s", args, code, errs.String())
		}
	}
}

func TestSpans(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	for d, want := range map[time.Duration]string{
		0: "now", 999 * time.Millisecond: "now", 3 * time.Second: "3s ago", 119 * time.Second: "119s ago", 2 * time.Minute: "2m ago",
		119 * time.Minute: "119m ago", 3 * time.Hour: "3h ago", 48 * time.Hour: "2d ago", -500 * time.Millisecond: "now", -time.Hour: "in 60m", -30 * 24 * time.Hour: "in 30d",
	} {
		if got := ago(now.Add(-d), now); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
	if got := ago(time.Time{}, now); got != "-" {
		t.Errorf("no time: %q", got)
	}
}

func TestPlainTakesOutWhatSteersATerminal(t *testing.T) {
	if got := plain("a\x1b[31mb\x07\u202ec\r\nd\te\u009bf"); got != "a[31mbc d ef" {
		t.Errorf("%q", got)
	}
}

func FuzzConfigFile(f *testing.F) {
	for _, s := range []string{"data_dir: /a\nlog_level: info\n", "a: b: c", "{}", "? x\n: y", "&a [*a]", "data_dir: !!binary aGk=\n", "\xff\xfe", "api_port: 7443 # x"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := parseFile("f", text)
		if err != nil {
			return
		}
		for key, e := range got {
			if e.line < 1 {
				t.Errorf("key %q has no line", key)
			}
		}
		// What can be read can be updated, or is refused without a change.
		set := map[string]string{"data_dir": "/x", "log_level": "warn"}
		updated, err := setKeys(text, set)
		if err != nil {
			return
		}
		after, err := parseFile("f", updated)
		if err != nil {
			t.Fatalf("%q became unreadable as %q: %v", text, updated, err)
		}
		for key, e := range got {
			if want, changed := set[key]; changed && after[key].value != want || !changed && after[key].value != e.value {
				t.Errorf("%s: %q after %q", key, after[key].value, e.value)
			}
		}
	})
}

func FuzzContexts(f *testing.F) {
	f.Add([]byte("current: a\ncontexts:\n- name: a\n  server: https://a:7443\n  token: pica.x\n"))
	f.Add([]byte("contexts: 3"))
	f.Add([]byte("token: SECRET"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := parseContexts("f", text)
		if err != nil {
			return
		}
		for _, s := range c.Contexts {
			_ = c.tokenFor(s.Server)
		}
		c.put(savedContext{Name: "a", Server: "https://a"})
		if s, ok := c.find("a"); !ok || s.Server != "https://a" {
			t.Error("what was put is not found")
		}
	})
}

func FuzzTopologyFile(f *testing.F) {
	f.Add([]byte("name: farm\ntype: basic\nconfig: {heartbeat_interval: 10s, log_level: info, approval: token}\n"))
	f.Add([]byte(`{"name":"farm","color":"red"}`))
	f.Add([]byte("? [a]\n: b"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if got, err := parseTopology("f", text); err == nil && got.Validate() != nil {
			t.Error("an invalid topology was accepted")
		}
	})
}
