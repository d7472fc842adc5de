package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// program makes a program that uses one module, which has these files, and
// moves into its directory.
func program(t *testing.T, dependency map[string]string) {
	t.Helper()
	dir := t.TempDir()
	all := map[string]string{
		"go.mod":        "module example.com/program\n\ngo 1.26\n\nrequire example.com/part v1.2.3\n\nreplace example.com/part => ./part\n",
		"main.go":       "package main\n\nimport _ \"example.com/part/inner\"\n\nfunc main() {}\n",
		"LICENSE":       "the program's own",
		"part/go.mod":   "module example.com/part\n",
		"part/used.go":  "package part\n",
		"part/unused/x": "",
	}
	for name, text := range dependency {
		all["part/"+name] = text
	}
	for name, text := range all {
		if err := put(filepath.Join(dir, name), []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	t.Setenv("GOFLAGS", "-mod=mod")
}

func TestCollects(t *testing.T) {
	program(t, map[string]string{
		"inner/inner.go": "package inner\n", "inner/COPYING": "inner terms", "LICENSE-MIT.txt": "outer terms", "NOTICE": "notice",
		"unused/LICENSE": "of what is not linked in", "license.go": "package part\n",
	})
	out := filepath.Join(t.TempDir(), "licenses")
	if err := run([]string{"-out", out, "."}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"example.com/part/inner/COPYING": "inner terms", "example.com/part/LICENSE-MIT.txt": "outer terms", "example.com/part/NOTICE": "notice",
	} {
		if text, err := os.ReadFile(filepath.Join(out, name)); err != nil || string(text) != want {
			t.Errorf("%s: %q, %v; want %q", name, text, err, want)
		}
	}
	for _, name := range []string{"example.com/program", "example.com/part/unused", "example.com/part/license.go"} {
		if _, err := os.Stat(filepath.Join(out, name)); err == nil {
			t.Errorf("%s is there", name)
		}
	}
	if text, err := os.ReadFile(filepath.Join(out, "go/LICENSE")); err != nil || !strings.Contains(string(text), "The Go Authors") {
		t.Errorf("licence of Go: %q, %v", text, err)
	}
	if text, err := os.ReadFile(filepath.Join(out, "modules.txt")); err != nil || !strings.Contains(string(text), "\nexample.com/part v1.2.3\n") {
		t.Errorf("modules.txt: %q, %v", text, err)
	}
}

func TestModuleWithoutLicence(t *testing.T) {
	program(t, map[string]string{"inner/inner.go": "package inner\n", "AUTHORS": "somebody"})
	out := filepath.Join(t.TempDir(), "licenses")
	if err := run([]string{"-out", out, "."}); err == nil || !strings.Contains(err.Error(), "example.com/part v1.2.3 has no licence") {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("the directory was made all the same")
	}
}
