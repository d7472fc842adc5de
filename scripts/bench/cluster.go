package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/api/client"
	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/node/pki"
	"piccolo.io/piccolo/scripts/lab"
	"piccolo.io/piccolo/topology"
)

// masterAddress is what the lab gives to its first board.
const masterAddress = "10.77.0.11"

// cluster is a lab whose boards are nodes of one cluster; the first is the
// master.
type cluster struct {
	s      *session
	lab    lab.Script
	size   int
	boards []*board
	cables *cables
	// token lets boards join, admin is the administrator's.
	token, admin string
	lastJoin     time.Time
}

func newCluster(ctx context.Context, s *session, size int) (*cluster, error) {
	c := &cluster{s: s, size: size, lab: s.o.lab.Own(labOwner, int64(size))}
	c.lab.Binary = s.o.binary
	return c, c.lab.EndOrphans(ctx, labOwner)
}

// labOwner is whose labs those of this program are.
const labOwner = "bench"

// switchNamespace is the network namespace in which the cables end.
func (c *cluster) switchNamespace() string { return "pl-" + c.lab.Name + "-sw" }

func (c *cluster) master() *board { return c.boards[0] }
func (c *cluster) subs() []*board { return c.boards[1:] }

// sub is the one whose turn it is.
func (c *cluster) sub(turn int) *board { return c.subs()[turn%len(c.subs())] }

// start boots the boards and makes a cluster of them, with containers on
// each.
func (c *cluster) start(ctx context.Context) error {
	if _, err := c.lab.Run(ctx, nil, "up", strconv.Itoa(c.size)); err != nil {
		return err
	}
	var err error
	if c.cables, err = openCables(c.switchNamespace()); err != nil {
		return err
	}
	for i := range c.size {
		b, err := c.board(ctx, fmt.Sprintf("board%d", i+1))
		if err != nil {
			return err
		}
		c.boards = append(c.boards, b)
	}
	if err := c.initMaster(ctx); err != nil {
		return err
	}
	w, err := watch(ctx, c.master().api)
	if err != nil {
		return err
	}
	defer w.close()
	for _, b := range c.subs() {
		if _, err := c.join(ctx, w, b); err != nil {
			return err
		}
	}
	return c.containers(ctx)
}

func (c *cluster) board(ctx context.Context, name string) (*board, error) {
	b := &board{name: name}
	text, err := c.lab.Run(ctx, nil, "init-pid", name)
	if err != nil {
		return nil, err
	}
	if b.init, err = strconv.Atoi(strings.TrimSpace(text)); err != nil {
		return nil, fmt.Errorf("init of %s: %w", name, err)
	}
	if text, err = c.lab.Run(ctx, nil, "disk", name); err != nil {
		return nil, err
	}
	if _, err := fmt.Sscanf(text, "device /dev/%s", &b.disk); err != nil {
		return nil, fmt.Errorf("disk of %s: %q: %w", name, text, err)
	}
	b.api, err = client.NewHTTP(client.HTTPOptions{Socket: b.path("/run/piccolo/piccolo.sock")})
	return b, err
}

func (c *cluster) initMaster(ctx context.Context) error {
	b := c.master()
	if err := c.spawn(ctx, b, "init", "--name", b.name, "--advertise", masterAddress, "--foreground"); err != nil {
		return err
	}
	err := poll(ctx, "the master is Ready", 50*time.Millisecond, func() (bool, error) {
		n, err := b.api.Node(ctx, b.name)
		return err == nil && n.Value.Status == topology.StatusReady, err
	})
	if err != nil {
		return c.withConsole(ctx, b, err)
	}
	created, err := b.api.CreateToken(ctx, api.TokenRequest{Role: topology.RoleSub, Description: "bench"})
	if err != nil {
		return err
	}
	admin, err := os.ReadFile(b.path("/var/lib/piccolo/admin.token"))
	c.token, c.admin = created.Token, strings.TrimSpace(string(admin))
	return err
}

// spawn starts a piccolo command as a daemon on the board.
func (c *cluster) spawn(ctx context.Context, b *board, args ...string) error {
	_, err := c.lab.Run(ctx, nil, append([]string{"exec", "-d", b.name, "--", "piccolo"}, args...)...)
	return err
}

