package unit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Paths that piccolo.service already allows.
const (
	defaultConfig  = "/etc/piccolo/piccolo.yaml"
	defaultDataDir = "/var/lib/piccolo"
	defaultRunDir  = "/run/piccolo"
)

// DropIn returns what systemd must know of these options beside
// piccolo.service, and "" where that is nothing.
func (o Options) DropIn() string {
	var lines []string
	if o.Program != "" && o.Program != DefaultProgram {
		lines = append(lines, "ExecStart=", "ExecStart="+quote(o.Program, true)+" run")
	}
	if o.Config != "" && o.Config != defaultConfig {
		lines = append(lines, "Environment="+quote("PICCOLO_CONFIG="+o.Config, false))
	}
	for _, d := range o.directories() {
		// What systemd makes itself is there again after a reboot.
		if rest, ok := strings.CutPrefix(filepath.Clean(d.path), d.base+"/"); ok {
			lines = append(lines, d.key+"="+quote(rest, false))
			continue
		}
		lines = append(lines, "ReadWritePaths="+quote(d.path, false))
	}
	for _, path := range []string{o.Program, o.Config, o.DataDir, o.RunDir, o.PodmanSocket} {
		if underHome(path) {
			lines = append(lines, "ProtectHome=no")
			break
		}
	}
	for _, path := range []string{o.Config, o.DataDir, o.RunDir, o.PodmanSocket} {
		if within(path, "/tmp") || within(path, "/var/tmp") {
			lines = append(lines, "PrivateTmp=no")
			break
		}
	}
	if len(lines) == 0 {
		return ""
	}
	return "# Written by piccolo init or join.\n[Service]\n" + strings.Join(lines, "\n") + "\n"
}

// directory is one that piccolo.service does not name.
type directory struct{ path, base, key string }

func (o Options) directories() []directory {
	var out []directory
	if o.DataDir != "" && o.DataDir != defaultDataDir {
		out = append(out, directory{o.DataDir, "/var/lib", "StateDirectory"})
	}
	if o.RunDir != "" && o.RunDir != defaultRunDir {
		out = append(out, directory{o.RunDir, "/run", "RuntimeDirectory"})
	}
	return out
}

// underHome reports whether ProtectHome=yes would hide the path.
func underHome(path string) bool {
	return within(path, "/home") || within(path, "/root") || within(path, "/run/user")
}

func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(filepath.Clean(path), dir+"/")
}

// quote writes a word as systemd.syntax(7) wants it. In a command line '$'
// begins a variable; everywhere '%' begins a specifier.
func quote(word string, command bool) string {
	pairs := []string{`\`, `\\`, `"`, `\"`, "%", "%%", "\n", `\n`}
	if command {
		pairs = append(pairs, "$", "$$")
	}
	return `"` + strings.NewReplacer(pairs...).Replace(word) + `"`
}

// writeDropIn writes or removes the drop-in. The directories that it names
// must be there before systemd starts the service.
func (u *Unit) writeDropIn() error {
	path := filepath.Join(u.opts.Root, "etc/systemd/system", Name+".d", "machine.conf")
	text := u.opts.DropIn()
	if text == "" {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	for _, d := range u.opts.directories() {
		if err := os.MkdirAll(filepath.Join(u.opts.Root, d.path), 0o700); err != nil {
			return fmt.Errorf("make %s: %w", d.path, err)
		}
	}
	return write(path, []byte(text))
}
