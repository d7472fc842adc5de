package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"piccolo.io/piccolo/topology"
)

const (
	// restRate is how many requests a second the API is asked: half of what
	// it takes from one address.
	restRate = 50
	// podmanTime bounds one call to a board's Podman.
	podmanTime = 30 * time.Second
)

// answers reports whether a GET answers 200.
func answers(ctx context.Context, web *http.Client, url string) (bool, error) {
	code, err := fetch(ctx, web, url, "")
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("%s answers %d", url, code)
	}
	return err == nil, err
}

// fetch makes one GET and reads the answer to its end.
func fetch(ctx context.Context, web *http.Client, url, token string) (int, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := web.Do(r)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, io.LimitReader(res.Body, 32<<20))
	return res.StatusCode, errors.Join(err, res.Body.Close())
}

// attached asks a board's daemon, once, whether it is attached to a master.
func attached(ctx context.Context, b *board) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return b.api.Ready(ctx)
}

// unixClient talks HTTP over a unix socket.
func unixClient(path string, timeout time.Duration) *http.Client {
	return &http.Client{Timeout: timeout, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}}
}

// measureREST asks for the nodes at a steady rate. A request counts from the
// moment at which it was due, so that a server that stalls cannot hide what
// waits behind.
func measureREST(ctx context.Context, s *session, c *cluster) error {
	web, err := c.tls(10 * time.Second)
	if err != nil {
		return err
	}
	defer web.CloseIdleConnections()
	f := newFigure(s, c, fmt.Sprintf("GET /api/v1/nodes, %d a second", restRate), "s", none)
	url := "https://" + masterAddress + ":7443/api/v1/nodes"
	if code, err := fetch(ctx, web, url, c.admin); err != nil || code != http.StatusOK {
		return fmt.Errorf("ask for the nodes: %d, %w", code, err)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	defer wg.Wait()
	total := int(s.o.rest.Seconds() * restRate)
	// No more than this are under way; one that finds no place is missed.
	places := make(chan struct{}, 2*restRate)
	began := time.Now()
	for i := range total {
		due := began.Add(time.Duration(i) * time.Second / restRate)
		if err := sleep(ctx, time.Until(due)); err != nil {
			return err
		}
		select {
		case places <- struct{}{}:
		default:
			mu.Lock()
			f.Missed++
			mu.Unlock()
			continue
		}
		wg.Go(func() {
			code, err := fetch(ctx, web, url, c.admin)
			took := time.Since(due)
			<-places
			mu.Lock()
			defer mu.Unlock()
			if err != nil || code != http.StatusOK {
				f.Missed++
				return
			}
			f.sample(took)
		})
	}
	wg.Wait()
	f.add(s)
	return nil
}

// measureContainers stops and starts a container and waits until the API
// tells of it.
func measureContainers(ctx context.Context, s *session, c *cluster) error {
	w, err := watch(ctx, c.master().api)
	if err != nil {
		return err
	}
	defer w.close()
	whole := newFigure(s, c, "container change → in REST", "s", atMost(1, "≤ 1 s"))
	whole.note("from the call to Podman, whose own work is in it")
	after := newFigure(s, c, "container change → in REST, after Podman's answer", "s", none)
	after.note("the board waits 100 ms for further changes before it reports")
	for i := range s.o.runs {
		b := c.sub(i)
		do, state := "stop?timeout=0", "exited"
		if i/len(c.subs())%2 == 1 {
			do, state = "start", "running"
		}
		if err := pause(ctx); err != nil {
			return err
		}
		if err := changeContainer(ctx, c, w, b, do, state, whole, after); err != nil {
			return err
		}
	}
	for _, b := range c.subs() {
		if err := podmanPost(ctx, b, "start"); err != nil {
			return err
		}
	}
	whole.add(s)
	after.add(s)
	return nil
}

// measured is the container that is stopped and started: one that does
// nothing.
const measured = "sensor"

func changeContainer(ctx context.Context, c *cluster, w *watcher, b *board, do, state string, whole, after *figure) error {
	changed := w.expect(func(e event) bool {
		return e.container != nil && e.container.Name == measured && e.container.NodeName == b.name && e.container.State == state
	})
	from := time.Now()
	if err := podmanPost(ctx, b, do); err != nil {
		return err
	}
	done := time.Now()
	_, err := w.await(ctx, changed, measured+" on "+b.name+" is "+state)
	if errors.Is(err, errMissed) {
		whole.Missed++
		return nil
	}
	if err != nil {
		return err
	}
	// The stream has told; what counts is that a list shows it.
	err = poll(ctx, "the list of containers shows the change", 2*time.Millisecond, func() (bool, error) {
		list, err := c.master().api.Containers(ctx, b.name, false)
		for _, container := range list.Value {
			if container.Name == measured && container.State == state {
				return true, nil
			}
		}
		return false, err
	})
	shown := time.Now()
	whole.sample(shown.Sub(from))
	after.sample(shown.Sub(done))
	return err
}

// podmanPost asks the board's own Podman to act on the container.
func podmanPost(ctx context.Context, b *board, do string) error {
	web := unixClient(b.path("/run/podman/podman.sock"), podmanTime)
	defer web.CloseIdleConnections()
	url := "http://podman/v4.0.0/libpod/containers/" + measured + "/" + do
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(""))
	if err != nil {
		return err
	}
	res, err := web.Do(r)
	if err != nil {
		return fmt.Errorf("ask Podman on %s: %w", b.name, err)
	}
	said, err := io.ReadAll(io.LimitReader(res.Body, 4096))
	err = errors.Join(err, res.Body.Close())
	if res.StatusCode >= 400 {
		err = fmt.Errorf("ask Podman on %s to %s: %s: %s", b.name, do, res.Status, bytes.TrimSpace(said))
	}
	return err
}

