package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/google/renameio/v2"
	"go.yaml.in/yaml/v3"

	"piccolo.io/piccolo/node/api"
)

// maxFile bounds a configuration file, in bytes.
const maxFile = 64 << 10

// entry is one line of the configuration file.
type entry struct {
	value string
	line  int
}

// readFile reads the configuration file. A missing one is empty unless
// somebody named it.
func readFile(path string, named bool) (map[string]entry, error) {
	text, err := readBounded(path, maxFile)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !named:
		return nil, nil
	case err != nil:
		return nil, api.Invalidf("read configuration: %w", err)
	}
	return parseFile(path, text)
}

func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, path, limit)
}

// readAll refuses what is larger than limit bytes.
func readAll(r io.Reader, name string, limit int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, limit)
	}
	return text, nil
}

// parseFile reads "key: value" lines; errors name file, line and key.
func parseFile(path string, text []byte) (map[string]entry, error) {
	var doc yaml.Node
	in := yaml.NewDecoder(bytes.NewReader(text))
	switch err := in.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, api.Invalidf("read configuration: %w", yamlError(path, err))
	case len(doc.Content) == 0:
		return nil, nil
	}
	if err := in.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, api.Invalidf("read configuration %s: there must be one document in it", path)
	}
	m := doc.Content[0]
	if m.Kind == yaml.ScalarNode && m.Tag == "!!null" {
		return nil, nil
	}
	if m.Kind != yaml.MappingNode {
		return nil, api.Invalidf("%s:%d: the file must be lines of key: value", path, m.Line)
	}
	known := fileKeys()
	out := map[string]entry{}
	for i := 0; i+1 < len(m.Content); i += 2 {
		key, value := m.Content[i], m.Content[i+1]
		if !slices.Contains(known, key.Value) || key.Kind != yaml.ScalarNode {
			e := api.Invalidf("%s:%d: unknown key %q", path, key.Line, shorten(key.Value))
			if near := nearest(strings.ReplaceAll(key.Value, "-", "_"), known); near != "" {
				return nil, e.WithHint("did you mean %q?", near)
			}
			return nil, e.WithHint("known keys are: %s", strings.Join(known, ", "))
		}
		if _, twice := out[key.Value]; twice {
			return nil, api.Invalidf("%s:%d: key %q is there twice", path, key.Line, key.Value)
		}
		if value.Kind != yaml.ScalarNode {
			return nil, api.Invalidf("%s:%d: %s must be a single value", path, value.Line, key.Value)
		}
		if value.Tag == "!!null" {
			continue // "key:" says nothing, as a commented line does
		}
		out[key.Value] = entry{value: value.Value, line: value.Line}
	}
	return out, nil
}

var yamlProblem = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)`)

// yamlError is a mistake in the writing of a file, with its line. yaml leaves
// that out where it is the first one.
func yamlError(path string, err error) error {
	m := yamlProblem.FindStringSubmatch(err.Error())
	switch {
	case m == nil, strings.HasPrefix(m[2], "unknown anchor"):
		return fmt.Errorf("%s: %w", path, err)
	case m[1] == "":
		m[1] = "1"
	}
	return fmt.Errorf("%s:%s: %s", path, m[1], m[2])
}

// fileKeys are the keys that a configuration file may have.
func fileKeys() []string {
	var out []string
	for _, s := range settingTable() {
		if s.name != "config" {
			out = append(out, s.key())
		}
	}
	return out
}

// keyLine writes one line of the file; numbers stay numbers.
func keyLine(key, value string) (string, error) {
	if n, err := strconv.Atoi(value); err == nil && strconv.Itoa(n) == value {
		return key + ": " + value, nil
	}
	quoted, err := yaml.Marshal(map[string]string{key: value})
	return strings.TrimRight(string(quoted), "\n"), err
}

// listOf writes settings as a person reads them.
func listOf(set map[string]string) string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(set)) {
		out = append(out, key+": "+set[key])
	}
	return strings.Join(out, ", ")
}

// updateFile sets keys in the configuration file and keeps everything else,
// comments too. Where nothing is to be changed the file is not touched.
func updateFile(path string, set map[string]string) error {
	text, err := readBounded(path, maxFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("write configuration: %w", err)
	}
	updated, err := setKeys(text, set)
	if err != nil {
		return fmt.Errorf("write configuration %s: %w", path, err)
	}
	if bytes.Equal(updated, text) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	if err := renameio.WriteFile(path, updated, 0o644); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return nil
}

// setKeys edits lines instead of printing a parsed document again, which
// would move a person's comments about.
func setKeys(text []byte, set map[string]string) ([]byte, error) {
	have, err := parseFile("configuration", text)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	if len(text) == 0 {
		lines = nil
	}
	changed := false
	for _, key := range fileKeys() {
		value, ok := set[key]
		if !ok || have[key].value == value && have[key].line > 0 {
			continue
		}
		line, err := keyLine(key, value)
		if err != nil {
			return nil, err
		}
		at := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, key+":") })
		changed = true
		if at < 0 {
			lines = append(lines, line)
			continue
		}
		lines[at] = line
	}
	if !changed {
		return text, nil
	}
	updated := []byte(strings.Join(lines, "\n") + "\n")
	after, err := parseFile("configuration", updated)
	if err != nil {
		return nil, fmt.Errorf("its form is too unusual to be edited: set %s by hand: %w", listOf(set), err)
	}
	for key, value := range set {
		if after[key].value != value {
			return nil, fmt.Errorf("its form is too unusual to be edited: set %s to %q by hand", key, value)
		}
	}
	return updated, nil
}
