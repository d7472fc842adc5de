package node

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "piccolo.io/piccolo"

// rooms are the parts that know nothing of each other nor of a node.
var rooms = []string{"topology", "store", "gossip", "podman", "readiness"}

// imports is the table of who may not import whom, directly or through others.
// A path stands for itself and all below it.
var imports = []struct {
	who   string
	never []string
	why   string
}{
	{"topology", []string{"store", "gossip", "podman", "readiness", "node", "scripts"}, "topology imports only the standard library"},
	{"store", []string{"gossip", "podman", "readiness", "node"}, "rooms never import each other"},
	{"gossip", []string{"store", "podman", "readiness", "node"}, "rooms never import each other"},
	{"podman", []string{"store", "gossip", "readiness", "node"}, "rooms never import each other"},
	{"readiness", []string{"store", "gossip", "podman", "node"}, "rooms never import each other"},
	{"node/agent", []string{"node/master", "node/api"}, "agent, master and api meet in node's wiring"},
	{"node/master", []string{"node/agent", "node/api"}, "agent, master and api meet in node's wiring"},
	{"node/api", []string{"node/agent", "node/master"}, "agent, master and api meet in node's wiring"},
	{"node/workload", []string{"store", "gossip", "podman", "readiness", "node/agent", "node/master", "node/api", "node/auth", "node/pki"}, "workload is pure"},
	{"node/auth", []string{"store", "gossip", "podman", "readiness", "node/agent", "node/master", "node/api"}, "auth knows only who and what"},
	{"node/pki", []string{"store", "gossip", "podman", "readiness", "node/agent", "node/master", "node/api"}, "pki knows only keys and certificates"},
}

// owners is the table of libraries: only below the named folders may one be
// imported.
var owners = []struct {
	library string
	rooms   []string
}{
	{"go.etcd.io/", []string{"store"}},
	{"github.com/hashicorp/memberlist", []string{"gossip"}},
	{"github.com/containers/podman", []string{"podman"}},
	{"go.podman.io/", []string{"podman"}},
	{"github.com/urfave/", []string{"node/cli"}},
	{"google.golang.org/grpc", []string{"node/api/rpc", "node/api/client", "node/api/piccolov1"}},
	{"github.com/compose-spec/compose-go", []string{"node/workload/compose"}},
	{"github.com/shirou/gopsutil", []string{"readiness", "node/agent"}},
}

// topLevel is all that may lie in the module's root beside what is built.
var topLevel = []string{
	".ci", ".git", ".gitignore", "LICENSE", "Makefile", "README.md", "docs", "go.mod", "go.sum", "gossip", "main.go", "node", "podman",
	"readiness", "scripts", "store", "testdata", "topology",
}

var built = []string{"bin", "dist", ".lab", "bench.json"}

const maxLines = 400

// source is one Go file of the module.
type source struct {
	name    string // from the root, with slashes
	dir     string // "." for the root
	test    bool
	lines   int
	file    *ast.File
	imports []string
}

