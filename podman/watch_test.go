package podman_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"piccolo.io/piccolo/podman"
	"piccolo.io/piccolo/podman/podmantest"
)

// never keeps Watch from listing on its own during a test.
const never = time.Hour

func isDown(want error) func(podman.Snapshot) bool {
	return func(s podman.Snapshot) bool { return !s.Up && errors.Is(s.Err, want) }
}

func isUp(s podman.Snapshot) bool { return s.Up }

// named accepts a snapshot in which the container with the given id has the given name.
func named(id, name string) func(podman.Snapshot) bool {
	return podmantest.Sees(id, func(c podman.Container) bool { return c.Name == name })
}

func TestWatchFaultByFault(t *testing.T) {
	boom := errors.New("boom")
	for name, c := range map[string]struct {
		fault func(*podmantest.Fake)
		want  error
	}{
		"ping hangs":   {func(f *podmantest.Fake) { f.Hang(podmantest.OpPing) }, podman.ErrTimeout},
		"ping fails":   {func(f *podmantest.Fake) { f.Fail(podmantest.OpPing, boom) }, podman.ErrRejected},
		"list hangs":   {func(f *podmantest.Fake) { f.Hang(podmantest.OpList) }, podman.ErrTimeout},
		"list fails":   {func(f *podmantest.Fake) { f.Fail(podmantest.OpList, boom) }, podman.ErrRejected},
		"events hang":  {func(f *podmantest.Fake) { f.Hang(podmantest.OpEvents); f.Stop(); _ = f.Start() }, podman.ErrTimeout},
		"events fail":  {func(f *podmantest.Fake) { f.Fail(podmantest.OpEvents, boom); f.Stop(); _ = f.Start() }, podman.ErrRejected},
		"all freezes":  {func(f *podmantest.Fake) { f.Freeze() }, podman.ErrTimeout},
		"service ends": {func(f *podmantest.Fake) { f.Stop() }, podman.ErrRefused},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := podmantest.NewFake(t, "")
			id := f.Run(t, podmantest.Spec{Name: "web"})
			w := podmantest.Watch(t, engine(t, f.Socket(), podman.Timeouts{
				Call: 200 * time.Millisecond, Ping: 200 * time.Millisecond, PingEvery: 20 * time.Millisecond,
				Resync: 50 * time.Millisecond, Reconnect: 100 * time.Millisecond,
			}))
			w.Until(t, "the first picture", podmantest.In(id, podman.StateRunning))
			c.fault(f)
			s, _ := w.Until(t, "Podman to be down", isDown(c.want))
			if _, known := podmantest.Find(s, id); !known {
				t.Error("the last known container is lost")
			}
			f.Put(podman.Container{ID: id, Name: "changed meanwhile", State: podman.StateExited})
			f.Heal(podmantest.OpPing, podmantest.OpList, podmantest.OpEvents, podmantest.OpInfo, podmantest.OpInspect, podmantest.OpStats)
			if err := f.Start(); err != nil {
				t.Fatal(err)
			}
			w.Until(t, "the new picture", named(id, "changed meanwhile"))
		})
	}
}

func TestWatchInspectsOnlyWhatChanged(t *testing.T) {
	f := podmantest.NewFake(t, "4.3.1")
	var ids []string
	for i := range 20 {
		ids = append(ids, f.Run(t, podmantest.Spec{Name: fmt.Sprint("c", i), Health: true}))
	}
	w := podmantest.Watch(t, engine(t, f.Socket(), podman.Timeouts{Settle: never, Resync: never}))
	s, _ := w.Until(t, "the first picture", isUp)
	if len(s.Containers) != 20 {
		t.Fatalf("the first picture has %d containers", len(s.Containers))
	}
	inspects, lists := f.Calls(podmantest.OpInspect), f.Calls(podmantest.OpList)
	for _, id := range ids {
		f.Emit("exec", id)
		f.Emit("exec_died", id)
		f.Emit("attach", id)
		f.Emit("an event of the future", id)
	}
	f.EmitRaw("this is not JSON")
	f.EmitRaw(`{"Type":"container","Action":"died","Actor":{}}`)
	f.EmitRaw(`{"Type":"image","Action":"pull","Actor":{"ID":"` + ids[1] + `"}}`)
	f.Act(t, podmantest.Rename, ids[0], "fence")
	w.Until(t, "the rename", named(ids[0], "fence"))
	if n := f.Calls(podmantest.OpInspect) - inspects; n != 1 {
		t.Errorf("one container changed, %d were inspected", n)
	}
	if n := f.Calls(podmantest.OpList) - lists; n != 0 {
		t.Errorf("nothing needed a list, %d were made", n)
	}
	if w.Count() != 2 {
		t.Errorf("one change after the first picture made %d snapshots", w.Count())
	}
}

