//go:build lab

package release

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

const testVersion = "v0.0.1-test"

// releases are the tarballs of one test, each made when it is first needed: a
// build for another architecture takes a minute or more.
type releases struct {
	dir  string
	made map[string]string
}

// tarball returns the path of the tarball for arch.
func (r *releases) tarball(t *testing.T, arch string) string {
	t.Helper()
	if r.made[arch] == "" {
		dist := filepath.Join(r.dir, arch)
		command{dir: projectRoot(t), env: []string{"DIST=" + dist}, args: []string{"scripts/release/release", testVersion, arch}}.must(t)
		r.made[arch] = filepath.Join(dist, "piccolo-"+testVersion+"-linux-"+arch+".tar.gz")
	}
	return r.made[arch]
}

// program returns the content of the piccolo in the tarball for arch.
func (r *releases) program(t *testing.T, arch string) string {
	t.Helper()
	for _, e := range entries(t, r.tarball(t, arch)) {
		if strings.HasSuffix(e.name, "/piccolo") {
			return string(e.text)
		}
	}
	t.Fatalf("no piccolo in the %s tarball", arch)
	return ""
}

// TestRelease makes real tarballs, looks into them, and installs them on
// boards.
func TestRelease(t *testing.T) {
	// Boards get their piccolo from the tarball, and from nowhere else.
	t.Setenv("PICCOLO_BIN", "/nonexistent")
	r := &releases{dir: t.TempDir(), made: map[string]string{}}
	t.Run("Tarball", r.testTarball)
	t.Run("Reproducible", r.testReproducible)
	t.Run("Systemd", r.testSystemd)
	t.Run("ARM", r.testARM)
}

type entry struct {
	name string
	mode int64
	text []byte
}

// entries reads a tarball and checks what must be the same for all entries.
func entries(t *testing.T, path string) []entry {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var out []entry
	for in := tar.NewReader(unzipped); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "" || h.Gname != "" {
			t.Errorf("%s belongs to %d:%d (%s:%s)", h.Name, h.Uid, h.Gid, h.Uname, h.Gname)
		}
		text, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			out = append(out, entry{h.Name, h.Mode, text})
		}
	}
}

func (r *releases) testTarball(t *testing.T) {
	arch := runtime.GOARCH
	name := "piccolo-" + testVersion + "-linux-" + arch
	have, sums := map[string]entry{}, ""
	for _, e := range entries(t, r.tarball(t, arch)) {
		inside, ok := strings.CutPrefix(e.name, name+"/")
		if !ok {
			t.Errorf("%s is not below %s", e.name, name)
		}
		have[inside] = e
		if inside != "SHA256SUMS" {
			sums += fmt.Sprintf("%x  %s\n", sha256.Sum256(e.text), inside)
		}
	}
	if !sameLines(sums, string(have["SHA256SUMS"].text)) {
		t.Errorf("SHA256SUMS in the tarball is %s, want %s", have["SHA256SUMS"].text, sums)
	}
	for _, file := range []string{
		"piccolo", "install.sh", "piccolo.service", "piccolo.yaml", "install.md", "LICENSE", "RELEASE",
		"completions/piccolo.bash", "completions/_piccolo", "completions/piccolo.fish", "licenses/modules.txt",
	} {
		e := have[file]
		want := int64(0o644)
		if file == "piccolo" || file == "install.sh" {
			want = 0o755
		}
		if len(e.text) == 0 || e.mode != want {
			t.Errorf("%s: %d bytes, mode %o, want %o", file, len(e.text), e.mode, want)
		}
	}
	program := write(t, filepath.Join(t.TempDir(), "piccolo"), string(have["piccolo"].text), 0o755)
	expect(t, "version", command{args: []string{program, "version"}}.must(t), "piccolo "+testVersion+" linux/"+arch)
	r.licences(t, program, have)

	dist := filepath.Dir(r.tarball(t, arch))
	expect(t, "SHA256SUMS beside the tarball", command{dir: dist, args: []string{"sha256sum", "-c", "SHA256SUMS"}}.must(t), name+".tar.gz: OK")
}

