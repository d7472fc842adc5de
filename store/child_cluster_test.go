package store_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/store/storetest"
)

// A process is one member of a cluster in a process of its own, with the times
// that a real one has. It reads commands from its standard input, and answers
// each with a line "= answer"; what it tells unasked begins with another word.
type process struct {
	name  string
	cmd   *exec.Cmd
	in    io.Writer
	lines chan string   // answers
	news  chan string   // "lead TERM", "late ERROR"
	ended chan struct{} // it is gone
}

// processes runs n of them, whose directories lie in dir, and waits for each.
func processes(t testing.TB, n int) []*process {
	t.Helper()
	dir := t.TempDir()
	if err := store.CreateKeyFile(filepath.Join(dir, "store.key")); err != nil {
		t.Fatal(err)
	}
	var cluster []string
	for i := range n {
		cluster = append(cluster, fmt.Sprintf("n-%d=%s", i, storetest.FreeAddr(t)))
	}
	all := make([]*process, n)
	for i := range n {
		all[i] = &process{name: fmt.Sprint("n-", i)}
		all[i].start(t, dir, cluster)
	}
	for _, p := range all {
		p.ask(t, "ready")
	}
	return all
}

// start runs the process, in a new life if it had one.
func (p *process) start(t testing.TB, dir string, cluster []string) {
	t.Helper()
	if p.cmd != nil {
		dir, cluster = p.cmd.Dir, strings.Split(strings.TrimPrefix(p.cmd.Env[len(p.cmd.Env)-1], "PICCOLO_TEST_CLUSTER="), ",")
	}
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Dir = dir
	p.cmd.Env = append(os.Environ(), childEnv+"=member", dirEnv+"="+dir, "PICCOLO_TEST_NAME="+p.name, "PICCOLO_TEST_CLUSTER="+strings.Join(cluster, ","))
	p.cmd.Stderr = os.Stderr
	out := must[io.ReadCloser](t)(p.cmd.StdoutPipe())
	p.in = must[io.WriteCloser](t)(p.cmd.StdinPipe())
	p.lines, p.news, p.ended = make(chan string, 1), make(chan string, 1000), make(chan struct{})
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func(cmd *exec.Cmd, lines, news chan<- string, ended chan<- struct{}) {
		defer close(ended)
		for s := bufio.NewScanner(out); s.Scan(); {
			if answer, ok := strings.CutPrefix(s.Text(), "= "); ok {
				lines <- answer
			} else {
				news <- s.Text()
			}
		}
		_ = cmd.Wait() // killed, mostly
	}(p.cmd, p.lines, p.news, p.ended)
	cmd, ended := p.cmd, p.ended
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-ended })
}

// ask fails the test if there is no answer.
func (p *process) ask(t testing.TB, command string) string {
	t.Helper()
	if _, err := fmt.Fprintln(p.in, command); err != nil {
		t.Fatalf("%s: %s: %v", p.name, command, err)
	}
	select {
	case answer := <-p.lines:
		return answer
	case <-p.ended:
		t.Fatalf("%s is gone; asked to %s", p.name, command)
	case <-time.After(30 * time.Second):
		t.Fatalf("%s does not answer to: %s", p.name, command)
	}
	return ""
}

func (p *process) signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	if sig == syscall.SIGKILL {
		<-p.ended
	}
}

// hear waits for news that begin with prefix.
func (p *process) hear(t testing.TB, prefix string) string {
	t.Helper()
	for deadline := time.After(30 * time.Second); ; {
		select {
		case s := <-p.news:
			if strings.HasPrefix(s, prefix) {
				return s
			}
		case <-deadline:
			t.Fatalf("%s does not say %q", p.name, prefix)
		}
	}
}

// leaderOf asks until one of them leads.
func leaderOf(t testing.TB, all ...*process) (leader *process, others []*process) {
	t.Helper()
	eventually(t, "one of them leads", func() bool {
		leader = nil
		for _, p := range all {
			if strings.HasPrefix(p.ask(t, "leader"), p.name+" ") {
				leader = p
			}
		}
		return leader != nil
	})
	return leader, slices.DeleteFunc(slices.Clone(all), func(p *process) bool { return p == leader })
}

