package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	ucli "github.com/urfave/cli/v2"

	"piccolo.io/piccolo/node"
	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/unit"
	"piccolo.io/piccolo/topology"
)

// What init and join have in common: the flags that describe this machine,
// and bringing its daemon up.

const (
	// readyTimeout is the requirement's own limit for a join.
	readyTimeout = 30 * time.Second
	// notReadyPatience is how long a reason for NotReady may stand before the
	// command ends with it.
	notReadyPatience = 5 * time.Second
	// startTimeout bounds what systemd does; it has TimeoutStartSec=90s.
	startTimeout = 100 * time.Second
)

func machineFlags() []ucli.Flag {
	return []ucli.Flag{
		&ucli.StringFlag{Name: "name", Usage: "`NAME` of this node", DefaultText: "the host name"},
		&ucli.StringFlag{Name: "advertise", Usage: "`IP[:PORT]` at which other nodes reach this one", DefaultText: "found out"},
		&ucli.StringSliceFlag{Name: "label", Usage: "`KEY=VALUE` of this node; may be repeated"},
		&ucli.BoolFlag{Name: "foreground", Usage: "run the daemon in this terminal instead of under systemd"},
	}
}

// described is what the machine flags say.
type described struct {
	name      string
	advertise netip.AddrPort
	labels    map[string]string
}

// describe reads and checks the machine flags. An advertised port is this
// node's API port from now on.
func (a *app) describe(c *ucli.Context) (d described, err error) {
	d.name = c.String("name")
	if c.IsSet("name") {
		if err := topology.ValidateName(d.name); err != nil {
			return d, api.Invalidf("flag --name: %w", err)
		}
	}
	if d.labels, _, err = parseLabels(c.StringSlice("label"), false); err != nil {
		return d, err
	}
	if d.advertise, err = parseAdvertise(c.String("advertise")); err != nil {
		return d, err
	}
	if p := d.advertise.Port(); p != 0 {
		a.settings["api-port"] = fmt.Sprint(p)
	}
	return d, nil
}

func parseAdvertise(s string) (netip.AddrPort, error) {
	if s == "" {
		return netip.AddrPort{}, nil
	}
	ap, err := netip.ParseAddrPort(s)
	if err != nil || ap.Port() == 0 {
		addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
		if err != nil {
			return ap, api.Invalidf("flag --advertise: %q is not IP or IP:PORT", shorten(s)).WithHint("names are not taken here, for example: --advertise 10.0.0.1")
		}
		ap = netip.AddrPortFrom(addr, 0)
	}
	if ap.Addr().IsUnspecified() || ap.Addr().IsMulticast() {
		return ap, api.Invalidf("flag --advertise: other nodes cannot reach %s", ap.Addr())
	}
	return ap, nil
}

// parseLabels reads KEY=VALUE words, and KEY- for a label to be removed
// where that is allowed.
func parseLabels(list []string, removal bool) (set map[string]string, remove []string, err error) {
	set = map[string]string{}
	for _, w := range list {
		key, value, ok := strings.Cut(w, "=")
		if gone, minus := strings.CutSuffix(w, "-"); !ok && minus && removal {
			if err := topology.ValidateLabel(gone, ""); err != nil {
				return nil, nil, api.Invalidf("%w", err)
			}
			remove = append(remove, gone)
			continue
		}
		if !ok {
			return nil, nil, api.Invalidf("label %q is not KEY=VALUE", shorten(w))
		}
		if err := topology.ValidateLabel(key, value); err != nil {
			return nil, nil, api.Invalidf("%w", err)
		}
		if _, twice := set[key]; twice || slices.Contains(remove, key) {
			return nil, nil, api.Invalidf("label %q is given twice", key)
		}
		set[key] = value
	}
	for _, key := range remove {
		if _, both := set[key]; both {
			return nil, nil, api.Invalidf("label %q is given twice", key)
		}
	}
	if err := topology.ValidateLabels(maps.Clone(set)); err != nil {
		return nil, nil, api.Invalidf("%w", err)
	}
	return set, remove, nil
}

