package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"piccolo.io/piccolo/gossip"
	"piccolo.io/piccolo/node/agent"
	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/node/pki"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/readiness"
	"piccolo.io/piccolo/store/cache"
	"piccolo.io/piccolo/topology"
)

// Join brings this machine into the cluster of a master: readiness gate,
// enrolment over a connection that is pinned by the token, and then
// everything that Run needs is written to the data directory. Nothing is
// started, and a machine that belongs to that cluster already is left as it
// is: what it cannot become without leaving first is ErrMember.
// Whatever fails, the machine belongs to nothing afterwards. Of a join that
// the master may have heard of, the key stays, so that doing it again goes on
// with it instead of being another node of the same name.
func Join(ctx context.Context, o JoinOptions) (JoinResult, error) {
	if o.Progress == nil {
		o.Progress = func(string, bool) {}
	}
	res, err := join(ctx, o)
	if err != nil {
		return JoinResult{}, fmt.Errorf("join cluster at %s: %w", o.Master, err)
	}
	return res, nil
}

func join(ctx context.Context, o JoinOptions) (_ JoinResult, err error) {
	token, m, err := o.membership()
	if err != nil {
		return JoinResult{}, err
	}
	o.Options = o.withDefaults()
	if known, err := readMembership(o.DataDir); err == nil && known.Fingerprint == token.Fingerprint {
		return o.again(known)
	}
	if err := foreign(o.DataDir); err != nil {
		return JoinResult{}, err
	}
	dir, created, err := takeDataDir(ctx, o.DataDir)
	if err != nil {
		return JoinResult{}, err
	}
	e := &enrolment{o: o, dir: dir, m: m, token: token}
	defer func() {
		err = errors.Join(err, dir.close())
		if err != nil && created && !e.known {
			err = errors.Join(err, os.RemoveAll(dir.path))
		}
	}()
	if err := dir.fresh(); err != nil {
		return JoinResult{}, err
	}
	return e.run(ctx)
}

// again is the answer to a machine that belongs to the token's cluster. What
// was asked for and is not so is refused, never passed over.
func (o JoinOptions) again(known Membership) (JoinResult, error) {
	refuse := func(what string, asked any) (JoinResult, error) {
		return JoinResult{}, fmt.Errorf("%w: it is %s, a %s of cluster %s at %s, and cannot take the %s %v without leaving first",
			ErrMember, known.Name, known.Role, known.Cluster, known.Address, what, asked)
	}
	switch {
	case o.Role != "" && o.Role != known.Role:
		return refuse("role", o.Role)
	case o.Name != "" && o.Name != known.Name:
		return refuse("name", o.Name)
	case o.Advertise.IsValid() && o.Advertise.Addr().String() != known.Address:
		return refuse("address", o.Advertise.Addr())
	}
	return JoinResult{NodeID: known.ID, Name: known.Name, Cluster: known.Cluster, Role: known.Role, Master: o.Master, Already: true}, nil
}

// invalid is an error that the caller can mend; it adds nothing to the text.
type invalid struct{ error }

func (i invalid) Unwrap() error        { return i.error }
func (i invalid) Is(target error) bool { return target == topology.ErrInvalid }

// membership checks what was asked for before anything is touched or dialled.
func (o *JoinOptions) membership() (auth.Token, Membership, error) {
	m := Membership{Name: o.Name, Role: o.Role, Fixed: o.Advertise.IsValid()}
	if err := o.Validate(); err != nil {
		return auth.Token{}, m, err
	}
	d := o.withDefaults()
	m.APIPort, m.GossipPort, m.EtcdPeerPort = d.APIPort, d.GossipPort, d.EtcdPeerPort
	if m.Role == "" {
		m.Role = topology.RoleSub
	}
	if !m.Role.Valid() {
		return auth.Token{}, m, invalid{fmt.Errorf("role %q is not one: use sub or master", m.Role)}
	}
	if m.Role == topology.RoleSub {
		m.APIPort, m.EtcdPeerPort = 0, 0
	}
	token, err := auth.ParseJoinToken(o.Token)
	if err != nil {
		return token, m, invalid{err}
	}
	if o.Master, err = masterAddress(o.Master); err != nil {
		return token, m, invalid{err}
	}
	if m.Name == "" {
		if m.Name, err = hostName(); err != nil {
			return token, m, err
		}
	}
	if err := topology.ValidateName(m.Name); err != nil {
		return token, m, invalid{fmt.Errorf("node: %w", err)}
	}
	if err := topology.ValidateLabels(o.Labels); err != nil {
		return token, m, invalid{err}
	}
	return token, m, nil
}

// masterAddress adds the default port to a host that has none.
func masterAddress(s string) (string, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		host, port = strings.Trim(s, "[]"), strconv.Itoa(DefaultAPIPort)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 || host == "" || strings.ContainsAny(host, "/ ") {
		return "", fmt.Errorf("master %q is not an address: write HOST or HOST:PORT, such as 192.168.1.10:%d", s, DefaultAPIPort)
	}
	return net.JoinHostPort(host, port), nil
}

// enrolment is one join in progress.
type enrolment struct {
	o     JoinOptions
	dir   *dataDir
	m     Membership
	token auth.Token
	clock *pki.Clock
	tls   *tls.Config
	// pinned holds the CA once the master has shown it.
	pinned *pki.Pinned
	// known: the master may have a record of this board's key.
	known bool
}