// sources parses every Go file of the module, whatever its build tags.
func sources(t *testing.T) []source {
	t.Helper()
	var out []source
	err := filepath.WalkDir("..", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || d.Name() == ".git" || slices.Contains(built, d.Name())) {
			return filepath.SkipDir
		}
		if d.IsDir() || filepath.Ext(name) != ".go" {
			return nil
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, b, parser.ParseComments)
		if err != nil {
			return err
		}
		s := source{name: strings.TrimPrefix(filepath.ToSlash(name), "../"), file: f, lines: strings.Count(string(b), "\n")}
		s.dir, s.test = path.Dir(s.name), strings.HasSuffix(name, "_test.go")
		for _, spec := range f.Imports {
			to, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			s.imports = append(s.imports, to)
		}
		out = append(out, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 100 {
		t.Fatalf("only %d Go files were found: is the module's root not ..?", len(out))
	}
	return out
}

// below reports whether a path from the root is at or below folder.
func below(p, folder string) bool { return p == folder || strings.HasPrefix(p, folder+"/") }

// forTests reports whether a package is made for tests only.
func forTests(dir string) bool { return strings.HasSuffix(dir, "test") }

// inner is the path from the root of an import of this module.
func inner(to string) (string, bool) {
	if to == module {
		return ".", true
	}
	return strings.CutPrefix(to, module+"/")
}

// graph is which packages import which in this module, tests left out.
func graph(all []source) map[string]map[string]bool {
	g := map[string]map[string]bool{}
	for _, s := range all {
		if s.test {
			continue
		}
		if g[s.dir] == nil {
			g[s.dir] = map[string]bool{}
		}
		for _, to := range s.imports {
			if dir, ok := inner(to); ok {
				g[s.dir][dir] = true
			}
		}
	}
	return g
}

// deps is all that a package leads to, with the way there.
func deps(g map[string]map[string]bool, from string) map[string]string {
	way, todo := map[string]string{from: from}, []string{from}
	for len(todo) > 0 {
		dir := todo[0]
		todo = todo[1:]
		for _, next := range slices.Sorted(maps.Keys(g[dir])) {
			if _, seen := way[next]; !seen {
				way[next] = way[dir] + " → " + next
				todo = append(todo, next)
			}
		}
	}
	return way
}

func TestImportDirections(t *testing.T) {
	all := sources(t)
	g := graph(all)
	for _, rule := range imports {
		for _, dir := range slices.Sorted(maps.Keys(g)) {
			if !below(dir, rule.who) || forTests(dir) {
				continue
			}
			for to, way := range deps(g, dir) {
				if slices.ContainsFunc(rule.never, func(n string) bool { return below(to, n) }) {
					t.Errorf("%s: %s", way, rule.why)
				}
			}
		}
	}
	for _, s := range all {
		for _, to := range s.imports {
			dir, ours := inner(to)
			switch {
			case s.test:
			case s.dir == "topology" && (ours || strings.Contains(to, ".")):
				t.Errorf("%s imports %s: topology imports only the standard library", s.name, to)
			case s.dir == "." && ours && dir != "node/cli":
				t.Errorf("%s imports %s: main knows only node/cli", s.name, to)
			case ours && below(dir, "node/cli") && s.dir != "." && !below(s.dir, "node/cli"):
				t.Errorf("%s imports %s: only main does", s.name, to)
			case ours && dir == "node" && !below(s.dir, "node/cli") && !below(s.dir, "scripts") && !forTests(s.dir):
				t.Errorf("%s imports %s: only node/cli does", s.name, to)
			case ours && forTests(dir) && !forTests(s.dir):
				t.Errorf("%s imports %s: that is for tests only", s.name, to)
			}
		}
	}
}

func TestLibraryOwners(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || forTests(s.dir) {
			continue
		}
		for _, to := range s.imports {
			for _, o := range owners {
				owned := slices.ContainsFunc(o.rooms, func(room string) bool { return below(s.dir, room) })
				if strings.HasPrefix(to, o.library) && !owned {
					t.Errorf("%s imports %s, which belongs to %v", s.name, to, o.rooms)
				}
			}
		}
	}
}

func TestPackages(t *testing.T) {
	all := sources(t)
	documented := map[string]bool{}
	for _, s := range all {
		if doc := s.file.Doc; doc != nil && (path.Base(s.name) == "doc.go" || s.name == "main.go") && len(doc.Text()) > 20 {
			documented[s.dir] = true
		}
	}
	for _, s := range all {
		if name := strings.TrimSuffix(s.file.Name.Name, "_test"); slices.Contains([]string{"util", "utils", "common", "helper", "helpers", "types", "misc"}, name) {
			t.Errorf("%s: package %s says nothing", s.name, name)
		}
		if !documented[s.dir] && !s.test {
			t.Errorf("%s has no doc.go with the package's comment", s.dir)
			documented[s.dir] = true // say it once
		}
		if ast.IsGenerated(s.file) {
			continue
		}
		if s.lines > maxLines {
			t.Errorf("%s has %d lines, more than %d", s.name, s.lines, maxLines)
		}
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s has an init function", s.name)
			}
		}
	}
}

func TestTopLevel(t *testing.T) {
	entries, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !slices.Contains(topLevel, e.Name()) && !slices.Contains(built, e.Name()) {
			t.Errorf("%s does not belong in the root: a new capability gets a room inside node/", e.Name())
		}
	}
}

// TestRulesCatch: the rules themselves must be able to fail.
func TestRulesCatch(t *testing.T) {
	g := map[string]map[string]bool{"store": {"node/auth": true}, "node/auth": {"gossip": true}}
	if way := deps(g, "store")["gossip"]; way != "store → node/auth → gossip" {
		t.Errorf("an import through another package is not seen: %q", way)
	}
	for _, room := range rooms {
		if !slices.ContainsFunc(imports, func(r struct {
			who   string
			never []string
			why   string
		}) bool {
			return r.who == room && slices.Contains(r.never, "node")
		}) {
			t.Errorf("no rule keeps %s from importing node", room)
		}
	}
	if !below("node/api/rest", "node/api") || below("node/apis", "node/api") {
		t.Error("below is wrong")
	}
}
