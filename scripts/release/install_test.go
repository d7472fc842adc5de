package release

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What install.sh puts on a machine, apart from the licences.
var installed = []string{
	"usr/local/bin/piccolo",
	"etc/systemd/system/piccolo.service",
	"etc/piccolo/piccolo.yaml",
	"usr/local/share/bash-completion/completions/piccolo",
	"usr/local/share/zsh/site-functions/_piccolo",
	"usr/local/share/fish/vendor_completions.d/piccolo.fish",
	"usr/local/share/piccolo/LICENSE",
	"usr/local/share/piccolo/RELEASE",
	"usr/local/share/piccolo/install.md",
	"usr/local/share/piccolo/install.sh",
	"usr/local/share/piccolo/piccolo.yaml",
	"usr/local/share/piccolo/licenses/modules.txt",
}

// tree makes what a tarball for arch holds, with a script for a program.
func tree(t *testing.T, arch string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "piccolo-v1-linux-"+arch)
	script, err := os.ReadFile("install.sh")
	if err != nil {
		t.Fatal(err)
	}
	sums := ""
	for name, text := range map[string]string{
		"piccolo": "#!/bin/sh\necho piccolo v1\n", "install.sh": string(script), "RELEASE": "version=v1\narch=" + arch + "\n",
		"piccolo.service": "[Service]\n", "piccolo.yaml": "# nothing\n", "LICENSE": "free\n", "install.md": "# Installing\n",
		"completions/piccolo.bash": "b\n", "completions/_piccolo": "z\n", "completions/piccolo.fish": "f\n", "licenses/modules.txt": "go\n",
	} {
		write(t, filepath.Join(dir, name), text, 0o644)
		sums += fmt.Sprintf("%x  %s\n", sha256.Sum256([]byte(text)), name)
	}
	write(t, filepath.Join(dir, "SHA256SUMS"), sums, 0o644)
	return dir
}

// pack makes the tarball and the SHA256SUMS beside it.
func pack(t *testing.T, dir string) string {
	t.Helper()
	tarball := dir + ".tar.gz"
	command{args: []string{"tar", "-czf", tarball, "-C", filepath.Dir(dir), filepath.Base(dir)}}.must(t)
	text, err := os.ReadFile(tarball)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(filepath.Dir(dir), "SHA256SUMS"), fmt.Sprintf("%x  %s\n", sha256.Sum256(text), filepath.Base(tarball)), 0o644)
	return tarball
}

// onMachine is the environment of a machine whose `uname -m` says this.
func onMachine(t *testing.T, machine string) []string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "uname"), "#!/bin/sh\necho "+machine+"\n", 0o755)
	return []string{"PATH=" + dir + ":" + os.Getenv("PATH")}
}

// files of a directory: path below it, mode and content.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		out[rel] = info.Mode().String() + " " + string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestInstall(t *testing.T) {
	amd64 := onMachine(t, "x86_64")
	dir, root := tree(t, "amd64"), t.TempDir()
	install := func(args ...string) string {
		t.Helper()
		return command{env: amd64, args: append([]string{"sh", filepath.Join(dir, "install.sh"), "--destdir", root}, args...)}.must(t)
	}
	expect(t, "install", install(), "installed piccolo v1 (amd64)")
	first := files(t, root)
	if len(first) != len(installed) {
		t.Errorf("%d files are installed, want %d: %v", len(first), len(installed), first)
	}
	for _, path := range installed {
		mode, _, ok := strings.Cut(first[path], " ")
		want := "-rw-r--r--"
		if path == "usr/local/bin/piccolo" {
			want = "-rwxr-xr-x"
		}
		if !ok || mode != want {
			t.Errorf("%s: mode %q, want %s", path, mode, want)
		}
	}

	expect(t, "install again", install(), "kept "+root+"/etc/piccolo/piccolo.yaml")
	if again := files(t, root); fmt.Sprint(again) != fmt.Sprint(first) {
		t.Errorf("a second install changed something: %v, before %v", again, first)
	}

	// What a person and the node wrote stays, until it is purged.
	write(t, filepath.Join(root, "etc/piccolo/piccolo.yaml"), "log_level: debug\n", 0o644)
	write(t, filepath.Join(root, "var/lib/piccolo/node.key"), "key\n", 0o600)
	write(t, filepath.Join(root, "etc/systemd/system/piccolo.service.d/machine.conf"), "[Service]\n", 0o644)
	install(pack(t, dir))
	said := install("--uninstall")
	expect(t, "uninstall", said, "kept the node's identity and data in "+root+"/var/lib/piccolo")
	expect(t, "uninstall", said, "kept "+root+"/etc/piccolo/piccolo.yaml")
	left := files(t, root)
	if len(left) != 2 || !strings.Contains(left["etc/piccolo/piccolo.yaml"], "debug") || left["var/lib/piccolo/node.key"] == "" {
		t.Errorf("after the removal there are %v", left)
	}
	install("--uninstall", "--purge")
	install("--uninstall")
	if left := files(t, root); len(left) != 0 {
		t.Errorf("after the purge there are %v", left)
	}
	if _, err := os.Stat(filepath.Join(root, "var/lib/piccolo")); err == nil {
		t.Error("the data directory is there after the purge")
	}
}

// A configuration that nobody touched goes with the rest.
func TestUninstallRemovesTemplate(t *testing.T) {
	dir, root := tree(t, "amd64"), t.TempDir()
	for _, args := range [][]string{{}, {"--uninstall"}} {
		command{env: onMachine(t, "x86_64"), args: append([]string{"sh", filepath.Join(dir, "install.sh"), "--destdir", root}, args...)}.must(t)
	}
	if left := files(t, root); len(left) != 0 {
		t.Errorf("after the removal there are %v", left)
	}
}

