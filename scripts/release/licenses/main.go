package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "licenses:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("licenses", flag.ExitOnError)
	tags := flags.String("tags", "", "build `tags` of the program")
	out := flags.String("out", "", "`directory` to be made")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *out == "" || flags.NArg() != 1 {
		return errors.New("usage: licenses [-tags TAGS] -out DIR PACKAGE")
	}
	modules, err := linked(*tags, flags.Arg(0))
	if err != nil {
		return fmt.Errorf("list what is linked into %s: %w", flags.Arg(0), err)
	}
	if err := write(*out, modules); err != nil {
		return fmt.Errorf("write licences to %s: %w", *out, err)
	}
	return nil
}

// module is what one folder of the output is about.
type module struct {
	path, version string
	// files by their path in the module, absolute path as the value.
	files map[string]string
}

// goPackage is the part of `go list -json` that is needed.
type goPackage struct {
	Dir      string
	Standard bool
	Module   *struct {
		Path, Version, Dir string
		Main               bool
	}
}

// linked returns the modules of a program in the order of their paths, Go
// itself included and the program's own module left out.
func linked(tags, program string) ([]module, error) {
	packages, err := list(tags, program)
	if err != nil {
		return nil, err
	}
	goRoot, err := command("env", "GOROOT")
	if err != nil {
		return nil, err
	}
	goVersion, err := command("env", "GOVERSION")
	if err != nil {
		return nil, err
	}
	golang := module{path: "go", version: goVersion, files: map[string]string{}}
	if err := golang.collect(goRoot, goRoot); err != nil {
		return nil, err
	}
	found := map[string]module{"go": golang}
	for _, p := range packages {
		if p.Standard || p.Module == nil || p.Module.Main {
			continue
		}
		m, ok := found[p.Module.Path]
		if !ok {
			m = module{path: p.Module.Path, version: p.Module.Version, files: map[string]string{}}
			found[m.path] = m
		}
		if err := m.collect(p.Dir, p.Module.Dir); err != nil {
			return nil, err
		}
	}
	for _, m := range found {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(m.files)), func(rel string) bool { return license.MatchString(filepath.Base(rel)) }) {
			return nil, fmt.Errorf("%s %s has no licence file", m.path, m.version)
		}
	}
	return slices.SortedFunc(maps.Values(found), func(a, b module) int { return cmp.Compare(a.path, b.path) }), nil
}

func list(tags, program string) ([]goPackage, error) {
	text, err := command("list", "-deps", "-tags", tags, "-json=Dir,Standard,Module", program)
	if err != nil {
		return nil, err
	}
	var out []goPackage
	for in := json.NewDecoder(strings.NewReader(text)); ; {
		var p goPackage
		switch err := in.Decode(&p); {
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return nil, fmt.Errorf("read the answer of go list: %w", err)
		}
		out = append(out, p)
	}
}

// command runs the go command and returns what it prints.
func command(args ...string) (string, error) {
	var said bytes.Buffer
	cmd := exec.Command("go", args...)
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w: %s", args[0], err, strings.TrimSpace(said.String()))
	}
	return strings.TrimSpace(string(out)), nil
}

var (
	// license matches the files that say on what terms code is given.
	license = regexp.MustCompile(`(?i)^(licen[cs]e|copying|unlicense)([-._].*)?$`)
	// notice matches those that must be passed on with it.
	notice = regexp.MustCompile(`(?i)^(copyright|notice|patents|authors)([-._].*)?$`)
)

// collect takes the licence files from dir up to the module's root: a package
// that came from elsewhere often brings its own.
func (m module) collect(dir, root string) error {
	for ; ; dir = filepath.Dir(dir) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			name := e.Name()
			if !e.Type().IsRegular() || filepath.Ext(name) == ".go" || !license.MatchString(name) && !notice.MatchString(name) {
				continue
			}
			path := filepath.Join(dir, name)
			rel, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			m.files[rel] = path
		}
		if dir == root {
			return nil
		}
		if !strings.HasPrefix(dir, root+string(filepath.Separator)) {
			return fmt.Errorf("%s is not below %s", dir, root)
		}
	}
}

// write makes the directory anew.
func write(out string, modules []module) error {
	if err := os.RemoveAll(out); err != nil {
		return err
	}
	index := &strings.Builder{}
	fmt.Fprint(index, "Piccolo contains the following, each on the terms in the folder of its name.\n"+
		"`go mod download MODULE@VERSION` fetches the unchanged source of a module.\n\n")
	for _, m := range modules {
		fmt.Fprintln(index, m.path, m.version)
		for rel, path := range m.files {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if err := put(filepath.Join(out, filepath.FromSlash(m.path), rel), text); err != nil {
				return err
			}
		}
	}
	return put(filepath.Join(out, "modules.txt"), []byte(index.String()))
}

func put(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o644)
}
