package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"

	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/podman"
	"piccolo.io/piccolo/readiness"
	"piccolo.io/piccolo/store/cache"
	"piccolo.io/piccolo/topology"
)

// Uplink is one connection to one master.
type Uplink interface {
	// Attach keeps a session open. It calls notice for each message from the
	// master, one at a time, and sends what comes from answers. It returns
	// when ctx ends or the connection does.
	Attach(ctx context.Context, h workload.Hello, notice func(workload.Notice), answers <-chan workload.Answer) error
	Heartbeat(ctx context.Context, h workload.Heartbeat) (workload.HeartbeatReply, error)
	Report(ctx context.Context, r workload.Report) error
	// Plan confirms what the node obeys and returns a newer plan, or nil.
	Plan(ctx context.Context, node string, applied int64, applyError string) (*workload.Plan, error)
	Close() error
}

// Connector makes an Uplink to the master at address, host:port, and tells
// the own address that it was made from.
type Connector func(ctx context.Context, address string) (link Uplink, own string, err error)

// Podman is what the agent needs of the engine on its board.
type Podman interface {
	Watch(ctx context.Context, deliver func(podman.Snapshot))
	Stats(ctx context.Context, ids ...string) ([]podman.Usage, error)
}

// Checker runs the readiness checks that are cheap enough for a running node.
type Checker interface {
	Run(ctx context.Context, gate readiness.Gate) readiness.Report
}

// Options of an Agent. All fields without a stated default are needed.
type Options struct {
	// Identity of the node, as far as it does not change while the daemon runs.
	Identity Identity
	// Masters to try first, host:port; later the view tells.
	Masters []string
	Connect Connector
	Podman  Podman
	Checker Checker
	Cache   *cache.Cache
	// Apply obeys a plan; an error keeps the one before.
	Apply func(workload.Plan) error
	// OnView, OnKeyring and OnRemoved are told what the masters say. They must
	// not block. Default: nothing.
	OnView    func(workload.View)
	OnKeyring func(workload.Keyring)
	OnRemoved func(reason string)
	// OnContainers is told all containers of the board when one changed. It
	// must not block. Default: nothing.
	OnContainers func([]workload.Container)
	// OnEvent is told in a few words what happened to this node: how it stands
	// with the masters, and whether Podman answers. It must not block. Default:
	// nothing.
	OnEvent func(kind, message string)
	// ObserveTime is told the master's time. Default: nothing.
	ObserveTime func(time.Time)
	// Now is the trusted clock. Default time.Now.
	Now    func() time.Time
	Logger *slog.Logger
}

// Identity is who the node is.
type Identity struct {
	ID, Name  string
	Role      topology.Role
	ClusterID string
	// Advertise is the fixed address of the node; where it is empty, the one
	// from which it reaches its master is told.
	Advertise string
	// GossipPort and APIPort at which others reach it; APIPort is 0 on a sub.
	GossipPort, APIPort int
	Version             string
	MachineID           string
	// Instance is random per run of the daemon.
	Instance string
	DataDir  string
	Platform topology.Platform
}

// Mode is how the agent stands with the masters.
type Mode string

const (
	// ModeOnline: attached to a master.
	ModeOnline Mode = "Online"
	// ModeOffline: no master can be reached; work goes on by the newest plan.
	ModeOffline Mode = "Offline"
	// ModeRemoved: the cluster has removed this node.
	ModeRemoved Mode = "Removed"
)

// Standing is the agent's state as a person may ask for it.
type Standing struct {
	Mode   Mode
	Reason string
	Since  time.Time
	// Master is the address of the master that it is attached to.
	Master       string
	PlanRevision int64
	// NewestRevision of the plan that the masters hold, as far as they told.
	NewestRevision int64
	ApplyError     string
}

// Agent is the NodeAgent. Make it with New and run it once.
type Agent struct {
	o       Options
	figures *figures
	wake    struct {
		report, plan, doubt, interval, connect, check chan struct{}
	}

	// watched: Podman has told what runs, or that it is down; examined: the
	// checks have run.
	watched, examined first

	mu       sync.Mutex
	standing Standing
	// told are the kinds of reasons that were said in this mode.
	told       map[string]bool
	plan       workload.Plan
	view       workload.View
	containers []workload.Container
	complete   bool
	podmanVer  string
	podmanErr  string
	conditions topology.Reasons
	findings   []readiness.Result
	newestPlan int64
	// retryPlan is when a refused plan may be tried again.
	retryPlan time.Time
	refusals  *backoff.ExponentialBackOff
	reportSeq uint64
	raised    map[string]time.Time // alert id → when it was raised
	resources topology.Resources
}

