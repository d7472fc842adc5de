package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"
)

const (
	// joinPause lies between two rounds of asking for the members.
	joinPause = 200 * time.Millisecond
	// askTimeout bounds one question to one peer.
	askTimeout = 2 * time.Second
	// maxMembersBytes bounds the answer.
	maxMembersBytes = 1 << 20
)

// cluster is what a peer answers when it is asked for the members.
type cluster struct {
	id      types.ID
	members []*membership.Member
}

// findCluster returns all members of the cluster that this one is to join, by
// name, or nil if it has been part of one before. etcd asks any one of them again,
// and gives up if that has not heard yet of what the leader has just decided: so
// all that answer must agree.
func (m *Member) findCluster(ctx context.Context) (map[string]string, error) {
	if len(m.opts.Join) == 0 || wal.Exist(filepath.Join(m.opts.Dir, "member", "wal")) {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, m.opts.StartTimeout)
	defer cancel()
	asked := m.opts.Join
	for {
		members, err := m.agree(ctx, asked)
		if errors.Is(err, ErrDamaged) {
			return nil, err
		}
		if err == nil {
			others := maps.Clone(members)
			delete(others, m.opts.Name)
			all := slices.Sorted(maps.Values(others))
			if slices.Equal(all, asked) {
				return members, nil
			}
			asked = all
			continue
		}
		pause := time.NewTimer(joinPause)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return nil, fmt.Errorf("join the cluster of %v: %w", asked, err)
		}
	}
}

// agree asks the members at these addresses. Those that answer must name the same
// members, with room for this one.
func (m *Member) agree(ctx context.Context, addresses []string) (members map[string]string, err error) {
	urls := make([]string, 0, len(addresses))
	for _, addr := range addresses {
		urls = append(urls, m.opts.peerURL(addr))
	}
	answers, err := m.ask(ctx, urls)
	if len(answers) == 0 {
		return nil, err
	}
	for i, c := range answers {
		theirs, err := m.place(c)
		if err != nil {
			return nil, err
		}
		if i > 0 && !maps.Equal(theirs, members) {
			return nil, errors.New("its members do not agree yet who they are")
		}
		members = theirs
	}
	return members, nil
}

// place is the membership in which there is room for this member.
func (m *Member) place(c cluster) (map[string]string, error) {
	all := make(map[string]string, len(c.members))
	var err = fmt.Errorf("it has no room for %s: add that as a learner first", m.opts.Name)
	for _, p := range c.members {
		all[p.Name] = addressOf(p)
		switch {
		case p.Name != m.opts.Name:
		case isStarted(p):
			// It would not know what it has voted for and acknowledged.
			return nil, fmt.Errorf("join: %s has been a member before, and what it knew is not in %s: "+
				"remove it from the cluster and add it again: %w", p.Name, m.opts.Dir, ErrDamaged)
		case all[p.Name] != m.opts.PeerAdvertise:
			err = fmt.Errorf("it expects %s at %s, not %s", p.Name, all[p.Name], m.opts.PeerAdvertise)
		default:
			err = nil
		}
	}
	return all, err
}

// whyStopped is the reason why etcd has stopped by itself. It does so only when
// it is told that it was removed; but it also takes a message that has reached a
// wrong member, because two have swapped their addresses, for such news. The
// others know.
func (m *Member) whyStopped(ctx context.Context) error {
	self := m.etcd.Server.MemberID()
	if m.etcd.Server.IsIDRemoved(uint64(self)) {
		return ErrRemoved
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	mine := m.etcd.Server.Cluster()
	var urls []string
	for _, p := range mine.Members() {
		if p.ID != self {
			urls = append(urls, p.PeerURLs...)
		}
	}
	answers, err := m.ask(ctx, urls)
	for _, c := range answers {
		if c.id == mine.ID() && c.member(self) == nil {
			return ErrRemoved
		}
	}
	if err != nil {
		return fmt.Errorf("etcd has stopped because a peer has refused it, and no other confirms that it was removed: start it again: %w", err)
	}
	return errors.New("etcd has stopped because a peer has refused it, but it is a member still: have two members swapped addresses? Start it again")
}

func (c cluster) member(id types.ID) *membership.Member {
	for _, p := range c.members {
		if p.ID == id {
			return p
		}
	}
	return nil
}

// ask asks all at once for the members, and returns the answers and why others
// gave none.
func (m *Member) ask(ctx context.Context, urls []string) ([]cluster, error) {
	client, err := m.peerClient()
	if err != nil {
		return nil, err
	}
	defer client.CloseIdleConnections()
	type answer struct {
		c   cluster
		err error
	}
	answers := make(chan answer, len(urls))
	for _, u := range urls {
		go func() {
			c, err := askMembers(ctx, client, u)
			answers <- answer{c, err}
		}()
	}
	var found []cluster
	var errs []error
	for range urls {
		if a := <-answers; a.err != nil {
			errs = append(errs, a.err)
		} else {
			found = append(found, a.c)
		}
	}
	return found, errors.Join(errs...)
}

// peerClient verifies whom it asks as etcd does.
func (m *Member) peerClient() (*http.Client, error) {
	t := &http.Transport{DisableKeepAlives: true}
	if !m.opts.PeerTLS.empty() {
		conf, err := m.opts.PeerTLS.info(zap.NewNop()).ClientConfig()
		if err != nil {
			return nil, fmt.Errorf("option PeerTLS: %w", err)
		}
		t.TLSClientConfig = conf
	}
	return &http.Client{Transport: t, Timeout: askTimeout}, nil
}

func askMembers(ctx context.Context, client *http.Client, peer string) (cluster, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, peer+"/members", nil)
	if err != nil {
		return cluster{}, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return cluster{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return cluster{}, fmt.Errorf("%s/members: %s", peer, resp.Status)
	}
	var c cluster
	if c.id, err = types.IDFromString(resp.Header.Get("X-Etcd-Cluster-ID")); err == nil {
		err = json.NewDecoder(http.MaxBytesReader(nil, resp.Body, maxMembersBytes)).Decode(&c.members)
	}
	if err != nil {
		return cluster{}, fmt.Errorf("%s/members: %w", peer, err)
	}
	return c, nil
}
