package cli

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/api/feed"
	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/topology"
)

// fakeServer answers as a master does, from a cluster that never changes.
// Its times are so far from every rounding that a slow test does not matter.
type fakeServer struct {
	now time.Time
	// stale makes it answer as a sub without a master.
	stale bool
	// removed makes it answer as a node that the cluster has removed, fresh as
	// one that has just started.
	removed, fresh bool
	// other makes it another node's daemon.
	other bool
	// status of the first node on the watch stream.
	status topology.NodeStatus
	// last is the last change that was asked for, method, path and body.
	last chan string
}

func newFakeServer() *fakeServer {
	return &fakeServer{now: time.Now().Truncate(time.Second).Add(-500 * time.Millisecond), status: topology.StatusReady, last: make(chan string, 100)}
}

// listen serves on a socket until the test ends.
func (f *fakeServer) listen(t testing.TB, path string) {
	t.Helper()
	stop, err := f.serve(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
}

func (f *fakeServer) serve(path string) (stop func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	s := httptest.NewUnstartedServer(f.handler())
	s.Listener.Close()
	s.Listener = l
	s.Start()
	return func() { s.CloseClientConnections(); s.Close() }, nil
}

func (f *fakeServer) past(d time.Duration) time.Time { return f.now.Add(-d) }

func (f *fakeServer) nodes() []topology.Node {
	beat, temp := f.past(3*time.Minute), 51.4
	return []topology.Node{
		{
			ID: "n-000000000001", Name: "board-1", IP: "10.0.0.1", Role: topology.RoleMaster, Status: f.status, Version: "v1.2.3",
			CreatedAt: f.past(50 * time.Hour), StatusSince: f.past(5 * time.Hour), LastHeartbeat: &beat, APIPort: 7443, GossipPort: 7946,
			Resources: topology.Resources{CPU: 4, Memory: 3790, Disk: 29}, Platform: topology.Platform{OS: "linux", Arch: "arm64", Kernel: "6.1.0", Model: "Raspberry Pi 4"},
			Usage: &topology.Usage{CPUPercent: 1.5, Load1: 0.25, MemoryUsed: 300, MemoryAvailable: 3400, DiskUsedPercent: 12, Temperature: &temp, FlashMBPerDay: 1.25},
		},
		{
			ID: "n-000000000002", Name: "board-2", IP: "10.0.0.2", Role: topology.RoleSub, Status: topology.StatusNotReady,
			Reasons: topology.Reasons{topology.ReasonDiskPressure, topology.ReasonUnreachable}, Version: "v1.2.3", CreatedAt: f.past(3 * time.Hour), StatusSince: f.past(4 * time.Minute),
			Labels: map[string]string{"site": "barn", "disk": "ssd"}, GossipPort: 7946, PlanRevision: 7, AppliedRevision: 6,
			Platform: topology.Platform{OS: "linux", Arch: "arm", Variant: "v7"},
		},
	}
}

func (f *fakeServer) containers() []workload.Container {
	started := f.past(10 * time.Minute)
	return []workload.Container{
		{ID: "aabbccddeeff00112233", Name: "web", Image: "localhost/app:1", State: "running", Health: "healthy", Restarts: 2, Node: "n-000000000001", NodeName: "board-1",
			CreatedAt: f.past(3 * time.Hour), StartedAt: &started, Ports: []workload.Port{{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}, {HostIP: "127.0.0.1", HostPort: 53, ContainerPort: 53, Protocol: "udp"}},
			Stats: &workload.ContainerStats{CPUPercent: 2.25, MemoryBytes: 12 << 20}},
		{ID: "ffeeddccbbaa", Name: "evil\x1b[2J", Image: "localhost/app:1", State: "exited", ExitCode: 137, Node: "n-000000000002", NodeName: "board-2", CreatedAt: f.past(3 * time.Hour)},
	}
}

func (f *fakeServer) topology() topology.ClusterTopology {
	return topology.ClusterTopology{ID: "c-0123456789ab", Name: "farm", Type: topology.TypeBasic, MasterNodes: []string{"board-1"}, SubNodes: []string{"board-2"}, Config: topology.DefaultConfig(), Revision: 42}
}

func (f *fakeServer) events() []api.Event {
	return []api.Event{
		{At: time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC), Kind: "node", Node: "board-2", Message: "joined"},
		{At: time.Date(2026, 11, 20, 10, 5, 0, 0, time.UTC), Kind: "topology", Message: "changed by admin"},
	}
}