// New checks the options and loads the plan and the view that the node kept.
func New(o Options) (*Agent, error) {
	switch {
	case o.Identity.ID == "":
		return nil, errors.New("agent: Identity.ID is missing")
	case o.Connect == nil:
		return nil, errors.New("agent: Connect is missing")
	case o.Podman == nil:
		return nil, errors.New("agent: Podman is missing")
	case o.Checker == nil:
		return nil, errors.New("agent: Checker is missing")
	case o.Cache == nil:
		return nil, errors.New("agent: Cache is missing")
	case o.Apply == nil:
		return nil, errors.New("agent: Apply is missing")
	}
	if o.OnView == nil {
		o.OnView = func(workload.View) {}
	}
	if o.OnKeyring == nil {
		o.OnKeyring = func(workload.Keyring) {}
	}
	if o.OnRemoved == nil {
		o.OnRemoved = func(string) {}
	}
	if o.OnContainers == nil {
		o.OnContainers = func([]workload.Container) {}
	}
	if o.OnEvent == nil {
		o.OnEvent = func(string, string) {}
	}
	if o.ObserveTime == nil {
		o.ObserveTime = func(time.Time) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	a := &Agent{o: o, told: map[string]bool{}, raised: map[string]time.Time{}, refusals: newRefusals(), figures: newFigures(o.Identity.DataDir, o.Now)}
	a.watched.done, a.examined.done = make(chan struct{}), make(chan struct{})
	for _, c := range []*chan struct{}{&a.wake.report, &a.wake.plan, &a.wake.doubt, &a.wake.interval, &a.wake.connect, &a.wake.check} {
		*c = make(chan struct{}, 1)
	}
	a.standing = Standing{Mode: ModeOffline, Reason: "no master has been reached yet", Since: o.Now()}
	a.resources = a.figures.resources(context.Background())
	return a, a.recall()
}

// Run works until ctx ends. It obeys the plan from the disk before it looks
// for a master, and looks for none any more once the cluster has removed the
// node.
func (a *Agent) Run(ctx context.Context) error {
	a.mu.Lock()
	kept := a.plan
	a.mu.Unlock()
	if kept.Revision > 0 {
		if err := a.obey(kept); err != nil {
			a.o.Logger.Error("the kept plan is not obeyed", "revision", kept.Revision, "error", err)
			a.mu.Lock()
			a.plan, a.standing.ApplyError = workload.Plan{}, err.Error() // a master sends it again
			a.mu.Unlock()
		}
	}
	outer := ctx
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		a.o.Podman.Watch(ctx, a.podmanChanged)
		return nil
	})
	g.Go(func() error { return a.checkConditions(ctx) })
	g.Go(func() error { return a.stayConnected(ctx) })
	err := g.Wait()
	a.keepView() // what is known now is what a cold start without a master tells
	if err != nil && outer.Err() == nil {
		return fmt.Errorf("run agent: %w", err)
	}
	return nil
}

// Standing tells how the agent stands now.
func (a *Agent) Standing() Standing {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.standing
	s.PlanRevision, s.NewestRevision = a.plan.Revision, max(a.plan.Revision, a.newestPlan)
	return s
}

// View returns what the node knows of the cluster, and when a master was heard
// of last.
func (a *Agent) View() workload.View {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.view
}

// Containers returns what Podman runs on this board.
func (a *Agent) Containers() []workload.Container {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.containers
}

// FlashMBPerDay is what is written to the device that holds the data
// directory, by everything on the board, in MB (10^6 bytes) a day, at the pace
// since the daemon's start; 0 until ten minutes have passed.
func (a *Agent) FlashMBPerDay(ctx context.Context) float64 { return a.figures.FlashMBPerDay(ctx) }

// Doubt asks the agent to find out at once whether its master still answers:
// gossip has lost it.
func (a *Agent) Doubt() { trigger(a.wake.doubt) }

// Retry asks an agent that is waiting to look for a master now: gossip has
// seen one.
func (a *Agent) Retry() { trigger(a.wake.connect) }

// trigger wakes whoever reads the channel; a wake-up that is pending already
// covers this one.
func trigger(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
