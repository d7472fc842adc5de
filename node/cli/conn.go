package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"

	"piccolo.io/piccolo/node"
	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/api/client"
	"piccolo.io/piccolo/node/api/feed"
	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/node/pki"
	"piccolo.io/piccolo/topology"
)

// dial prepares to talk to the server that was chosen: --server, else the
// current context, else the socket on this machine. It connects to nothing.
func (a *app) dial() (*client.HTTP, error) {
	server := a.settings["server"]
	if path, ok := strings.CutPrefix(server, "unix://"); ok {
		return client.NewHTTP(client.HTTPOptions{Socket: path})
	}
	contexts, err := a.readContexts()
	if err != nil {
		return nil, err
	}
	if server == "" {
		if cur, ok := contexts.find(contexts.Current); ok {
			return a.dialServer(cur.Server, cur.Token)
		}
		return a.dialLocal()
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

// dialServer prepares to talk to a master; the token pins the cluster's CA.
func (a *app) dialServer(server, token string) (*client.HTTP, error) {
	t, err := auth.ParseAPIToken(token)
	if err != nil {
		return nil, badAPIToken(err)
	}
	clock, err := pki.NewClock(pki.ClockOptions{Build: a.buildTime()})
	if err != nil {
		return nil, fmt.Errorf("read the clock: %w", err)
	}
	a.remote = true
	config, _, err := pki.EnrolTLS(t.Fingerprint, clock)
	if err != nil {
		return nil, err
	}
	return client.NewHTTP(client.HTTPOptions{Server: withPort(server), TLS: config, Token: auth.Secret(t.Reveal())})
}

// withPort adds the API's port where a server has none.
func withPort(server string) string {
	u, err := url.Parse(server)
	if err != nil || u.Port() != "" {
		return strings.TrimRight(server, "/")
	}
	return "https://" + u.Host + ":" + strconv.Itoa(node.DefaultAPIPort)
}

// dialLocal prepares to talk to the daemon on this machine.
func (a *app) dialLocal() (*client.HTTP, error) {
	return client.NewHTTP(client.HTTPOptions{Socket: a.settings.options().Socket()})
}

// noDaemon says how a machine gets a daemon that has none because it belongs
// to no cluster. Other errors stay as they are.
func (a *app) noDaemon(err error) error {
	var known *api.Error
	if !errors.As(err, &known) || !unanswered(err) || !errors.Is(node.Member(a.nodeOptions()), node.ErrNotMember) {
		return err
	}
	return &api.Error{Kind: api.KindUnavailable, Message: known.Message + ": it belongs to no cluster", Err: err,
		Hint: "`piccolo init` makes a cluster, `piccolo join` enters one, `piccolo login` asks a master from here"}
}

// unanswered reports whether nobody listens on the socket.
func unanswered(err error) bool {
	return classify(err).Kind == api.KindUnavailable && (errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist))
}

var errFound = errors.New("found")

// untilNode waits until a node of the watch stream is what match wants. A
// daemon that does not answer yet is waited for.
func untilNode(ctx context.Context, c *client.HTTP, match func(topology.Node) bool) error {
	wait := &backoff.ExponentialBackOff{InitialInterval: 20 * time.Millisecond, Multiplier: 1.5, MaxInterval: 500 * time.Millisecond}
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := c.Watch(ctx, []string{feed.KindNode}, "", func(ch feed.Change) error {
			var n topology.Node
			if ch.Type == feed.TypePut && json.Unmarshal(ch.Object, &n) == nil && match(n) {
				return errFound
			}
			return nil
		})
		if errors.Is(err, errFound) {
			return struct{}{}, nil
		}
		if classify(err).Kind != api.KindUnavailable {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(wait), backoff.WithMaxElapsedTime(0))
	return err
}
