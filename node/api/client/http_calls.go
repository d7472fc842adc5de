package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/topology"
)

// Answer is what a call returned. AsOf is nil where it is live, else the time
// of the last word from a master.
type Answer[T any] struct {
	Value T
	AsOf  *time.Time
}

const (
	nodesPath  = "/api/v1/nodes"
	tokensPath = "/api/v1/tokens"
)

func get[T any](ctx context.Context, c *HTTP, path string) (a Answer[T], err error) {
	a.AsOf, err = c.Do(ctx, http.MethodGet, path, nil, &a.Value)
	return a, err
}

func nodePath(ref string) string { return nodesPath + "/" + url.PathEscape(ref) }

// Status tells how the cluster and the answering node stand.
func (c *HTTP) Status(ctx context.Context) (Answer[api.Status], error) {
	return get[api.Status](ctx, c, "/api/v1/status")
}

// Nodes lists all nodes by name.
func (c *HTTP) Nodes(ctx context.Context) (Answer[[]topology.Node], error) {
	return get[[]topology.Node](ctx, c, nodesPath)
}

// Node returns one node by its id or name.
func (c *HTTP) Node(ctx context.Context, ref string) (Answer[topology.Node], error) {
	return get[topology.Node](ctx, c, nodePath(ref))
}

// PatchNode changes what is set in patch, and returns the node as it is then.
func (c *HTTP) PatchNode(ctx context.Context, ref string, patch api.NodePatch) (n topology.Node, err error) {
	// What is absent stays, so what is nil must not be sent.
	body := map[string]any{}
	if patch.Labels != nil {
		body["labels"] = patch.Labels
	}
	if patch.LogLevel != nil {
		body["log_level"] = *patch.LogLevel
	}
	if patch.Role != nil {
		body["role"] = *patch.Role
	}
	if patch.Status != nil {
		body["status"] = *patch.Status
	}
	_, err = c.Do(ctx, http.MethodPatch, nodePath(ref), body, &n)
	return n, err
}

// RemoveNode takes a node out of the cluster; a pending one is rejected.
func (c *HTTP) RemoveNode(ctx context.Context, ref string) (n topology.Node, err error) {
	_, err = c.Do(ctx, http.MethodDelete, nodePath(ref), nil, &n)
	return n, err
}

// Containers lists those of one node by its id or name, or all for "". With
// stats the figures of CPU and memory are fetched from the nodes.
func (c *HTTP) Containers(ctx context.Context, ref string, stats bool) (Answer[[]workload.Container], error) {
	path := "/api/v1/containers"
	if ref != "" {
		path = nodePath(ref) + "/containers"
	}
	if stats {
		path += "?stats=1"
	}
	return get[[]workload.Container](ctx, c, path)
}

// Topology returns the cluster as a whole.
func (c *HTTP) Topology(ctx context.Context) (Answer[topology.ClusterTopology], error) {
	return get[topology.ClusterTopology](ctx, c, "/api/v1/topology")
}

// PutTopology replaces name and configuration of the cluster.
func (c *HTTP) PutTopology(ctx context.Context, t topology.ClusterTopology) (out topology.ClusterTopology, err error) {
	_, err = c.Do(ctx, http.MethodPut, "/api/v1/topology", t, &out)
	return out, err
}

// Events lists the newest lines of the cluster's log, oldest first: at most
// limit, or all that are kept for 0.
func (c *HTTP) Events(ctx context.Context, limit int) (Answer[[]api.Event], error) {
	return get[[]api.Event](ctx, c, "/api/v1/events?limit="+strconv.Itoa(limit))
}

// Tokens lists the join tokens, without their secrets and hashes.
func (c *HTTP) Tokens(ctx context.Context) ([]auth.JoinRecord, error) {
	a, err := get[[]auth.JoinRecord](ctx, c, tokensPath)
	return a.Value, err
}

// CreateToken makes a join token. Its secret is in this answer and nowhere
// else.
func (c *HTTP) CreateToken(ctx context.Context, r api.TokenRequest) (t api.TokenCreated, err error) {
	_, err = c.Do(ctx, http.MethodPost, tokensPath, r, &t)
	return t, err
}

// DeleteToken makes a join token worthless.
func (c *HTTP) DeleteToken(ctx context.Context, id string) error {
	_, err := c.Do(ctx, http.MethodDelete, tokensPath+"/"+url.PathEscape(id), nil, nil)
	return err
}

// Leave takes the answering node out of its cluster; only over the socket.
func (c *HTTP) Leave(ctx context.Context) error {
	_, err := c.Do(ctx, http.MethodPost, "/api/v1/self/leave", nil, nil)
	return err
}

// Ready returns nil when the server is ready to serve, else why not. It asks
// once: that a server is not ready is an answer too.
func (c *HTTP) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	_, _, err := c.once(ctx, http.MethodGet, "/readyz", nil, nil)
	return err
}

// Metrics returns the server's figures in Prometheus' text format.
func (c *HTTP) Metrics(ctx context.Context) ([]byte, error) {
	a, err := get[[]byte](ctx, c, "/metrics")
	return a.Value, err
}
