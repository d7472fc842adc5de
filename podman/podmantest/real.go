package podmantest

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Real is a real Podman service in namespaces of its own, with its own storage and network. It is a Harness.
type Real struct {
	dir  string
	root string // root file system; empty: this machine's own
	init int    // pid of the namespaces' first process
	ids  []string
}

//go:embed real_host.sh
var hostScript string

//go:embed testdata/app/main.go
var appSource []byte

// What keeps Podman working where limits cannot be raised and systemd is not PID 1.
const containersConf = `[containers]
default_ulimits = ["nofile=1024:4096", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "crun"
[network]
network_backend = "netavark"
`

const policy = `{"default": [{"type": "insecureAcceptAnything"}]}`

// commandLimit bounds every command that the harness runs.
const commandLimit = 30 * time.Second

// NewReal starts a Podman service: the one installed here if root is empty, else the one in the root
// file system in that directory, which is not written to. It ends the test if this machine lacks what
// it needs (root, unshare, nsenter, ip, catatonit, podman, crun, netavark, go). Everything ends with
// the test, even when the test is killed.
func NewReal(t testing.TB, root string) *Real {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("a real Podman in namespaces of its own needs root: run the test as root")
	}
	tools := []string{"unshare", "nsenter", "ip", "mountpoint", "go"}
	if root == "" {
		tools = append(tools, "podman", "crun", "catatonit")
	}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("a real Podman needs %s: %v; try: apt-get install -y --no-install-recommends podman crun netavark aardvark-dns catatonit iproute2 util-linux", tool, err)
		}
	}
	dir, err := os.MkdirTemp("", "realpod")
	if err != nil {
		t.Fatalf("make a directory for a real Podman: %v", err)
	}
	r := &Real{dir: dir, root: root}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove the real Podman's directory: %v", err)
		}
	})
	r.furnish(t)
	r.boot(t)
	r.Service(t, ServiceStart)
	r.podman(t, "build", "--format", "docker", "-q", "-t", Image, "/run/img")
	return r
}

// furnish writes the files that the private machine is given.
func (r *Real) furnish(t testing.TB) {
	t.Helper()
	for path, content := range map[string]string{
		"host.sh": hostScript, "app/main.go": string(appSource),
		"etc/containers.conf": containersConf, "etc/policy.json": policy, "etc/registries.conf": "",
		"img/Containerfile": "FROM scratch\nCOPY app /app\nENTRYPOINT [\"/app\"]\nCMD [\"serve\"]\n",
		"storage/.keep":     "",
	} {
		path = filepath.Join(r.dir, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			t.Fatalf("furnish the real Podman: %v", err)
		}
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(r.dir, "img/app"), "main.go")
	build.Dir = filepath.Join(r.dir, "app")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the container's program: %v\n%s", err, out)
	}
}

// boot starts the namespaces.
func (r *Real) boot(t testing.TB) {
	t.Helper()
	var complaints bytes.Buffer
	host := exec.Command("unshare", "--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--propagation", "private",
		"sh", filepath.Join(r.dir, "host.sh"), r.dir, r.root)
	host.Stderr = &complaints
	leash, err := host.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	said, err := host.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := host.Start(); err != nil {
		t.Fatalf("start the real Podman's machine: %v", err)
	}
	drained := make(chan struct{})
	ready := make(chan bool, 1)
	go func() {
		defer close(drained)
		line, _ := bufio.NewReader(said).ReadString('\n')
		ready <- line == "ready\n"
		_, _ = io.Copy(io.Discard, said)
	}()
	t.Cleanup(func() {
		leash.Close()
		unleashed := time.AfterFunc(commandLimit, func() { _ = host.Process.Kill() })
		defer unleashed.Stop()
		<-drained
		_ = host.Wait()
		r.sweep(t)
	})
	select {
	case ok := <-ready:
		if !ok {
			leash.Close()
			<-drained
			_ = host.Wait()
			t.Fatalf("the real Podman's machine did not come up:\n%s", complaints.String())
		}
	case <-time.After(commandLimit):
		t.Fatalf("the real Podman's machine was not up after %s", commandLimit)
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", host.Process.Pid, host.Process.Pid))
	if err == nil {
		r.init, err = strconv.Atoi(strings.TrimSpace(string(children)))
	}
	if err != nil {
		t.Fatalf("find the first process of the real Podman's machine: %v", err)
	}
}

// sweep removes the control groups of the containers, which the kernel leaves behind.
func (r *Real) sweep(t testing.TB) {
	for _, id := range r.ids {
		groups, _ := filepath.Glob("/sys/fs/cgroup/*/libpod_parent/libpod-" + id)
		for _, group := range groups {
			if err := os.Remove(group); err != nil {
				t.Logf("remove the control group %s: %v", group, err)
			}
		}
	}
}

// Socket is the path of the API socket as seen from outside the namespaces.
func (r *Real) Socket() string { return fmt.Sprintf("/proc/%d/root/run/podman/podman.sock", r.init) }

// inside runs a command in the namespaces and returns its output, trimmed.
func (r *Real) inside(t testing.TB, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"-t", strconv.Itoa(r.init), "-m", "-u", "-i", "-n", "-p", "--"}, args...)...)
	cmd.Env = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root",
		"PODMAN_IGNORE_CGROUPSV1_WARNING=1", "DISABLE_HC_SYSTEMD=true",
	}
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, complaints.Bytes())
	}
	return strings.TrimSpace(string(out)), err
}