func TestWatchResyncFindsSilentChanges(t *testing.T) {
	for _, version := range []string{"4.3.1", "5.4.2"} {
		f := podmantest.NewFake(t, version)
		kept, gone := f.Run(t, podmantest.Spec{Name: "kept"}), f.Run(t, podmantest.Spec{Name: "gone"})
		w := podmantest.Watch(t, engine(t, f.Socket(), podman.Timeouts{Resync: 30 * time.Millisecond, Settle: 30 * time.Millisecond}))
		w.Until(t, "the first picture", isUp)
		f.Put(podman.Container{ID: kept, Name: "kept", State: podman.StateExited, ExitCode: 9, FinishedAt: time.Now()})
		f.Put(podman.Container{ID: "new", Name: "new", State: podman.StateCreated})
		f.Drop(gone, true)
		w.Until(t, "what no event told", func(s podman.Snapshot) bool {
			c, _ := podmantest.Find(s, kept)
			_, found := podmantest.Find(s, "new")
			_, still := podmantest.Find(s, gone)
			return c.ExitCode == 9 && found && !still
		})
		inspects, lists, snapshots := f.Calls(podmantest.OpInspect), f.Calls(podmantest.OpList), w.Count()
		podmantest.Eventually(t, "five quiet resyncs", func() bool { return f.Calls(podmantest.OpList) >= lists+5 })
		if n := f.Calls(podmantest.OpInspect) - inspects; n != 0 {
			t.Errorf("%s: nothing changed, %d containers were inspected", version, n)
		}
		if w.Count() != snapshots {
			t.Errorf("%s: nothing changed, %d snapshots were delivered", version, w.Count()-snapshots)
		}
	}
}

// A slow consumer and thousands of events must cost one look, not thousands, and nothing may be lost.
func TestWatchStorm(t *testing.T) {
	f := podmantest.NewFake(t, "")
	ids := make([]string, 40)
	for i := range ids {
		ids[i] = f.Run(t, podmantest.Spec{Name: fmt.Sprint("c", i)})
	}
	entered, release := make(chan struct{}), make(chan struct{})
	last := make(chan podman.Snapshot, 10000)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	e := engine(t, f.Socket(), podman.Timeouts{Settle: never, Resync: never})
	go func() {
		defer close(done)
		first := true
		e.Watch(ctx, func(s podman.Snapshot) {
			if first {
				first = false
				close(entered)
				<-release
			}
			last <- s
		})
	}()
	defer func() { cancel(); <-done }()
	<-entered
	before := f.Calls(podmantest.OpInspect)
	for i := range 50 {
		for _, id := range ids {
			f.Act(t, podmantest.Rename, id, fmt.Sprint("round ", i))
		}
	}
	close(release)
	deadline := time.After(20 * time.Second)
	for settled := false; !settled; {
		select {
		case s := <-last:
			settled = true
			for _, id := range ids {
				settled = settled && named(id, "round 49")(s)
			}
		case <-deadline:
			t.Fatal("waited 20 s for the state after the storm")
		}
	}
	if n := f.Calls(podmantest.OpInspect) - before; n > 400 {
		t.Errorf("2000 events about 40 containers cost %d inspections", n)
	}
}

func TestWatchSurvivesAMonstrousEvent(t *testing.T) {
	f := podmantest.NewFake(t, "")
	id := f.Run(t, podmantest.Spec{Name: "web"})
	w := podmantest.Watch(t, engine(t, f.Socket(), podman.Timeouts{Settle: never, Resync: never}))
	w.Until(t, "the first picture", isUp)
	streams := f.Calls(podmantest.OpEvents)
	f.EmitRaw(strings.Repeat("x", 3<<20))
	podmantest.Eventually(t, "a new stream", func() bool { return f.Calls(podmantest.OpEvents) > streams })
	f.Act(t, podmantest.Rename, id, "still here")
	s, _ := w.Until(t, "the rename", named(id, "still here"))
	if s.Err != nil || w.Count() != 2 {
		t.Errorf("a broken stream of a living Podman: %d snapshots, error %v", w.Count(), s.Err)
	}
}

func TestWatchShowsABrokenContainer(t *testing.T) {
	f := podmantest.NewFake(t, "")
	f.Fail(podmantest.OpInspect, errors.New("layer not known"))
	id := f.Run(t, podmantest.Spec{Name: "web"})
	w := podmantest.Watch(t, engine(t, f.Socket(), podman.Timeouts{Resync: 30 * time.Millisecond, Settle: 30 * time.Millisecond}))
	w.Until(t, "what the list says", podmantest.In(id, podman.StateRunning))
	f.Heal(podmantest.OpInspect)
	w.Until(t, "the whole container", podmantest.Sees(id, func(c podman.Container) bool { return !c.StartedAt.IsZero() }))
}
