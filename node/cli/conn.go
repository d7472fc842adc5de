package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"

	"piccolo.io/piccolo/node"
	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/topology"
)

// callTimeout bounds one call; the slowest one, a list with figures, waits
// 5 s for the nodes.
const callTimeout = 15 * time.Second

// transport carries calls to one server.
type transport interface {
	// Do makes one call with JSON on both sides. The time is that of the last
	// word from a master where the answer is not live. An error of the server
	// is an *api.Error.
	Do(ctx context.Context, method, path string, in, out any) (*time.Time, error)
	// Watch calls on for every change until ctx ends or on returns an error,
	// which it returns. It reconnects by itself.
	Watch(ctx context.Context, kinds []string, on func(change) error) error
	Close()
}

// change is one message of the watch stream; see package feed.
type change struct {
	Type   string
	Kind   string
	Object json.RawMessage
}

// conn is the API as the commands use it.
type conn struct {
	transport
	// asOf is set when an answer was not live.
	asOf *time.Time
}

func (c *conn) close() { c.Close() }

// dial connects to the server that was chosen: --server, else the current
// context, else the socket on this machine.
func (a *app) dial() (*conn, error) {
	server := a.settings["server"]
	if path, ok := strings.CutPrefix(server, "unix://"); ok {
		return dialSocket(path), nil
	}
	contexts, err := a.readContexts()
	if err != nil {
		return nil, err
	}
	if server == "" {
		if cur, ok := contexts.find(contexts.Current); ok {
			return a.dialServer(cur.Server, cur.Token)
		}
		return a.dialLocal(), nil
	}
	token, _ := a.env.Lookup("PICCOLO_TOKEN")
	if token == "" {
		token = contexts.tokenFor(server)
	}
	if token == "" {
		return nil, &api.Error{Kind: api.KindUnauthenticated, Message: "there is no credential for " + server,
			Hint: fmt.Sprintf("piccolo login %s --token-file F, or an API token in PICCOLO_TOKEN", server)}
	}
	return a.dialServer(server, token)
}

func (a *app) dialServer(server, token string) (*conn, error) {
	t, err := auth.ParseAPIToken(token)
	if err != nil {
		return nil, api.Invalidf("%w", err)
	}
	tr, err := newServerTransport(withPort(server), t)
	if err != nil {
		return nil, err
	}
	return &conn{transport: tr}, nil
}

// withPort adds the API's port where a server has none.
func withPort(server string) string {
	u, err := url.Parse(server)
	if err != nil || u.Port() != "" {
		return strings.TrimRight(server, "/")
	}
	return "https://" + u.Host + ":" + strconv.Itoa(node.DefaultAPIPort)
}

// dialLocal connects to the daemon on this machine.
func (a *app) dialLocal() *conn { return dialSocket(a.settings.options().Socket()) }

func dialSocket(path string) *conn { return &conn{transport: newSocketTransport(path)} }

// checkSocket explains, before anything is asked, why a socket will not do.
func checkSocket(path string) error {
	_, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return &api.Error{Kind: api.KindDenied, Message: fmt.Sprintf("the daemon's socket %s is for root only", path),
			Hint: "run this as root, or log in to a master: piccolo login https://MASTER:7443 --token-file F", Err: err}
	case errors.Is(err, fs.ErrNotExist):
		return noDaemon(path, err)
	}
	return nil
}

func noDaemon(path string, err error) error {
	return &api.Error{Kind: api.KindUnavailable, Message: fmt.Sprintf("no piccolo daemon answers on this machine (%s)", path),
		Hint: "start it (systemctl start piccolo, or piccolo run), begin with piccolo init or join, or name a master with --server", Err: err}
}

// explain turns a failure to connect into words.
func explain(err error, server string) error {
	var known *api.Error
	if err == nil || errors.As(err, &known) || errors.Is(err, context.Canceled) {
		return err
	}
	if path, ok := strings.CutPrefix(server, "unix://"); ok {
		if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
			return noDaemon(path, err)
		}
		if errors.Is(err, fs.ErrPermission) {
			return &api.Error{Kind: api.KindDenied, Message: fmt.Sprintf("the daemon's socket %s is for root only", path), Hint: "run this as root", Err: err}
		}
	}
	return &api.Error{Kind: api.KindUnavailable, Message: fmt.Sprintf("ask %s: %v", server, err),
		Hint: "is the address right, and does piccolo run there? Masters listen on port " + strconv.Itoa(node.DefaultAPIPort), Err: err}
}