// measurePlan changes the cluster's configuration and waits until every node
// has confirmed its new plan.
func measurePlan(ctx context.Context, s *session, c *cluster) error {
	f := newFigure(s, c, "configuration changed → confirmed by every node", "s", atMost(1, "≤ 1 s"))
	defer f.add(s)
	written, err := writes(c.master())
	if err != nil {
		return err
	}
	interval := time.Duration(0)
	for i := range s.o.runs {
		if err := pause(ctx); err != nil {
			return err
		}
		interval = topology.DefaultHeartbeatInterval + time.Duration(1-i%2)*time.Second
		took, err := c.configure(ctx, interval)
		if err != nil {
			return err
		}
		f.sample(took)
	}
	if err := s.writesPerChange(c, written); err != nil {
		return err
	}
	if interval == topology.DefaultHeartbeatInterval {
		return nil
	}
	_, err = c.configure(ctx, topology.DefaultHeartbeatInterval)
	return err
}

// writesPerChange tells what one change cost the master's disk: one record of
// the cluster, and a plan for every node.
func (s *session) writesPerChange(c *cluster, before written) error {
	after, err := writes(c.master())
	if err != nil {
		return err
	}
	f := newFigure(s, c, "master: written for one configuration change", "KB", none)
	f.value(float64(after.device-before.device) / 1000 / float64(s.o.runs))
	f.note("at the device; the daemon itself wrote %.0f KB", float64(after.daemon-before.daemon)/1000/float64(s.o.runs))
	f.add(s)
	return nil
}

// written is how many bytes reached a board's data disk, and how many its
// daemon gave to the kernel for that (the base of piccolo_flash_mb_per_day).
type written struct{ device, daemon uint64 }

func writes(b *board) (w written, err error) {
	r, err := b.read()
	if err != nil {
		return w, err
	}
	w.device = r.written
	w.daemon, err = field(fmt.Sprintf("/proc/%d/io", r.pid), "write_bytes:", 1)
	return w, err
}

func (c *cluster) configure(ctx context.Context, heartbeat time.Duration) (time.Duration, error) {
	master := c.master().api
	t, err := master.Topology(ctx)
	if err != nil {
		return 0, err
	}
	before, err := plans(ctx, c)
	if err != nil {
		return 0, err
	}
	t.Value.Config.HeartbeatInterval = topology.Duration(heartbeat)
	from := time.Now()
	if _, err := master.PutTopology(ctx, t.Value); err != nil {
		return 0, err
	}
	err = poll(ctx, "every node has confirmed its plan", 5*time.Millisecond, func() (bool, error) {
		now, err := plans(ctx, c)
		if err != nil {
			return false, err
		}
		for id, was := range before {
			if now[id].planned <= was.planned || now[id].applied < now[id].planned {
				return false, fmt.Errorf("node %s has applied revision %d of %d", id, now[id].applied, now[id].planned)
			}
		}
		return true, nil
	})
	return time.Since(from), err
}

type revisions struct{ planned, applied int64 }

// plans are the revisions of every node's plan, by its id.
func plans(ctx context.Context, c *cluster) (map[string]revisions, error) {
	nodes, err := c.master().api.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	out := map[string]revisions{}
	for _, n := range nodes.Value {
		out[n.ID] = revisions{n.PlanRevision, n.AppliedRevision}
	}
	return out, nil
}

// flashPace is the live metric of a board: MB a day written since its start.
func flashPace(ctx context.Context, b *board) (float64, error) {
	text, err := b.api.Metrics(ctx)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		var pace float64
		if _, err := fmt.Sscanf(line, "piccolo_flash_mb_per_day %g", &pace); err == nil {
			return pace, nil
		}
	}
	return 0, fmt.Errorf("the metrics of %s have no piccolo_flash_mb_per_day", b.name)
}