// place is where this node's daemon is to run.
type place struct {
	// service is nil where it is this terminal.
	service service
	// why it is this terminal, for a person who did not ask for that.
	why string
}

// choosePlace finds out where the daemon is to run.
func (a *app) choosePlace(ctx context.Context, foreground bool) (place, error) {
	if foreground {
		return place{}, nil
	}
	if !a.booted() || !a.root() {
		why := "systemd does not run this machine"
		if a.booted() {
			why = "only root can install the service"
		}
		return place{why: why}, nil
	}
	u, err := a.unit()
	if err != nil {
		return place{}, err
	}
	running, err := u.Running(ctx)
	if err != nil {
		return place{}, err
	}
	if have := a.fileDataDir(); running && have != a.settings["data-dir"] {
		return place{}, api.Conflictf("%s runs a node already, with its data in %s", unit.Name, have).
			WithHint("a second node on this machine needs --foreground, with its own --run-dir and ports")
	}
	return place{service: u}, nil
}

// unit is piccolo.service with this run's settings.
func (a *app) unit() (service, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the path of this program: %w", err)
	}
	return a.newUnit(unit.Options{
		Program: program, Config: a.settings["config"], DataDir: a.settings["data-dir"],
		RunDir: a.settings["run-dir"], PodmanSocket: a.settings["podman-socket"],
	})
}

// fileDataDir is the data directory that a service would find in the file.
func (a *app) fileDataDir() string {
	file, err := readFile(a.settings["config"], false)
	if e, ok := file["data_dir"]; ok && err == nil {
		return e.value
	}
	return node.DefaultDataDir
}

// bringUp starts the daemon in its place, waits until the node is Ready, and
// calls announce with the time since the command began, 0
// if the node did not become Ready.
func (a *app) bringUp(ctx context.Context, p place, nodeID string, announce func(time.Duration) error) error {
	whenServed := func(ctx context.Context) error {
		a.step("waiting until the node is Ready")
		err := a.waitReady(ctx, nodeID)
		if errors.Is(err, errGone) {
			return err
		}
		took := time.Since(a.began)
		if err != nil {
			took = 0
		}
		return errors.Join(announce(took), err)
	}
	if p.service == nil {
		if p.why != "" {
			a.say("The daemon runs in this terminal, because %s.", p.why)
		}
		return a.runHere(ctx, whenServed)
	}
	if err := a.startService(ctx, p.service); err != nil {
		return errors.Join(announce(0), err)
	}
	return whenServed(ctx)
}

func (a *app) startService(ctx context.Context, u service) error {
	if err := updateFile(a.settings["config"], a.settings.changed()); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	a.step("starting " + unit.Name)
	if err := u.Install(ctx); err != nil {
		return err
	}
	return u.Start(ctx)
}

// waitReady waits until the node itself says that it is Ready.
func (a *app) waitReady(ctx context.Context, nodeID string) error {
	return a.waitReadyFor(ctx, nodeID, readyTimeout)
}

func (a *app) waitReadyFor(ctx context.Context, nodeID string, limit time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errNotReadyInTime)
	defer cancel()
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	// A node that says why it is not Ready will say so in 30 s too.
	patience := time.AfterFunc(limit, func() { giveUp(errNotReadyInTime) })
	defer patience.Stop()
	conn, err := a.dialLocal()
	if err != nil {
		return err
	}
	defer conn.Close()
	var beside sync.WaitGroup
	defer beside.Wait()
	defer giveUp(nil)
	beside.Go(func() {
		// A node that was removed is in no list that could be watched.
		if self, err := a.untilMode(ctx, removalPause, modeRemoved); err == nil {
			giveUp(errRemoved(self))
		}
	})
	last, began := "it has not answered", time.Now()
	err = untilNode(ctx, conn, func(n topology.Node) bool {
		if n.ID != nodeID {
			return false
		}
		now := "it is " + n.Status.Word()
		if len(n.Reasons) > 0 {
			now += " (" + n.Reasons.String() + ")"
		}
		if now != last && n.Status != topology.StatusReady {
			a.step(now)
		}
		if now != last && n.Status == topology.StatusNotReady {
			patience.Reset(notReadyPatience)
		}
		last = now
		return n.Status == topology.StatusReady
	})
	if err == nil {
		// What is known of it may be no more than what it remembers.
		_, err = a.untilMode(ctx, onlinePause, modeOnline)
	}
	if errors.Is(context.Cause(ctx), errGone) {
		return context.Cause(ctx)
	}
	if errors.Is(context.Cause(ctx), errNotReadyInTime) {
		return a.notInTime(ctx, time.Since(began), last)
	}
	return err
}