// call makes one call and keeps in mind whether the answer is live.
func (c *conn) call(ctx context.Context, method, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	asOf, err := c.Do(ctx, method, path, in, out)
	if asOf != nil {
		c.asOf = asOf
	}
	return err
}

func get[T any](ctx context.Context, c *conn, path string) (v T, err error) {
	return v, c.call(ctx, http.MethodGet, path, nil, &v)
}

const nodesPath = "/api/v1/nodes/"

func (c *conn) status(ctx context.Context) (api.Status, error) {
	return get[api.Status](ctx, c, "/api/v1/status")
}

func (c *conn) nodes(ctx context.Context) ([]topology.Node, error) {
	return get[[]topology.Node](ctx, c, "/api/v1/nodes")
}

func (c *conn) node(ctx context.Context, ref string) (topology.Node, error) {
	return get[topology.Node](ctx, c, nodesPath+url.PathEscape(ref))
}

func (c *conn) patchNode(ctx context.Context, ref string, patch any) (n topology.Node, err error) {
	return n, c.call(ctx, http.MethodPatch, nodesPath+url.PathEscape(ref), patch, &n)
}

func (c *conn) removeNode(ctx context.Context, ref string) (n topology.Node, err error) {
	return n, c.call(ctx, http.MethodDelete, nodesPath+url.PathEscape(ref), nil, &n)
}

func (c *conn) containers(ctx context.Context, ref string, stats bool) ([]workload.Container, error) {
	path := "/api/v1/containers"
	if ref != "" {
		path = nodesPath + url.PathEscape(ref) + "/containers"
	}
	if stats {
		path += "?stats=1"
	}
	return get[[]workload.Container](ctx, c, path)
}

func (c *conn) topology(ctx context.Context) (topology.ClusterTopology, error) {
	return get[topology.ClusterTopology](ctx, c, "/api/v1/topology")
}

func (c *conn) putTopology(ctx context.Context, t any) (out topology.ClusterTopology, err error) {
	return out, c.call(ctx, http.MethodPut, "/api/v1/topology", t, &out)
}

func (c *conn) events(ctx context.Context, limit int) ([]api.Event, error) {
	return get[[]api.Event](ctx, c, "/api/v1/events?limit="+strconv.Itoa(limit))
}

func (c *conn) createToken(ctx context.Context, r api.TokenRequest) (t api.TokenCreated, err error) {
	return t, c.call(ctx, http.MethodPost, "/api/v1/tokens", r, &t)
}

func (c *conn) tokens(ctx context.Context) ([]auth.JoinRecord, error) {
	return get[[]auth.JoinRecord](ctx, c, "/api/v1/tokens")
}

func (c *conn) deleteToken(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, "/api/v1/tokens/"+url.PathEscape(id), nil, nil)
}

func (c *conn) leave(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/api/v1/self/leave", nil, nil)
}

var errStop = errors.New("stop watching")

// untilNode waits until a node of the watch stream is what match wants. A
// daemon that does not answer yet is waited for.
func (c *conn) untilNode(ctx context.Context, match func(topology.Node) bool) error {
	wait := &backoff.ExponentialBackOff{InitialInterval: 20 * time.Millisecond, Multiplier: 1.5, MaxInterval: 500 * time.Millisecond}
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := c.Watch(ctx, []string{"node"}, func(ch change) error {
			var n topology.Node
			if ch.Type == "put" && json.Unmarshal(ch.Object, &n) == nil && match(n) {
				return errStop
			}
			return nil
		})
		switch {
		case errors.Is(err, errStop):
			return struct{}{}, nil
		case err == nil:
			err = errors.New("the watch stream ended")
		case classify(err).Kind == api.KindDenied:
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(wait), backoff.WithMaxElapsedTime(0))
	return err
}
