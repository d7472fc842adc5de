package rest_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/api/rest"
	"piccolo.io/piccolo/node/api/rest/resttest"
	"piccolo.io/piccolo/topology"
)

// ask makes one request as the administrator; "" for no body.
func ask(t testing.TB, c *resttest.Cluster, h http.Handler, method, target, body string, change ...func(*http.Request)) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("Authorization", "Bearer "+c.Token.Reveal())
	for _, f := range change {
		f(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Del(name)
		if value != "" {
			r.Header.Set(name, value)
		}
	}
}

func read(t testing.TB, res *http.Response) string {
	t.Helper()
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func decode[T any](t testing.TB, res *http.Response) (v T) {
	t.Helper()
	text := read(t, res)
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("answer %q: %v", text, err)
	}
	return v
}

// isProblem checks that the answer is the problem document of this kind.
func isProblem(t testing.TB, res *http.Response, status int, kind api.Kind, says string) api.Problem {
	t.Helper()
	if ct := res.Header.Get("Content-Type"); res.StatusCode != status || ct != api.ProblemType {
		t.Fatalf("answer %s of type %q, want %d as a problem document: %s", res.Status, ct, status, read(t, res))
	}
	p := decode[api.Problem](t, res)
	if p.Status != status || p.Kind != kind || !strings.Contains(p.Detail+" "+p.Hint, says) || p.Title == "" || p.Instance == "" || !strings.HasPrefix(p.Type, "urn:") {
		t.Fatalf("problem %+v, want status %d, kind %s and %q in detail or hint", p, status, kind, says)
	}
	return p
}

func TestErrorsAreProblemDocuments(t *testing.T) {
	c := resttest.New(t, true)
	h := c.Handler(t, nil)
	long := strings.Repeat("x", 2<<20)
	for name, x := range map[string]struct {
		method, target, body string
		change               func(*http.Request)
		status               int
		kind                 api.Kind
		says                 string
	}{
		"no path":            {"GET", "/api/v2/nodes", "", nil, 404, api.KindNotFound, "openapi.yaml"},
		"no path either":     {"GET", "/api/v1/nodes/", "", nil, 404, api.KindNotFound, "/api/v1/nodes/"},
		"wrong method":       {"POST", "/api/v1/nodes", "{}", nil, 405, api.KindInvalid, "GET, HEAD"},
		"options":            {"OPTIONS", "/api/v1/topology", "", nil, 405, api.KindInvalid, "PUT"},
		"no node":            {"GET", "/api/v1/nodes/nobody", "", nil, 404, api.KindNotFound, "nobody"},
		"strange node":       {"GET", "/api/v1/nodes/%00%ff%20x", "", nil, 404, api.KindNotFound, "not in this cluster"},
		"no credential":      {"GET", "/api/v1/nodes", "", header("Authorization", ""), 401, api.KindUnauthenticated, "token"},
		"basic credential":   {"GET", "/api/v1/nodes", "", header("Authorization", "Basic eDp5"), 401, api.KindUnauthenticated, "Bearer"},
		"wrong token":        {"GET", "/api/v1/nodes", "", header("Authorization", "Bearer pica.x"), 401, api.KindUnauthenticated, "token"},
		"long token":         {"GET", "/api/v1/nodes", "", header("Authorization", "Bearer "+long[:5000]), 401, api.KindUnauthenticated, "5000 bytes"},
		"version":            {"GET", "/api/v1/version", "", header("Authorization", ""), 401, api.KindUnauthenticated, ""},
		"metrics":            {"GET", "/metrics", "", header("Authorization", ""), 401, api.KindUnauthenticated, ""},
		"content type":       {"PATCH", "/api/v1/nodes/board", "{}", header("Content-Type", "text/plain"), 415, api.KindInvalid, "merge-patch"},
		"no content type":    {"PUT", "/api/v1/topology", "{}", header("Content-Type", ""), 415, api.KindInvalid, "application/json"},
		"charset":            {"PUT", "/api/v1/topology", "{}", header("Content-Type", "application/json; charset=latin1"), 415, api.KindInvalid, "latin1"},
		"no body":            {"PUT", "/api/v1/topology", "", header("Content-Type", "application/json"), 400, api.KindInvalid, "empty"},
		"too large":          {"PATCH", "/api/v1/nodes/board", `{"log_level":"` + long + `"}`, nil, 413, api.KindTooLarge, "1048576"},
		"large registration": {"POST", "/api/v1/nodes/register", `{"name":"` + long[:300<<10] + `"}`, nil, 413, api.KindTooLarge, "262144"},
		"unknown field":      {"PATCH", "/api/v1/nodes/board", `{"lables":{}}`, nil, 400, api.KindInvalid, `"lables"`},
		"wrong label":        {"PATCH", "/api/v1/nodes/board", `{"labels":{"a b":"c"}}`, nil, 400, api.KindInvalid, "a b"},
		"wrong status":       {"PATCH", "/api/v1/nodes/board", `{"status":"Terminating"}`, nil, 400, api.KindInvalid, "Maintenance"},
		"impossible status":  {"PATCH", "/api/v1/nodes/board", `{"status":"Initializing"}`, nil, 409, api.KindConflict, "board"},
		"old revision":       {"PUT", "/api/v1/topology", `{"name":"home","type":"basic","revision":3,"config":{"heartbeat_interval":"10s","log_level":"info","approval":"token"}}`, nil, 409, api.KindConflict, ""},
		"short heartbeat":    {"PUT", "/api/v1/topology", `{"name":"home","type":"basic","config":{"heartbeat_interval":"1s","log_level":"info","approval":"token"}}`, nil, 400, api.KindInvalid, "5s"},
		"long ttl":           {"POST", "/api/v1/tokens", `{"ttl":"99999h"}`, nil, 400, api.KindInvalid, "ttl"},
		"no token":           {"DELETE", "/api/v1/tokens/x", "", nil, 404, api.KindNotFound, ""},
		"stats":              {"GET", "/api/v1/containers?stats=maybe", "", nil, 400, api.KindInvalid, "maybe"},
		"limit":              {"GET", "/api/v1/events?limit=many", "", nil, 400, api.KindInvalid, "many"},
		"negative limit":     {"GET", "/api/v1/events?limit=-1", "", nil, 400, api.KindInvalid, "-1"},
		"kinds":              {"GET", "/api/v1/watch?kinds=node,pod", "", nil, 400, api.KindInvalid, `"pod"`},
		"leave from afar":    {"POST", "/api/v1/self/leave", "", nil, 403, api.KindDenied, "local socket"},
		"web page":           {"POST", "/api/v1/tokens", "{}", header("Sec-Fetch-Site", "cross-site"), 403, api.KindDenied, "web page"},
		"false registration": {"POST", "/api/v1/nodes/register", `{"node_id":"n-1","credentials":{"token":"wrong"}}`, nil, 401, api.KindUnauthenticated, ""},
		"odd registration":   {"POST", "/api/v1/nodes/register", `{"gossip_port":70000}`, nil, 400, api.KindInvalid, "gossip_port"},
	} {
		t.Run(name, func(t *testing.T) {
			var changes []func(*http.Request)
			if x.change != nil {
				changes = append(changes, x.change)
			}
			res := ask(t, c, h, x.method, x.target, x.body, changes...)
			p := isProblem(t, res, x.status, x.kind, x.says)
			if len(p.Detail) > 1000 {
				t.Errorf("detail of %d bytes", len(p.Detail))
			}
			switch {
			case x.status == 401 && res.Header.Get("WWW-Authenticate") == "":
				t.Error("401 without WWW-Authenticate")
			case x.status == 405 && res.Header.Get("Allow") == "":
				t.Error("405 without Allow")
			}
		})
	}
}

