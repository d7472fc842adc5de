package store

import (
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Options of a Member.
type Options struct {
	// Name of this member, the node's id. Required.
	Name string
	// Dir is etcd's own directory; it is made (0700) if it is missing. Required.
	Dir string
	// PeerListen is the "IP:port" where the other masters reach this member. Required.
	PeerListen string
	// PeerAdvertise is the "IP:port" that they are told. Default: PeerListen,
	// which then must not be an unspecified address.
	PeerAdvertise string
	// PeerTLS is required unless PeerListen is a loopback address.
	PeerTLS PeerTLS
	// Join lists "IP:port" of members of a running cluster that this member takes
	// part in, once AddLearner has made room for its Name and PeerAdvertise there;
	// one that answers is enough. Empty: this member founds a cluster. Join and
	// InitialCluster are read only while Dir is empty.
	Join []string
	// InitialCluster maps the name of every founding member, this one included,
	// to its PeerAdvertise, if several found a cluster together. Default: this
	// member alone.
	InitialCluster map[string]string
	// Sealer encrypts every value. Its key file must lie outside Dir. Required.
	Sealer *Sealer
	// Logger receives etcd's warnings and errors. Default: discard.
	Logger *slog.Logger
	// RequestTimeout is the deadline of every call that has no earlier one. Default 2 s.
	RequestTimeout time.Duration
	// TryTimeout bounds one try of a call while others have a vote too: a proposal
	// that was lost on its way to the leader is made again instead of being waited
	// for. (When the leader changes, that is done at once.) Default 500 ms. A single
	// voter has nobody to lose it to and waits.
	TryTimeout time.Duration
	// StartTimeout bounds opening the data directory. Default 30 s.
	StartTimeout time.Duration
	// StopTimeout bounds the stop. Default 10 s.
	StopTimeout time.Duration
	// Heartbeat is raft's tick; elections take five of them. Default 100 ms.
	Heartbeat time.Duration
	// MaxBytes is the size of the database at which writes that add something
	// are refused with ErrFull. Default 256 MiB.
	MaxBytes int64
}

// PeerTLS names the files of the peer port's mutual TLS. Certificate and key are
// read again for every handshake, so they can be renewed in place; the CA is read
// once. The member's own certificate is used for dialling too.
type PeerTLS struct {
	CertFile, KeyFile, CAFile string
	// PeerName is a DNS name that is in the certificates of masters and of nobody
	// else: every node has a certificate of the same CA, but only masters may speak
	// to the store. It is asked of whoever dials and of whoever is dialled; nobody
	// resolves it, and the certificates need no addresses. Required with the files.
	PeerName string
}

func (t PeerTLS) empty() bool { return t.CertFile == "" && t.KeyFile == "" && t.CAFile == "" }

func (o Options) withDefaults() Options {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&o.RequestTimeout, 2*time.Second)
	def(&o.TryTimeout, 500*time.Millisecond)
	def(&o.StartTimeout, 30*time.Second)
	def(&o.StopTimeout, 10*time.Second)
	def(&o.Heartbeat, 100*time.Millisecond)
	if o.PeerAdvertise == "" {
		o.PeerAdvertise = o.PeerListen
	}
	if len(o.InitialCluster) == 0 {
		o.InitialCluster = map[string]string{o.Name: o.PeerAdvertise}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 256 << 20
	}
	return o
}

// validate is called with the defaults filled in.
func (o Options) validate() error {
	if err := ValidateKey(o.Name); err != nil || strings.Contains(o.Name, "/") {
		return fmt.Errorf("option Name %q: want letters, digits and . _ : @ + -", o.Name)
	}
	if !filepath.IsAbs(o.Dir) {
		return fmt.Errorf("option Dir %q: want an absolute path", o.Dir)
	}
	if o.Sealer == nil {
		return fmt.Errorf("option Sealer: missing")
	}
	if rel, err := filepath.Rel(o.Dir, o.Sealer.path); err == nil && filepath.IsLocal(rel) && o.Sealer.path != "" {
		return fmt.Errorf("option Sealer: its key file %s lies in Dir %s; keep it outside, or a copy of the data is a copy of the key", o.Sealer.path, o.Dir)
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"RequestTimeout", o.RequestTimeout}, {"TryTimeout", o.TryTimeout}, {"StartTimeout", o.StartTimeout},
		{"StopTimeout", o.StopTimeout}, {"Heartbeat", o.Heartbeat},
	} {
		if d.value < time.Millisecond || d.value > 10*time.Minute {
			return fmt.Errorf("option %s %v: want 1ms to 10m", d.name, d.value)
		}
	}
	if o.MaxBytes < 1<<20 || o.MaxBytes > 2<<30 {
		return fmt.Errorf("option MaxBytes %d: want 1 MiB to 2 GiB", o.MaxBytes)
	}
	return o.validatePeers()
}

func (o Options) validatePeers() error {
	listen, err := parseAddr(o.PeerListen)
	if err != nil {
		return fmt.Errorf("option PeerListen %q: %w", o.PeerListen, err)
	}
	advertise, err := parseAddr(o.PeerAdvertise)
	if err == nil && advertise.IP.IsUnspecified() {
		err = fmt.Errorf("others cannot dial an unspecified address")
	}
	if err != nil {
		return fmt.Errorf("option PeerAdvertise %q: %w", o.PeerAdvertise, err)
	}
	for name, addr := range o.InitialCluster {
		if _, err := parseAddr(addr); err != nil {
			return fmt.Errorf("option InitialCluster %s=%q: %w", name, addr, err)
		}
	}
	for _, addr := range o.Join {
		if _, err := parseAddr(addr); err != nil {
			return fmt.Errorf("option Join %q: %w", addr, err)
		}
	}
	if len(o.Join) > 0 && len(o.InitialCluster) > 1 {
		return fmt.Errorf("options Join and InitialCluster: a member cannot join one cluster and found another")
	}
	if o.InitialCluster[o.Name] != o.PeerAdvertise {
		return fmt.Errorf("option InitialCluster: %s must be there with PeerAdvertise %s", o.Name, o.PeerAdvertise)
	}
	t := o.PeerTLS
	switch {
	case t.empty() && !listen.IP.IsLoopback():
		return fmt.Errorf("option PeerTLS: required, because PeerListen %s is not a loopback address", o.PeerListen)
	case !t.empty() && slices.Contains([]string{t.CertFile, t.KeyFile, t.CAFile, t.PeerName}, ""):
		return fmt.Errorf("option PeerTLS: CertFile, KeyFile, CAFile and PeerName are required together")
	}
	return nil
}

// peerURL is the form in which etcd keeps a member's address.
func (o Options) peerURL(addr string) string {
	u := o.toURL(addr)
	return u.String()
}

func (o Options) toURL(addr string) url.URL {
	if o.PeerTLS.empty() {
		return url.URL{Scheme: "http", Host: addr}
	}
	return url.URL{Scheme: "https", Host: addr}
}

func parseAddr(addr string) (*net.TCPAddr, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || net.ParseIP(host) == nil || port == "0" {
		return nil, fmt.Errorf("want IP:port")
	}
	return net.ResolveTCPAddr("tcp", addr)
}