func TestInstallArchitecture(t *testing.T) {
	for _, test := range []struct {
		machine, loader, arch string
		refusal               string
	}{
		{machine: "x86_64", arch: "amd64"},
		{machine: "aarch64", arch: "arm64"},
		{machine: "aarch64", loader: "ld-linux-aarch64.so.1", arch: "arm64"},
		{machine: "aarch64", loader: "ld-linux-armhf.so.3", arch: "armv7"},
		{machine: "aarch64", loader: "ld-linux-armhf.so.3", arch: "armv6"},
		{machine: "armv7l", arch: "armv7"},
		{machine: "armv8l", arch: "armv7"},
		{machine: "armv7l", arch: "armv6"},
		{machine: "armv6l", arch: "armv6"},
		{machine: "armv6l", arch: "armv7", refusal: "this is the armv7 tarball, and armv6l needs the armv6 one"},
		{machine: "aarch64", loader: "ld-linux-armhf.so.3", arch: "arm64", refusal: "needs the armv7 one"},
		{machine: "aarch64", arch: "armv7", refusal: "needs the arm64 one"},
		{machine: "x86_64", arch: "arm64", refusal: "needs the amd64 one"},
		{machine: "mips", arch: "arm64", refusal: "there is no Piccolo for mips"},
	} {
		t.Run(test.arch+" on "+test.machine+" "+test.loader, func(t *testing.T) {
			dir, root := tree(t, test.arch), t.TempDir()
			if test.loader != "" {
				write(t, filepath.Join(root, "lib", test.loader), "", 0o755)
			}
			r := command{env: onMachine(t, test.machine), args: []string{"sh", filepath.Join(dir, "install.sh"), "--destdir", root}}.run(t)
			_, err := os.Stat(filepath.Join(root, "usr/local/bin/piccolo"))
			if test.refusal == "" {
				if r.code != 0 || err != nil {
					t.Errorf("exit code %d, program %v: %s", r.code, err, r.stderr)
				}
				return
			}
			expect(t, "refusal", r.stderr, test.refusal)
			if r.code != 1 || err == nil {
				t.Errorf("exit code %d, want 1; program: %v", r.code, err)
			}
		})
	}
}

func TestInstallRefusals(t *testing.T) {
	damage := func(t *testing.T, path string) {
		write(t, path, "damaged\n", 0o644)
	}
	for name, test := range map[string]struct {
		prepare func(t *testing.T, dir, tarball string)
		args    func(dir, tarball string) []string
		code    int
		says    string
	}{
		"damaged tarball": {
			prepare: func(t *testing.T, _, tarball string) { damage(t, tarball) },
			code:    1, says: "the checksum is wrong, download it again: piccolo-v1-linux-amd64.tar.gz: FAILED",
		},
		"damaged tarball without checksums": {
			prepare: func(t *testing.T, dir, tarball string) {
				damage(t, tarball)
				if err := os.Remove(filepath.Join(filepath.Dir(dir), "SHA256SUMS")); err != nil {
					t.Fatal(err)
				}
			},
			code: 1, says: "is no tarball",
		},
		"tarball without a checksum": {
			prepare: func(t *testing.T, dir, _ string) {
				write(t, filepath.Join(filepath.Dir(dir), "SHA256SUMS"), "00  other\n", 0o644)
			},
			code: 1, says: "does not name piccolo-v1-linux-amd64.tar.gz",
		},
		"damaged program": {
			prepare: func(t *testing.T, dir, _ string) { damage(t, filepath.Join(dir, "piccolo")) },
			args:    func(string, string) []string { return nil },
			code:    1, says: "piccolo: FAILED",
		},
		"not unpacked": {
			prepare: func(t *testing.T, dir, _ string) {
				if err := os.Remove(filepath.Join(dir, "RELEASE")); err != nil {
					t.Fatal(err)
				}
			},
			args: func(string, string) []string { return nil },
			code: 2, says: "give the tarball as the argument",
		},
		"no such tarball":        {args: func(dir, _ string) []string { return []string{dir + "/none"} }, code: 2, says: "no file"},
		"unknown option":         {args: func(string, string) []string { return []string{"--fast"} }, code: 2, says: `unknown option "--fast"`},
		"purge alone":            {args: func(string, string) []string { return []string{"--purge"} }, code: 2, says: "--purge goes with --uninstall"},
		"two tarballs":           {args: func(_, tarball string) []string { return []string{tarball, tarball} }, code: 2, says: "one tarball is enough"},
		"uninstall of a tarball": {args: func(_, tarball string) []string { return []string{"--uninstall", tarball} }, code: 2, says: "takes no tarball"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, root := tree(t, "amd64"), t.TempDir()
			tarball := pack(t, dir)
			if test.prepare != nil {
				test.prepare(t, dir, tarball)
			}
			args := []string{tarball}
			if test.args != nil {
				args = test.args(dir, tarball)
			}
			r := command{env: onMachine(t, "x86_64"), args: append([]string{"sh", filepath.Join(dir, "install.sh"), "--destdir", root}, args...)}.run(t)
			if r.code != test.code {
				t.Errorf("exit code %d, want %d", r.code, test.code)
			}
			expect(t, "message", r.stderr, test.says)
			if found := files(t, root); len(found) != 0 {
				t.Errorf("something was installed: %v", found)
			}
		})
	}
}