func TestTwoCredentialsAreRefused(t *testing.T) {
	c := resttest.New(t, true)
	res := ask(t, c, c.Handler(t, nil), "GET", "/api/v1/nodes", "", func(r *http.Request) { r.Header.Add("Authorization", "Bearer other") })
	isProblem(t, res, 401, api.KindUnauthenticated, "2 Authorization headers")
}

func TestPanicIsAnsweredWithoutTheInside(t *testing.T) {
	c := resttest.New(t, true)
	h := c.Handler(t, nil)
	c.State.Panic()
	p := isProblem(t, ask(t, c, h, "GET", "/api/v1/nodes", ""), 500, api.KindInternal, "fault")
	if strings.Contains(p.Detail+p.Hint+p.Title, "secret inside") {
		t.Errorf("the answer tells the inside: %+v", p)
	}
}

func TestPatchNode(t *testing.T) {
	c := resttest.New(t, true)
	h := c.Handler(t, nil)
	n := decode[topology.Node](t, ask(t, c, h, "PATCH", "/api/v1/nodes/board", `{"labels":{"a":"1","b":"2"},"log_level":"debug"}`))
	if n.Labels["a"] != "1" || n.Labels["b"] != "2" || n.LogLevel != "debug" {
		t.Fatalf("node %+v", n)
	}
	n = decode[topology.Node](t, ask(t, c, h, "PATCH", "/api/v1/nodes/"+n.ID, `{"labels":{"a":null},"log_level":null,"status":"Maintenance"}`, header("Content-Type", "application/merge-patch+json; charset=UTF-8")))
	if _, there := n.Labels["a"]; there || n.Labels["b"] != "2" || n.LogLevel != "" || n.Status != topology.StatusMaintenance {
		t.Fatalf("node %+v", n)
	}
	isProblem(t, ask(t, c, h, "PATCH", "/api/v1/nodes/board", `{"labels":{"c":"3"},"status":"Pending"}`), 400, api.KindInvalid, "status")
	if n = decode[topology.Node](t, ask(t, c, h, "GET", "/api/v1/nodes/board", "")); n.Labels["c"] != "" {
		t.Errorf("half of a refused patch was carried out: %v", n.Labels)
	}
}