// runClusterChild is the process. It leads whenever it can, and writes its name
// into fruits/throne then, again and again, until a write is refused, with a
// context that does not end with the term: only the fence can stop it.
func runClusterChild(dir string) int {
	name := os.Getenv("PICCOLO_TEST_NAME")
	together := make(map[string]string)
	for pair := range strings.SplitSeq(os.Getenv("PICCOLO_TEST_CLUSTER"), ",") {
		n, addr, _ := strings.Cut(pair, "=")
		together[n] = addr
	}
	sealer, err := store.LoadKeyFile(filepath.Join(dir, "store.key"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	opts := store.Options{Name: name, Dir: filepath.Join(dir, name), PeerListen: together[name], InitialCluster: together, Sealer: sealer,
		Logger: slog.New(slog.DiscardHandler)}
	if s := os.Getenv("PICCOLO_TEST_TRY"); s != "" {
		opts.TryTimeout, _ = time.ParseDuration(s)
	}
	if s := os.Getenv("PICCOLO_TEST_HEARTBEAT"); s != "" {
		opts.Heartbeat, _ = time.ParseDuration(s)
	}
	m, err := store.New(opts)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var running sync.WaitGroup
	ctx, cancel := context.WithCancel(bg())
	running.Go(func() {
		if err := m.Run(ctx); err != nil {
			fmt.Println("ended", err)
		}
	})
	running.Go(func() {
		_ = m.Lead(ctx, func(ctx context.Context, term store.Term) error { return reignOf(ctx, m, name, term) })
	})
	for s := bufio.NewScanner(os.Stdin); s.Scan(); {
		fmt.Println("=", obey(m, strings.Fields(s.Text())))
	}
	cancel()
	running.Wait()
	return 0
}

func reignOf(ctx context.Context, m *store.Member, name string, term store.Term) error {
	fmt.Println("lead", term.Number)
	if os.Getenv("PICCOLO_TEST_QUIET") != "" {
		<-ctx.Done()
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	pace := time.NewTicker(5 * time.Millisecond)
	defer pace.Stop()
	for i := 0; ; i++ {
		<-pace.C
		_, _, err := fruits(m).Put(ctx, "throne", fruit{name, i}, store.WithTerm(term))
		if err != nil && !errors.Is(err, store.ErrNoQuorum) {
			fmt.Println("late", err)
			return err
		}
	}
}

// obey does what the test asks for.
func obey(m *store.Member, words []string) string {
	c := fruits(m)
	fail := func(err error) string { return "error " + strings.ReplaceAll(err.Error(), "\n", "; ") }
	switch words[0] {
	case "ready":
		<-m.Ready()
	case "leader":
		l := m.Leader()
		return fmt.Sprint(l.Name, " ", l.Term)
	case "set": // KEY COUNT: until it is accepted
		count, _ := strconv.Atoi(words[2])
		for {
			_, _, err := c.Put(bg(), words[1], fruit{words[1], count})
			if err == nil {
				break
			}
		}
	case "create":
		if _, err := c.Create(bg(), words[1], fruit{words[1], 1}); err != nil {
			return fail(err)
		}
	case "count":
		if _, _, err := c.Modify(bg(), words[1], func(f *fruit) error { f.Count++; return nil }); err != nil {
			return fail(err)
		}
	case "get":
		r, err := c.Get(bg(), words[1])
		if err != nil {
			return fail(err)
		}
		return fmt.Sprint(r.Value.Name, " ", r.Value.Count, " ", r.Revision)
	}
	return "done"
}

// TestFrozenLeader: a leader's process is stopped, in the middle of its writes,
// and goes on when another has led for a while. It believes that it leads still.
func TestFrozenLeader(t *testing.T) {
	old, others := leaderOf(t, processes(t, 3)...)
	old.hear(t, "lead ")
	for range 3 {
		old.signal(t, syscall.SIGSTOP)
		next, rest := leaderOf(t, others...)
		next.hear(t, "lead ")
		eventually(t, "the new leader writes", func() bool { return strings.HasPrefix(next.ask(t, "get throne"), next.name+" ") })
		old.signal(t, syscall.SIGCONT)
		if late := old.hear(t, "late "); !strings.Contains(late, store.ErrDeposed.Error()) {
			t.Errorf("the late write of %s: %s", old.name, late)
		}
		if got := old.ask(t, "get throne"); !strings.HasPrefix(got, next.name+" ") {
			t.Errorf("after the late write of %s: %s", old.name, got)
		}
		old, others = next, append(rest, old)
	}
}