// licences checks that every module that the program says it contains has its
// licence in the tarball.
func (r *releases) licences(t *testing.T, program string, have map[string]entry) {
	t.Helper()
	count := 0
	for line := range strings.Lines(command{args: []string{"go", "version", "-m", program}}.must(t)) {
		fields := strings.Fields(line)
		if len(fields) < 3 || fields[0] != "dep" {
			continue
		}
		count++
		expect(t, "list of modules", string(have["licenses/modules.txt"].text), "\n"+fields[1]+" "+fields[2]+"\n")
		found := false
		for name, e := range have {
			base := strings.ToUpper(filepath.Base(name))
			found = found || strings.HasPrefix(name, "licenses/"+fields[1]+"/") && len(e.text) > 100 &&
				(strings.HasPrefix(base, "LICEN") || strings.HasPrefix(base, "COPYING"))
		}
		if !found {
			t.Errorf("no licence of %s", fields[1])
		}
	}
	if count < 20 {
		t.Errorf("the program names %d modules, which cannot be all", count)
	}
	if len(have["licenses/go/LICENSE"].text) == 0 {
		t.Error("no licence of Go")
	}
}

func sameLines(a, b string) bool {
	lines := func(s string) []string { return slices.Sorted(strings.SplitSeq(s, "\n")) }
	return slices.Equal(lines(a), lines(b))
}

// Another directory, time zone, language and umask make no difference.
func (r *releases) testReproducible(t *testing.T) {
	first, err := os.ReadFile(r.tarball(t, runtime.GOARCH))
	if err != nil {
		t.Fatal(err)
	}
	root, copied := projectRoot(t), filepath.Join(t.TempDir(), "elsewhere")
	if err := os.Mkdir(copied, 0o755); err != nil {
		t.Fatal(err)
	}
	const copySource = `cd "$0" && git ls-files -z --cached --others --exclude-standard --deduplicate |
		xargs -0 sh -c 'for f; do [ ! -e "$f" ] || printf "%s\0" "$f"; done' sh | tar -c --null -T - | tar -x -C "$1"`
	command{args: []string{"sh", "-c", copySource, root, copied}}.must(t)
	gitDir := strings.TrimSpace(command{dir: root, args: []string{"git", "rev-parse", "--absolute-git-dir"}}.must(t))
	dist := filepath.Join(t.TempDir(), "dist")
	command{
		dir:  copied,
		env:  []string{"DIST=" + dist, "GIT_DIR=" + gitDir, "TZ=Asia/Tokyo", "LC_ALL=C.UTF-8"},
		args: []string{"sh", "-c", "umask 077; exec scripts/release/release " + testVersion + " " + runtime.GOARCH},
	}.must(t)
	again := filepath.Join(dist, filepath.Base(r.tarball(t, runtime.GOARCH)))
	second, err := os.ReadFile(again)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(first, second) {
		return
	}
	t.Errorf("two runs gave different tarballs: %x and %x", sha256.Sum256(first), sha256.Sum256(second))
	before := map[string]entry{}
	for _, e := range entries(t, r.tarball(t, runtime.GOARCH)) {
		before[e.name] = e
	}
	for _, e := range entries(t, again) {
		if old, ok := before[e.name]; !ok || old.mode != e.mode || !bytes.Equal(old.text, e.text) {
			t.Errorf("%s differs: %d bytes and mode %o, %d bytes and mode %o", e.name, len(old.text), old.mode, len(e.text), e.mode)
		}
	}
}

func TestReleaseRefusals(t *testing.T) {
	for _, test := range []struct {
		args []string
		says string
	}{
		{nil, "usage: scripts/release/release"},
		{[]string{"v1/../x"}, "bad version"},
		{[]string{"v1", "sparc"}, `no architecture "sparc"`},
	} {
		dist := filepath.Join(t.TempDir(), "dist")
		r := command{
			dir: projectRoot(t), env: []string{"DIST=" + dist}, args: append([]string{"scripts/release/release"}, test.args...),
		}.run(t)
		if r.code != 2 {
			t.Errorf("release %v: exit code %d, want 2", test.args, r.code)
		}
		expect(t, "message", r.stderr, test.says)
		if _, err := os.Stat(dist); err == nil {
			t.Errorf("release %v made its directory", test.args)
		}
	}
}