func TestArraysAreNeverNull(t *testing.T) {
	for _, live := range []bool{true, false} {
		c := resttest.New(t, live)
		h := c.Handler(t, nil)
		for _, path := range []string{"/api/v1/status", "/api/v1/nodes", "/api/v1/nodes/main/containers", "/api/v1/containers", "/api/v1/topology", "/api/v1/alerts", "/api/v1/events"} {
			res := ask(t, c, h, "GET", path, "")
			if text := read(t, res); res.StatusCode != 200 || strings.Contains(text, "null") {
				t.Errorf("%s: %s %s", path, res.Status, text)
			}
		}
	}
}

func TestStaleAnswersSaySo(t *testing.T) {
	stale, live := resttest.New(t, false), resttest.New(t, true)
	if got := ask(t, stale, stale.Handler(t, nil), "GET", "/api/v1/nodes", "").Header.Get(api.AsOfHeader); got != "2026-03-01T12:00:00.123Z" {
		t.Errorf("as of %q", got)
	}
	if got := ask(t, live, live.Handler(t, nil), "GET", "/api/v1/nodes", "").Header.Get(api.AsOfHeader); got != "" {
		t.Errorf("a live answer is as of %q", got)
	}
	isProblem(t, ask(t, stale, stale.Handler(t, nil), "DELETE", "/api/v1/nodes/board", ""), 503, api.KindUnavailable, "10.0.0.1:7443")
}

func TestHead(t *testing.T) {
	c := resttest.New(t, true)
	server := httptest.NewServer(c.Handler(t, nil))
	defer server.Close()
	for _, path := range []string{"/api/v1/nodes", "/api/v1/watch", "/healthz", "/api/v1/openapi.yaml"} {
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodHead, server.URL+path, nil)
		r.Header.Set("Authorization", "Bearer "+c.Token.Reveal())
		res, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if text := read(t, res); res.StatusCode != 200 || text != "" || res.Header.Get("Content-Type") == "" {
			t.Errorf("HEAD %s: %s %q %q", path, res.Status, res.Header.Get("Content-Type"), text)
		}
	}
}

func TestHealthAndReadiness(t *testing.T) {
	c := resttest.New(t, true)
	reasons := []string{"the store has no leader", "the agent has not started"}
	h := c.Handler(t, func(o *rest.HandlerOptions) { o.Ready = func() []string { return reasons } })
	nobody := header("Authorization", "")
	if res := ask(t, c, h, "GET", "/healthz", "", nobody); res.StatusCode != 200 {
		t.Errorf("healthz: %s", res.Status)
	}
	p := isProblem(t, ask(t, c, h, "GET", "/readyz", "", nobody), 503, api.KindUnavailable, "no leader")
	if len(p.Reasons) != 2 {
		t.Errorf("reasons %v", p.Reasons)
	}
	reasons = nil
	if res := ask(t, c, h, "GET", "/readyz", "", nobody); res.StatusCode != 200 {
		t.Errorf("readyz: %s", res.Status)
	}
}

func TestHandlerOptions(t *testing.T) {
	c := resttest.New(t, true)
	for field, o := range map[string]rest.HandlerOptions{
		"Service":      {Hub: c.Hub, Authenticate: c.Authenticate},
		"Hub":          {Service: c.Service, Authenticate: c.Authenticate},
		"Authenticate": {Service: c.Service, Hub: c.Hub},
		"Heartbeat":    {Service: c.Service, Hub: c.Hub, Authenticate: c.Authenticate, Heartbeat: -1},
	} {
		if _, err := rest.NewHandler(o); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("without %s: %v", field, err)
		}
	}
}

func TestAccessLogHasNoSecrets(t *testing.T) {
	c := resttest.New(t, true)
	var log bytes.Buffer
	h := c.Handler(t, func(o *rest.HandlerOptions) {
		o.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	ask(t, c, h, "GET", "/api/v1/nodes?token=hush", "")
	c.State.Panic()
	ask(t, c, h, "GET", "/api/v1/nodes?token=hush", "")
	text := log.String()
	if strings.Contains(text, "hush") || strings.Contains(text, c.Token.Reveal()) {
		t.Errorf("the log tells secrets: %s", text)
	}
	for _, want := range []string{"path=/api/v1/nodes", "status=200", "admin admin", "status=500", "secret inside", "handler.go"} {
		if !strings.Contains(text, want) {
			t.Errorf("the log lacks %q: %s", want, text)
		}
	}
}
