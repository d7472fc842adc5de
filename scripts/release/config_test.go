package release

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"piccolo.io/piccolo/node/cli"
)

// piccolo runs the command line in this process.
func piccolo(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, talk bytes.Buffer
	code = cli.Run(t.Context(), append([]string{"piccolo"}, args...), cli.Streams{In: strings.NewReader(""), Out: &out, Err: &talk}, cli.Environment{})
	return code, out.String(), talk.String()
}

// template returns the lines of piccolo.yaml that are settings, uncommented,
// by their keys.
func template(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("piccolo.yaml")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^#([a-z_]+): (.+)$`).FindAllStringSubmatch(string(text), -1) {
		out[m[1]] = m[2]
	}
	return out
}

func write(t *testing.T, path, text string, mode os.FileMode) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// The template has every setting that the help shows, with its default, and
// no other.
func TestConfigTemplate(t *testing.T) {
	_, help, _ := piccolo(t, "--help")
	want := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^ +--([a-z-]+) .*\[\$PICCOLO_[A-Z_]+\](?: +\(default: (.*)\))?`).FindAllStringSubmatch(help, -1) {
		if m[1] != "config" {
			want[strings.ReplaceAll(m[1], "-", "_")] = m[2]
		}
	}
	if len(want) == 0 {
		t.Fatalf("the help shows no settings: %s", help)
	}
	have := template(t)
	for key, value := range have {
		have[key] = strings.Trim(value, `"`)
	}
	if !maps.Equal(have, want) {
		t.Errorf("piccolo.yaml says %v, the program's defaults are %v", have, want)
	}
}

// Each line of the template can be uncommented.
func TestConfigTemplateIsAccepted(t *testing.T) {
	text, err := os.ReadFile("piccolo.yaml")
	if err != nil {
		t.Fatal(err)
	}
	lines := template(t)
	all := ""
	for _, key := range slices.Sorted(maps.Keys(lines)) {
		all += key + ": " + lines[key] + "\n"
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"as it is": string(text), "uncommented": all} {
		path := write(t, filepath.Join(dir, "piccolo.yaml"), text, 0o644)
		if code, _, stderr := piccolo(t, "--config", path, "context", "ls"); code != 0 {
			t.Errorf("%s: exit code %d: %s", name, code, stderr)
		}
	}
	path := write(t, filepath.Join(dir, "piccolo.yaml"), "no_such_key: 1\n", 0o644)
	if code, _, _ := piccolo(t, "--config", path, "context", "ls"); code != 2 {
		t.Errorf("an unknown key: exit code %d, want 2: the test above proves nothing", code)
	}
}
