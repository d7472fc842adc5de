package release

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestUninstallOfAMember: the cluster is not told by the removal, so a person
// is.
func TestUninstallOfAMember(t *testing.T) {
	const told = "the cluster still lists this node: piccolo node rm board7 on its master"
	for _, test := range []struct {
		name, text string
		args       []string
		told       bool
	}{
		{"sub", "{\n  \"version\": 1,\n  \"id\": \"n-1\",\n  \"name\": \"board7\",\n  \"role\": \"sub\"\n}\n", nil, true},
		{"sub, purged", "{\n  \"name\": \"board7\",\n  \"role\": \"sub\"\n}\n", []string{"--purge"}, true},
		{"master", "{\n  \"name\": \"board7\",\n  \"role\": \"master\"\n}\n", nil, false},
		{"member of nothing", "", nil, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir, root := tree(t, "amd64"), t.TempDir()
			script := []string{"sh", filepath.Join(dir, "install.sh"), "--destdir", root}
			env := onMachine(t, "x86_64")
			command{env: env, args: script}.must(t)
			if test.text != "" {
				write(t, filepath.Join(root, "var/lib/piccolo/node.json"), test.text, 0o600)
			}
			said := command{env: env, args: append(append(script, "--uninstall"), test.args...)}.must(t)
			if strings.Contains(said, told) != test.told {
				t.Errorf("%s", said)
			}
		})
	}
}