func (r *Real) podman(t testing.TB, args ...string) string {
	t.Helper()
	out, err := r.inside(t, append([]string{"podman"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Run runs a container as Harness wants it.
func (r *Real) Run(t testing.TB, s Spec) string {
	t.Helper()
	args := []string{"run", "--detach", "--name", s.Name}
	if s.Restart {
		args = append(args, "--restart", "always")
	}
	if s.Health {
		args = append(args, "--health-cmd", `["/app","health"]`, "--health-retries", "1", "--health-interval", "1h")
	}
	for k, v := range s.Labels {
		args = append(args, "--label", k+"="+v)
	}
	for _, p := range s.Ports {
		args = append(args, "--publish", fmt.Sprintf("%s:%d:%d/%s", p.HostIP, p.HostPort, p.ContainerPort, p.Protocol))
	}
	args = append(args, Image)
	if s.Exit > 0 {
		args = append(args, "exit", strconv.Itoa(s.Exit))
	}
	id := r.podman(t, args...)
	r.ids = append(r.ids, id)
	return id
}

// Act does to a container what Harness wants.
func (r *Real) Act(t testing.TB, a Act, id, name string) {
	t.Helper()
	switch a {
	case Stop, Start, Pause, Unpause:
		r.podman(t, string(a), id)
	case Remove:
		r.podman(t, "rm", "--force", "--time", "0", id)
	case Rename:
		r.podman(t, "rename", id, name)
	case Sicken, Heal:
		r.podman(t, "exec", id, "/app", string(a))
	case Check:
		// It ends with 1 when the container is unhealthy, which is no failure here.
		var exit *exec.ExitError
		if out, err := r.inside(t, "podman", "healthcheck", "run", id); err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
			t.Fatalf("%v %s", err, out)
		}
	case Crash:
		var pid []int
		if err := json.Unmarshal([]byte(r.podman(t, "inspect", "--format", "[{{.State.Pid}}]", id)), &pid); err != nil || pid[0] <= 0 {
			t.Fatalf("find the process of container %s: %v, %v", id, pid, err)
		}
		r.signal(t, "KILL", strconv.Itoa(pid[0]))
	default:
		t.Fatalf("a real Podman cannot %s", a)
	}
}

// ServicePID is the process of the Podman service as this machine numbers it.
func (r *Real) ServicePID(t testing.TB) int {
	t.Helper()
	inner, err := r.inside(t, "cat", "/run/service.pid")
	if err != nil {
		t.Fatal(err)
	}
	// NSpid ends with the number inside, and the service is a child of the namespaces' first process.
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", r.init, r.init))
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range strings.Fields(string(children)) {
		status, _ := os.ReadFile("/proc/" + pid + "/status")
		for line := range strings.Lines(string(status)) {
			if f := strings.Fields(line); len(f) > 1 && f[0] == "NSpid:" && f[len(f)-1] == inner {
				n, _ := strconv.Atoi(pid)
				return n
			}
		}
	}
	t.Fatalf("the Podman service, process %s inside, is not there", inner)
	return 0
}

func (r *Real) signal(t testing.TB, signal, pid string) {
	t.Helper()
	if _, err := r.inside(t, "sh", "-c", "kill -"+signal+" "+pid); err != nil {
		t.Fatal(err)
	}
}

// Service does to the Podman service what Harness wants.
func (r *Real) Service(t testing.TB, a ServiceAct) {
	t.Helper()
	const pid = "$(cat /run/service.pid)"
	switch a {
	case ServiceKill:
		r.signal(t, "KILL", pid)
	case ServiceFreeze:
		r.signal(t, "STOP", pid)
	case ServiceThaw:
		r.signal(t, "CONT", pid)
	case ServiceStart:
		// The loop ends because commandLimit ends it.
		const start = `rm -f /run/podman/podman.sock
podman system service --time=0 unix:///run/podman/podman.sock >/run/service.log 2>&1 </dev/null &
echo $! >/run/service.pid
until [ -S /run/podman/podman.sock ]; do kill -0 $! || { cat /run/service.log >&2; exit 1; }; sleep 0.01; done`
		if _, err := r.inside(t, "sh", "-c", start); err != nil {
			t.Fatal(err)
		}
	default:
		t.Fatalf("a real Podman's service cannot %s", a)
	}
}
