package agent

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/podman/podmantest"
	"piccolo.io/piccolo/topology"
)

// TestNew names what is missing.
func TestNew(t *testing.T) {
	t.Parallel()
	b := newBoard(t, nil)
	for field, drop := range map[string]func(*Options){
		"Identity.ID": func(o *Options) { o.Identity.ID = "" }, "Connect": func(o *Options) { o.Connect = nil },
		"Podman": func(o *Options) { o.Podman = nil }, "Checker": func(o *Options) { o.Checker = nil },
		"Cache": func(o *Options) { o.Cache = nil }, "Apply": func(o *Options) { o.Apply = nil },
	} {
		o := b.o
		drop(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), field+" is missing") {
			t.Errorf("without %s: %v", field, err)
		}
	}
}

func TestSession(t *testing.T) {
	t.Parallel()
	b := newBoard(t, nil)
	id := b.podman.Run(t, podmantest.Spec{Name: "web"})
	b.online()
	s := b.Standing()
	if s.Master != "10.0.0.1:7443" || s.Reason != "" || s.PlanRevision != 3 || s.ApplyError != "" {
		t.Errorf("%+v", s)
	}
	b.waitReport("the container", func(r workload.Report) string {
		if len(r.Containers) != 1 || r.Containers[0].ID != id || r.Containers[0].State != "running" || r.PodmanVersion != "5.4.2" {
			return fmt.Sprintf("%+v", r)
		}
		return ""
	})
	b.master.edit(func(m *fakeMaster) {
		h := m.hellos[0]
		if h.Node != "n-1" || h.Instance != "run-1" || h.MachineID != "m-1" || h.IP != "10.0.0.2" || h.GossipPort != 7946 || h.AppliedRevision != 0 {
			t.Errorf("hello: %+v", h)
		}
		if h := m.beats[0]; h.Node != "n-1" || h.Sequence != 1 || h.Usage.At.IsZero() || h.Usage.MemoryAvailable == 0 {
			t.Errorf("first heartbeat: %+v", h)
		}
		if r := m.reports[0]; r.Node != "n-1" || r.Sequence != 1 || r.Resources.CPU == 0 || r.Version != "v1" {
			t.Errorf("first report: %+v", r)
		}
	})
	if list := b.Containers(); len(list) != 1 || list[0].NodeName != "kitchen" || list[0].Node != "n-1" {
		t.Errorf("its own containers: %+v", list)
	}
	if v := b.View(); v.ClusterName != "home" || len(v.Nodes) != 2 || v.AsOf.IsZero() {
		t.Errorf("view: %+v", v)
	}
}

func TestAdvertisedAddressIsTold(t *testing.T) {
	t.Parallel()
	b := newBoard(t, func(o *Options) { o.Identity.Advertise = "192.168.7.7" })
	b.online()
	b.master.edit(func(m *fakeMaster) {
		if ip := m.hellos[0].IP; ip != "192.168.7.7" {
			t.Errorf("it told %s", ip)
		}
	})
}

func TestOfflineAndBack(t *testing.T) {
	t.Parallel()
	b := newBoard(t, nil)
	b.master.down = errRefusedDial
	b.start()
	eventually(t, "offline with the reason", func() string {
		if s := b.Standing(); s.Mode != ModeOffline || !strings.Contains(s.Reason, "connection refused") {
			return fmt.Sprintf("%+v", s)
		}
		return ""
	})
	b.master.edit(func(m *fakeMaster) { m.down = nil })
	b.Retry()
	b.waitMode(ModeOnline)

	b.master.edit(func(m *fakeMaster) { m.down = errRefusedDial; m.cut(errors.New("connection reset by peer")) })
	b.waitMode(ModeOffline)
	since := b.Standing().Since
	eventually(t, "further attempts", func() string {
		problem := "none"
		b.master.edit(func(m *fakeMaster) {
			if len(m.dials) > 4 {
				problem = ""
			}
		})
		return problem
	})
	if s := b.Standing(); !s.Since.Equal(since) || s.Master != "" {
		t.Errorf("while it stays offline, that has begun anew: %+v", s)
	}
	b.master.edit(func(m *fakeMaster) { m.down = nil })
	b.waitMode(ModeOnline)
	b.master.edit(func(m *fakeMaster) {
		if got := m.hellos[len(m.hellos)-1].AppliedRevision; got != 3 {
			t.Errorf("it attaches with plan %d", got)
		}
	})
}

// TestConnectionsAreClosed, one for each that was made.
func TestConnectionsAreClosed(t *testing.T) {
	t.Parallel()
	b := newBoard(t, nil)
	stop := b.online()
	for range 3 {
		b.master.edit(func(m *fakeMaster) { m.cut(errors.New("reset")); m.beats = nil })
		b.Retry()
		eventually(t, "the next session", func() string {
			problem := "no heartbeat"
			b.master.edit(func(m *fakeMaster) {
				if len(m.beats) > 0 {
					problem = ""
				}
			})
			return problem
		})
	}
	stop()
	b.master.edit(func(m *fakeMaster) {
		if m.open != 0 {
			t.Errorf("%d connections are open", m.open)
		}
	})
}