const (
	// removalPause between two questions whether the cluster has removed the
	// node.
	removalPause = 300 * time.Millisecond
	// onlinePause between two questions whether the node hears a master.
	onlinePause = 50 * time.Millisecond
)

// untilMode asks the daemon on this machine until it is in that mode.
func (a *app) untilMode(ctx context.Context, pause time.Duration, mode string) (api.SelfStatus, error) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		self, err := a.askSelf(ctx)
		if err == nil && self.Mode == mode {
			return self, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return self, ctx.Err()
		}
	}
}

// notInTime says what a node is instead of Ready. One that hears no master
// knows that itself.
func (a *app) notInTime(ctx context.Context, took time.Duration, last string) error {
	if self, err := a.askSelf(context.WithoutCancel(ctx)); err == nil && self.Mode != modeOnline {
		last = "it is " + self.Mode + ": " + plain(self.ModeReason)
	}
	return api.Unavailablef("the node runs, but was not Ready after %s: %s", took.Round(time.Second), strings.TrimSuffix(last, ": ")).
		WithHint("`piccolo status` and `piccolo check` say more; it goes on trying")
}

// nameCluster says to which cluster a machine belongs whose daemon holds the
// data directory; only that daemon can tell.
func (a *app) nameCluster(ctx context.Context, err error) error {
	if !errors.Is(err, node.ErrLocked) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, dialErr := a.dialLocal()
	if dialErr != nil {
		return err
	}
	defer conn.Close()
	st, askErr := conn.Status(ctx)
	if askErr != nil {
		return err
	}
	return fmt.Errorf("%w: it runs as node %s of cluster %s", node.ErrMember, plain(st.Value.Self.Name), plain(st.Value.Cluster.Name))
}

var errNotReadyInTime = errors.New("not Ready in time")

// readToken takes a credential from --token, --token-file or the
// environment. "-" as the file is standard input.
func (a *app) readToken(c *ucli.Context) (string, error) {
	token, file := c.String("token"), c.String("token-file")
	switch {
	case c.IsSet("token") && c.IsSet("token-file"):
		return "", api.Invalidf("use either --token or --token-file")
	case c.IsSet("token"):
	case file == "-":
		text, err := readAll(a.streams.In, "standard input", maxToken)
		if err != nil {
			return "", api.Invalidf("read the token: %w", err)
		}
		token = string(text)
	case c.IsSet("token-file"):
		text, err := readBounded(file, maxToken)
		if err != nil {
			e := api.Invalidf("read the token: %w", err)
			if errors.Is(err, fs.ErrPermission) {
				return "", e.WithHint("run this as root")
			}
			return "", e
		}
		token = string(text)
	default:
		token, _ = a.env.Lookup("PICCOLO_TOKEN")
	}
	token = strings.TrimSpace(token)
	switch {
	case token == "":
		return "", api.Invalidf("a token is missing").WithHint("give it with --token T, --token-file FILE (- is standard input) or in PICCOLO_TOKEN")
	case len(token) > maxToken, strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", api.Invalidf("the token is damaged: it is one word of letters, digits and dots").WithHint("copy it again, as a whole")
	}
	return token, nil
}

// maxToken bounds a token, in bytes.
const maxToken = 4096