func (f *fakeServer) statusAnswer() api.Status {
	st := api.Status{
		Cluster: f.topology(), Nodes: map[topology.NodeStatus]int{topology.StatusReady: 1, topology.StatusNotReady: 1}, Containers: 2, Running: 1,
		Self: api.SelfStatus{ID: "n-000000000001", Name: "board-1", Role: topology.RoleMaster, Version: "v1.2.3", Mode: "Online", Since: f.past(5 * time.Hour), PlanRevision: 7,
			FlashMBPerDay: 1.25, StartedAt: f.past(5 * time.Hour), CertificateExpires: f.past(-20*24*time.Hour - time.Hour)},
		Alerts: []workload.Alert{{ID: "a1", Kind: "clock", Node: "n-000000000002", NodeName: "board-2", Severity: workload.SeverityWarning, Message: "the clock is 3 s off", Hint: "timedatectl set-ntp true", RaisedAt: f.past(3 * time.Minute)}},
		Advice: []string{"One master: containers go on running without it, but nothing can be changed while it is down."},
	}
	if f.stale {
		st.Self.Mode, st.Self.ModeReason, st.Self.Role, st.Self.Master = "Offline", "no master answers", topology.RoleSub, "10.0.0.1:7443"
	}
	if f.removed {
		st.Self.Mode, st.Self.ModeReason = "Removed", "board-1 was removed"
	}
	if f.other {
		st.Self.ID, st.Self.Name = "n-000000000009", "board-9"
	}
	if f.fresh {
		st.Self.StartedAt = f.past(time.Minute)
	}
	return st
}