// join types `piccolo join` on the board and returns the time from the start
// of that process until the master's watchers see the node Ready.
func (c *cluster) join(ctx context.Context, w *watcher, b *board) (time.Duration, error) {
	ready := w.expect(becomes(b.name, topology.StatusReady))
	if err := c.spawn(ctx, b, "join", masterAddress, "--token", c.token, "--name", b.name, "--foreground"); err != nil {
		return 0, err
	}
	at, err := w.await(ctx, ready, b.name+" joins")
	if err != nil {
		return 0, c.withConsole(ctx, b, err)
	}
	c.lastJoin = at
	began, err := b.started()
	return at.Sub(began), err
}

// containers starts two or three on each board, several boards at a time.
func (c *cluster) containers(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.NumCPU())
	for i, b := range c.boards {
		g.Go(func() error {
			_, err := c.lab.Run(ctx, nil, "containers", b.name, strconv.Itoa(2+(i+1)%2))
			return err
		})
	}
	return g.Wait()
}

// healthy waits until every board's daemon runs, is reachable and Ready.
func (c *cluster) healthy(ctx context.Context) error {
	for _, b := range c.boards {
		if err := c.cables.set(b.name, "up"); err != nil {
			return err
		}
		pid, err := b.daemon()
		if err != nil {
			return err
		}
		if pid == 0 {
			if err := c.spawn(ctx, b, "run"); err != nil {
				return err
			}
			continue
		}
		if err := b.signal(unix.SIGCONT); err != nil {
			return err
		}
	}
	return poll(ctx, "all nodes are Ready", 100*time.Millisecond, func() (bool, error) {
		nodes, err := c.master().api.Nodes(ctx)
		ready := 0
		for _, n := range nodes.Value {
			if n.Status == topology.StatusReady {
				ready++
			}
		}
		if err == nil && ready < c.size {
			err = fmt.Errorf("%d of %d are Ready", ready, c.size)
		}
		return err == nil, err
	})
}

// withConsole adds the last lines that a board wrote.
func (c *cluster) withConsole(ctx context.Context, b *board, err error) error {
	text, _ := c.lab.Run(ctx, nil, "console", b.name)
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i, l := range lines {
		if strings.Contains(l, "pic1.") {
			lines[i] = "(a line with a token)"
		}
	}
	return fmt.Errorf("%w; the end of its console:\n%s", err, strings.Join(lines[max(0, len(lines)-8):], "\n"))
}

func (c *cluster) down(ctx context.Context) error {
	for _, b := range c.boards {
		b.api.Close()
	}
	var err error
	if c.cables != nil {
		err = c.cables.close()
	}
	_, downErr := c.lab.Run(ctx, nil, "down")
	return errors.Join(downErr, err)
}

// tls is an HTTP client as a user's on the boards' network has one: TLS with
// the cluster's authority pinned. It gives up after timeout.
func (c *cluster) tls(timeout time.Duration) (*http.Client, error) {
	token, err := auth.ParseAPIToken(c.admin)
	if err != nil {
		return nil, err
	}
	clock, err := pki.NewClock(pki.ClockOptions{})
	if err != nil {
		return nil, err
	}
	config, _, err := pki.EnrolTLS(token.Fingerprint, clock)
	if err != nil {
		return nil, err
	}
	t := &http.Transport{ForceAttemptHTTP2: true, MaxConnsPerHost: 32}
	t.DialTLSContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		raw, err := dialIn(ctx, "/run/netns/"+c.switchNamespace(), network, address)
		if err != nil {
			return nil, err
		}
		conn := tls.Client(raw, config.Clone())
		if err := conn.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(err, raw.Close())
		}
		return conn, nil
	}
	return &http.Client{Transport: t, Timeout: timeout}, nil
}

// dialIn connects from inside a network namespace.
func dialIn(ctx context.Context, namespace, network, address string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		// Never unlocked: the thread ends with the goroutine, and nobody else
		// is ever in its namespace.
		runtime.LockOSThread()
		file, err := os.Open(namespace)
		if err != nil {
			done <- result{nil, err}
			return
		}
		defer func() { _ = file.Close() }()
		if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- result{nil, fmt.Errorf("enter network namespace %s: %w", namespace, err)}
			return
		}
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		done <- result{conn, err}
	}()
	r := <-done
	return r.conn, r.err
}