// TestOtherMaster: the masters of the view are tried as well as the first.
func TestOtherMaster(t *testing.T) {
	t.Parallel()
	b := newBoard(t, nil)
	b.master.view = view("10.0.0.1", "10.0.0.9")
	b.online()
	b.master.edit(func(m *fakeMaster) { m.dials, m.down = nil, errRefusedDial; m.cut(errors.New("reset")) })
	eventually(t, "both are tried", func() string {
		problem := ""
		b.master.edit(func(m *fakeMaster) {
			if !slices.Contains(m.dials, "10.0.0.9:7443") || !slices.Contains(m.dials, "10.0.0.1:7443") {
				problem = fmt.Sprint(m.dials)
			}
		})
		return problem
	})
}

func TestRemovedByNotice(t *testing.T) {
	t.Parallel()
	b := newBoard(t, nil)
	b.online()
	b.master.tell(workload.Notice{Removed: "kitchen was removed by admin"})
	b.checkRemoved("kitchen was removed by admin")
}

func TestRemovedWhileAway(t *testing.T) {
	t.Parallel()
	b := newBoard(t, nil)
	b.master.refuses = fmt.Errorf("%w: kitchen was removed by admin", topology.ErrRemoved)
	b.start()
	b.checkRemoved("kitchen was removed by admin")
}

// checkRemoved: it says so, once, lets go of the master and asks no more, and
// goes on with what runs on the board.
func (b *board) checkRemoved(reason string) {
	b.t.Helper()
	b.waitMode(ModeRemoved)
	eventually(b.t, "it lets go", func() string {
		problem := ""
		b.master.edit(func(m *fakeMaster) {
			if m.open > 0 {
				problem = "the session stands"
			}
		})
		b.edit(func() {
			if len(b.removed) != 1 || !strings.Contains(b.removed[0], reason) {
				problem = fmt.Sprintf("told: %v", b.removed)
			}
		})
		return problem
	})
	if s := b.Standing(); !strings.Contains(s.Reason, reason) {
		b.t.Errorf("%+v", s)
	}
	dials := 0
	b.master.edit(func(m *fakeMaster) { dials = len(m.dials) })
	b.Retry()
	id := b.podman.Run(b.t, podmantest.Spec{Name: "still-here"})
	eventually(b.t, "the board's own containers", func() string {
		if !slices.ContainsFunc(b.Containers(), func(c workload.Container) bool { return c.ID == id }) {
			return "not seen"
		}
		return ""
	})
	b.master.edit(func(m *fakeMaster) {
		if len(m.dials) != dials {
			b.t.Error("it still asks to be let in")
		}
	})
}

// TestDoubt: whether a master lives is found out at once, and one that hangs
// is given up.
func TestDoubt(t *testing.T) {
	t.Parallel()
	b := newBoard(t, nil)
	b.online()
	beats := 0
	b.master.edit(func(m *fakeMaster) { beats = len(m.beats) })
	b.Doubt()
	eventually(t, "a heartbeat", func() string {
		problem := "none"
		b.master.edit(func(m *fakeMaster) {
			if len(m.beats) > beats {
				problem = ""
			}
		})
		return problem
	})
	hang := make(chan struct{})
	defer close(hang)
	b.master.edit(func(m *fakeMaster) { m.hang, m.down = hang, errRefusedDial })
	b.Doubt()
	eventually(t, "it is given up", func() string {
		if s := b.Standing(); s.Mode != ModeOffline {
			return string(s.Mode)
		}
		return ""
	})
}

// TestDoubtIsSaid: the reason is the master's silence.
func TestDoubtIsSaid(t *testing.T) {
	t.Parallel()
	b := newBoard(t, nil)
	hang := make(chan struct{})
	defer close(hang)
	b.online()
	b.master.edit(func(m *fakeMaster) { m.hang = hang })
	b.Doubt()
	eventually(t, "offline, and why", func() string {
		if s := b.Standing(); s.Mode != ModeOffline || !strings.Contains(s.Reason, errDoubt.Error()) {
			return fmt.Sprintf("%+v", s)
		}
		return ""
	})
}

func TestQuestions(t *testing.T) {
	t.Parallel()
	b := newBoard(t, nil)
	id := b.podman.Run(t, podmantest.Spec{Name: "web"})
	b.online()
	b.master.tell(workload.Notice{Ping: 7})
	b.master.tell(workload.Notice{StatsQuery: 8})
	answered := func(ok func(workload.Answer) bool) func() string {
		return func() string {
			problem := "no answer"
			b.master.edit(func(m *fakeMaster) {
				if slices.ContainsFunc(m.answers, ok) {
					problem = ""
				}
			})
			return problem
		}
	}
	eventually(t, "pong", answered(func(a workload.Answer) bool { return a.Pong == 7 }))
	eventually(t, "figures", answered(func(a workload.Answer) bool {
		return a.Stats != nil && a.Stats.Query == 8 && a.Stats.Error == "" && a.Stats.Stats[id].MemoryBytes == 1<<20
	}))
	b.podman.Fail(podmantest.OpStats, errors.New("no cgroup"))
	b.master.tell(workload.Notice{StatsQuery: 9})
	eventually(t, "why there are none", answered(func(a workload.Answer) bool {
		return a.Stats != nil && a.Stats.Query == 9 && strings.Contains(a.Stats.Error, "no cgroup")
	}))
	b.master.tell(workload.Notice{Keyring: &workload.Keyring{Keys: [][]byte{{1}}}})
	b.master.tell(workload.Notice{}) // of a newer master
	eventually(t, "the keys", func() string {
		b.mu.Lock()
		defer b.mu.Unlock()
		if len(b.rings) != 1 {
			return "not handed on"
		}
		return ""
	})
}