func (e *enrolment) run(ctx context.Context) (JoinResult, error) {
	var err error
	if e.clock, err = pki.NewClock(pki.ClockOptions{Build: e.o.BuildTime}); err != nil {
		return JoinResult{}, err
	}
	if e.tls, e.pinned, err = pki.EnrolTLS(e.token.Fingerprint, e.clock); err != nil {
		return JoinResult{}, err
	}
	e.o.Progress("checking the master's identity", false)
	masterTime, err := e.greet(ctx)
	if err != nil {
		return JoinResult{}, err
	}
	e.o.Progress("checking this board", false)
	report, err := e.gate(ctx, masterTime)
	if err != nil {
		return JoinResult{}, err
	}
	e.o.Progress("enrolling", false)
	admission, err := e.enrol(ctx, report)
	if err != nil {
		return JoinResult{}, err
	}
	res := JoinResult{NodeID: e.m.ID, Name: e.m.Name, Cluster: e.m.Cluster, Role: e.m.Role, Master: e.o.Master, Warnings: append(warnings(report), notOurs(e.o.Advertise)...)}
	if err := e.probeGossip(ctx, admission); err != nil {
		res.Warnings = append(res.Warnings, fmt.Sprintf("gossip by UDP does not reach the master: %v (open port %d, UDP and TCP, in both directions)", err, e.o.GossipPort))
	}
	return res, nil
}

// greet connects to the master, which pins it, and asks for its time.
func (e *enrolment) greet(ctx context.Context) (time.Time, error) {
	transport := &http.Transport{
		DialTLSContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			config := e.tls.Clone()
			config.NextProtos = []string{"http/1.1"}
			return pki.Dial(ctx, address, config)
		},
		DisableKeepAlives: true,
	}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, pki.DialTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+e.o.Master+"/healthz", nil)
	if err != nil {
		return time.Time{}, err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return time.Time{}, greetError(err)
	}
	at, err := http.ParseTime(resp.Header.Get("Date"))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return time.Time{}, fmt.Errorf("%w: %w", pki.ErrNotPiccolo, err)
	}
	return at, nil
}

// greetError drops what net/http adds: the caller has named the master.
func greetError(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("nothing answered within %s: %w", pki.DialTimeout, context.DeadlineExceeded)
	}
	if inner := errors.Unwrap(err); inner != nil {
		return inner
	}
	return err
}

// gate runs the join gate with the master's address and time.
func (e *enrolment) gate(ctx context.Context, masterTime time.Time) (readiness.Report, error) {
	measured := time.Now()
	return joinGate(ctx, e.o.Options, e.m, readiness.Options{
		Master:     e.o.Master,
		MasterTime: func(context.Context) (time.Time, error) { return masterTime.Add(time.Since(measured)), nil },
	})
}

func (e *enrolment) registration(ctx context.Context, report readiness.Report) workload.Registration {
	host, _ := os.Hostname()
	r := workload.Registration{
		NodeID: e.m.ID, Name: e.m.Name, Hostname: host, IP: e.m.Address, Role: e.m.Role, Token: e.token.Reveal(),
		Resources: agent.Resources(ctx, e.dir.path), Platform: platform(), Labels: e.o.Labels, Version: e.o.Version, MachineID: machineID("/"),
		GossipPort: e.m.GossipPort, APIPort: e.m.APIPort, Time: e.clock.Now(),
	}
	for _, res := range report.Results {
		if res.Severity.Bad() {
			r.Readiness = append(r.Readiness, workload.Finding{Check: res.Check, Severity: workload.Severity(res.Severity), Found: res.Found, Mend: res.Mend})
		}
	}
	return r
}

// keep writes what the master gave, node.json last.
func (e *enrolment) keep(ctx context.Context, identity *pki.Identity, a workload.Admission) error {
	if err := identity.SaveCertificate(a.Certificate, e.pinned.CAPEM()); err != nil {
		return err
	}
	keyring, err := gossipKeyring(a.Keyring)
	if err != nil {
		return err
	}
	if err := e.dir.write(gossipFile, keyring.Encode()); err != nil {
		return err
	}
	kept, err := cache.New(cache.Options{Dir: e.dir.join(cacheDir)})
	if err != nil {
		return err
	}
	if _, err := cache.Save(kept, "plan", a.Plan); err != nil {
		return err
	}
	if _, err := cache.Save(kept, "view", a.View); err != nil {
		return err
	}
	e.m.Name, e.m.Cluster, e.m.ClusterID, e.m.Fingerprint = a.Name, a.View.ClusterName, a.View.ClusterID, e.token.Fingerprint
	e.m.Masters = []string{e.o.Master}
	if e.m.Role == topology.RoleMaster {
		if e.m.Peers, err = e.becomeMaster(ctx, identity, a); err != nil {
			return err
		}
	}
	return e.dir.keep(e.m)
}

// probeGossip asks the master's mesh for an answer by UDP.
func (e *enrolment) probeGossip(ctx context.Context, a workload.Admission) error {
	keyring, err := gossipKeyring(a.Keyring)
	if err != nil {
		return err
	}
	own, err := netip.ParseAddr(e.m.Address)
	if err != nil {
		return err
	}
	for _, n := range a.View.Nodes {
		addr, err := netip.ParseAddr(n.IP)
		if n.Role != topology.RoleMaster || err != nil {
			continue
		}
		port := uint16(e.m.GossipPort)
		return gossip.Probe(ctx, gossip.Options{
			ID: e.m.ID, Bind: anyAddress(port), Advertise: netip.AddrPortFrom(own, port), Keyring: keyring, Network: e.o.Network,
		}, netip.AddrPortFrom(addr, uint16(n.GossipPort)), n.ID)
	}
	return nil
}

// warnings are the gate's results that did not refuse the board.
func warnings(r readiness.Report) []string {
	out := []string{}
	for _, res := range r.Results {
		if res.Severity.Bad() {
			out = append(out, strings.TrimSuffix(res.Check+": "+res.Found+" ("+res.Mend+")", " ()"))
		}
	}
	return out
}