func (f *fakeServer) handler() http.Handler {
	mux := http.NewServeMux()
	answer := func(pattern string, value func() any) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if f.stale {
				w.Header().Set(api.AsOfHeader, f.past(5*time.Minute).UTC().Format(time.RFC3339Nano))
			}
			f.write(w, http.StatusOK, "application/json", value())
		})
	}
	answer("GET /api/v1/status", func() any { return f.statusAnswer() })
	answer("GET /api/v1/nodes", func() any { return f.nodes() })
	answer("GET /api/v1/containers", func() any { return f.containers() })
	answer("GET /api/v1/topology", func() any { return f.topology() })
	answer("GET /api/v1/events", func() any { return f.events() })
	answer("GET /api/v1/tokens", func() any {
		return []auth.JoinRecord{
			{ID: "abcdefghij", Role: topology.RoleSub, CreatedAt: f.past(3 * time.Hour), ExpiresAt: f.past(-21*time.Hour - time.Minute), Uses: 2, Description: "barn"},
			{ID: "klmnopqrst", Role: topology.RoleMaster, CreatedAt: f.past(72 * time.Hour), ExpiresAt: f.past(48 * time.Hour)},
		}
	})
	mux.HandleFunc("GET /api/v1/nodes/{id}", f.withNode(func(w http.ResponseWriter, _ *http.Request, n topology.Node) { f.write(w, 200, "application/json", n) }))
	mux.HandleFunc("GET /api/v1/nodes/{id}/containers", f.withNode(func(w http.ResponseWriter, _ *http.Request, _ topology.Node) {
		f.write(w, 200, "application/json", f.containers()[:1])
	}))
	mux.HandleFunc("PATCH /api/v1/nodes/{id}", f.withNode(f.patch))
	mux.HandleFunc("DELETE /api/v1/nodes/{id}", f.withNode(func(w http.ResponseWriter, _ *http.Request, n topology.Node) {
		if n.Role == topology.RoleMaster {
			f.refuse(w, api.Conflictf("remove node %s: it is a master and holds the cluster's data", n.Name))
			return
		}
		n.Status = topology.StatusTerminating
		f.write(w, 200, "application/json", n)
	}))
	mux.HandleFunc("POST /api/v1/tokens", func(w http.ResponseWriter, r *http.Request) {
		var q api.TokenRequest
		_ = json.NewDecoder(r.Body).Decode(&q)
		f.last <- fmt.Sprintf("token %s %s %s", q.Role, time.Duration(q.TTL), q.Description)
		f.write(w, 201, "application/json", api.TokenCreated{JoinRecord: auth.JoinRecord{ID: "abcdefghij", Role: topology.RoleSub, ExpiresAt: f.past(-24 * time.Hour)},
			Token: "pic1.f.abcdefghij.s", JoinCommand: "piccolo join 10.0.0.1:7443 --token pic1.f.abcdefghij.s"})
	})
	mux.HandleFunc("DELETE /api/v1/tokens/{id}", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("id") != "abcdefghij" {
			f.refuse(w, api.NotFoundf("token %q is not there", r.PathValue("id")))
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("PUT /api/v1/topology", func(w http.ResponseWriter, r *http.Request) {
		var q topology.ClusterTopology
		_ = json.NewDecoder(r.Body).Decode(&q)
		q.Revision++
		f.write(w, 200, "application/json", q)
	})
	mux.HandleFunc("POST /api/v1/self/leave", func(w http.ResponseWriter, _ *http.Request) { f.last <- "leave"; w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("GET /api/v1/watch", f.watch)
	return mux
}

func (f *fakeServer) withNode(do func(http.ResponseWriter, *http.Request, topology.Node)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for _, n := range f.nodes() {
			if ref := r.PathValue("id"); n.Name == ref || n.ID == ref {
				do(w, r, n)
				return
			}
		}
		f.refuse(w, api.NotFoundf("node %q is not in this cluster", r.PathValue("id")).WithHint("`piccolo node ls` lists the nodes"))
	}
}

func (f *fakeServer) patch(w http.ResponseWriter, r *http.Request, n topology.Node) {
	var p api.NodePatch
	if err := json.NewDecoder(r.Body).Decode(&p); err != nil || r.Header.Get("Content-Type") != "application/merge-patch+json" {
		f.refuse(w, api.Invalidf("bad patch"))
		return
	}
	if p.Status != nil {
		if *p.Status == n.Status {
			f.refuse(w, api.Conflictf("maintain node %s: not possible in this state", n.Name))
			return
		}
		n.Status = *p.Status
	}
	for k, v := range p.Labels {
		if n.Labels == nil {
			n.Labels = map[string]string{}
		}
		if delete(n.Labels, k); v != nil {
			n.Labels[k] = *v
		}
	}
	f.write(w, 200, "application/json", n)
}

// watch tells a snapshot of the kind that was asked for and then waits.
func (f *fakeServer) watch(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	send := func(c feed.Change) {
		b, _ := json.Marshal(c)
		fmt.Fprintf(w, "id: %s\ndata: %s\n\n", c.ID, b)
	}
	put := func(kind, key string, v any) {
		b, _ := api.JSON(v)
		send(feed.Change{Type: feed.TypePut, Kind: kind, Key: key, Object: b})
	}
	send(feed.Change{Type: feed.TypeReset})
	if r.URL.Query().Get("kinds") == feed.KindNode {
		for _, n := range f.nodes() {
			put(feed.KindNode, n.ID, n)
		}
	} else {
		for i, e := range f.events() {
			put(feed.KindEvent, fmt.Sprint(i), e)
		}
	}
	send(feed.Change{Type: feed.TypeSynced, ID: "e-1"})
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
}

func (f *fakeServer) write(w http.ResponseWriter, status int, media string, v any) {
	w.Header().Set("Content-Type", media)
	w.WriteHeader(status)
	b, _ := api.JSON(v)
	_, _ = w.Write(b)
}

func (f *fakeServer) refuse(w http.ResponseWriter, e *api.Error) {
	p := api.ProblemOf(e, 0, "/x")
	f.write(w, p.Status, api.ProblemType, p)
}
