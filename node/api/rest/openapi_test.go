package rest_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/api/feed"
	"piccolo.io/piccolo/node/api/piccolov1"
	"piccolo.io/piccolo/node/api/rest/resttest"
	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/topology"
)

// document fetches the OpenAPI document as a client does, without a
// credential, and checks that it is a good one.
func document(t *testing.T, c *resttest.Cluster, h http.Handler) *openapi3.T {
	t.Helper()
	res := ask(t, c, h, "GET", "/api/v1/openapi.yaml", "", header("Authorization", ""))
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "application/yaml" {
		t.Fatalf("openapi.yaml: %s %s", res.Status, res.Header.Get("Content-Type"))
	}
	doc, err := openapi3.NewLoader().LoadFromData([]byte(read(t, res)))
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context(), openapi3.IsOpenAPI31OrLater()); err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestDocumentHasEveryRouteAndNoOther(t *testing.T) {
	c := resttest.New(t, true)
	h := c.Handler(t, nil)
	var described []string
	for path, item := range document(t, c, h).Paths.Map() {
		for method := range item.Operations() {
			described = append(described, method+" "+path)
		}
	}
	routes := h.Routes()
	slices.Sort(described)
	slices.Sort(routes)
	if d := cmp.Diff(routes, described); d != "" {
		t.Errorf("-routes +document\n%s", d)
	}
}

// The closed lists of the document are those of the code.
func TestDocumentEnumerations(t *testing.T) {
	c := resttest.New(t, true)
	schemas := document(t, c, c.Handler(t, nil)).Components.Schemas
	kinds := []string{}
	for _, k := range api.Kinds() {
		kinds = append(kinds, string(k.Kind))
	}
	for where, x := range map[string]struct {
		got  []any
		want any
	}{
		"NodeStatus":   {schemas["NodeStatus"].Value.Enum, topology.Statuses()},
		"Reason":       {schemas["Reason"].Value.Enum, topology.AllReasons()},
		"ClusterType":  {schemas["ClusterType"].Value.Enum, topology.ClusterTypes()},
		"Kind":         {schemas["Kind"].Value.Enum, feed.Kinds()},
		"Kind of api":  {schemas["Kind"].Value.Enum, api.WatchKinds()},
		"Problem.kind": {schemas["Problem"].Value.Properties["kind"].Value.Enum, kinds},
	} {
		got, _ := json.Marshal(x.got)
		want, _ := json.Marshal(x.want)
		if string(got) != string(want) {
			t.Errorf("%s: document %s, code %s", where, got, want)
		}
	}
}

// The document's objects have the fields of the code's, those that are left
// out where they are empty included.
func TestDocumentFields(t *testing.T) {
	c := resttest.New(t, true)
	schemas := document(t, c, c.Handler(t, nil)).Components.Schemas
	for name, v := range map[string]any{
		"Node": topology.Node{}, "Resources": topology.Resources{}, "Platform": topology.Platform{}, "Usage": topology.Usage{},
		"Topology": topology.ClusterTopology{}, "TopologyChange": topology.ClusterTopology{}, "Config": topology.Config{},
		"Container": workload.Container{}, "Port": workload.Port{}, "ContainerStats": workload.ContainerStats{}, "Alert": workload.Alert{},
		"Event": api.Event{}, "Status": api.Status{}, "Self": api.SelfStatus{}, "Version": api.Version{}, "Problem": api.Problem{},
		"NodePatch": api.NodePatch{}, "TokenRequest": api.TokenRequest{}, "Change": feed.Change{},
	} {
		var fields []string
		for f := range reflect.TypeOf(v).Fields() {
			if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "-" {
				fields = append(fields, name)
			}
		}
		slices.Sort(fields)
		if d := cmp.Diff(fields, slices.Sorted(maps.Keys(schemas[name].Value.Properties))); d != "" {
			t.Errorf("%s: -code +document\n%s", name, d)
		}
	}
}

// exchange is one request and what the document promises for it.
type exchange struct {
	method, route, target, body string
	status                      int
}

func exchanges(t *testing.T) []exchange {
	registration, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(piccolov1.FromRegistration(resttest.Registration()))
	if err != nil {
		t.Fatal(err)
	}
	topo := `{"name":"farm","type":"basic","config":{"heartbeat_interval":"20s","log_level":"info","approval":"manual"}}`
	return []exchange{
		{"GET", "/api/v1/status", "", "", 200},
		{"GET", "/api/v1/version", "", "", 200},
		{"GET", "/api/v1/nodes", "", "", 200},
		{"POST", "/api/v1/nodes/register", "", string(registration), 200},
		{"GET", "/api/v1/nodes/{id}", "/api/v1/nodes/board", "", 200},
		{"PATCH", "/api/v1/nodes/{id}", "/api/v1/nodes/board", `{"labels":{"zone":"a"},"log_level":"debug"}`, 200},
		{"GET", "/api/v1/nodes/{id}/containers", "/api/v1/nodes/board/containers?stats=1", "", 200},
		{"GET", "/api/v1/nodes/{id}/containers", "/api/v1/nodes/nobody/containers", "", 404},
		{"GET", "/api/v1/containers", "", "", 200},
		{"GET", "/api/v1/topology", "", "", 200},
		{"PUT", "/api/v1/topology", "", topo, 200},
		{"GET", "/api/v1/alerts", "", "", 200},
		{"GET", "/api/v1/events", "/api/v1/events?limit=10", "", 200},
		{"GET", "/api/v1/watch", "/api/v1/watch?kinds=x", "", 400},
		{"POST", "/api/v1/tokens", "", `{"role":"sub","ttl":"1h","description":"for the shed"}`, 201},
		{"GET", "/api/v1/tokens", "", "", 200},
		{"DELETE", "/api/v1/tokens/{id}", "/api/v1/tokens/nothing", "", 404},
		{"DELETE", "/api/v1/nodes/{id}", "/api/v1/nodes/board", "", 200},
		{"POST", "/api/v1/self/leave", "", "", 403},
		{"GET", "/api/v1/openapi.yaml", "", "", 200},
		{"GET", "/healthz", "", "", 200},
		{"GET", "/readyz", "", "", 200},
		{"GET", "/metrics", "", "", 200},
	}
}

func TestAnswersAreAsDescribed(t *testing.T) {
	c := resttest.New(t, true)
	h := c.Handler(t, nil)
	doc := document(t, c, h)
	left := map[string]bool{}
	for _, r := range h.Routes() {
		left[r] = true
	}
	for _, x := range exchanges(t) {
		delete(left, x.method+" "+x.route)
		if x.target == "" {
			x.target = x.route
		}
		operation := doc.Paths.Value(x.route).GetOperation(x.method)
		if x.body != "" {
			matches(t, x.method+" "+x.target+" request", operation.RequestBody.Value.Content["application/json"], "application/json", x.body)
		}
		res := ask(t, c, h, x.method, x.target, x.body)
		text := read(t, res)
		if res.StatusCode != x.status {
			t.Errorf("%s %s: %s %s, want %d", x.method, x.target, res.Status, text, x.status)
			continue
		}
		answer := operation.Responses.Value(strconv.Itoa(x.status))
		if answer == nil {
			answer = operation.Responses.Default()
		}
		media, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";")
		matches(t, x.method+" "+x.target, answer.Value.Content[media], media, text)
	}
	if len(left) > 0 {
		t.Errorf("never asked: %v", slices.Collect(maps.Keys(left)))
	}
}

// matches validates a body against its schema.
func matches(t *testing.T, what string, content *openapi3.MediaType, media, text string) {
	t.Helper()
	if content == nil {
		t.Errorf("%s: the document knows no %q", what, media)
		return
	}
	var value any = text
	if strings.HasSuffix(media, "json") {
		if err := json.Unmarshal([]byte(text), &value); err != nil {
			t.Errorf("%s: %v", what, err)
			return
		}
	}
	if err := content.Schema.Value.VisitJSON(value, openapi3.EnableJSONSchema2020(), openapi3.MultiErrors()); err != nil {
		t.Errorf("%s: %s\nis not as described: %v", what, text, err)
	}
}

// The messages of the watch stream are as described.
func TestChangesAreAsDescribed(t *testing.T) {
	c := resttest.New(t, true)
	doc := document(t, c, c.Handler(t, nil))
	content := doc.Paths.Value("/api/v1/watch").Get.Responses.Value("200").Value.Content["text/event-stream"]
	sub, err := c.Hub.Subscribe(t.Context(), nil, "")
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	changes := append(sub.Backlog(), feed.Change{Type: feed.TypeDelete, Kind: feed.KindNode, Key: "x"}, feed.Change{Type: feed.TypeCut, Reason: "slow"})
	objects := map[string]string{feed.KindNode: "Node", feed.KindEvent: "Event"}
	for _, change := range changes {
		b, err := json.Marshal(change)
		if err != nil {
			t.Fatal(err)
		}
		matches(t, "change", content, "application/json", string(b))
		if name := objects[change.Kind]; name != "" && change.Object != nil {
			matches(t, "object", &openapi3.MediaType{Schema: doc.Components.Schemas[name]}, "application/json", string(change.Object))
		}
	}
}

func TestTokensAreShownWithoutSecrets(t *testing.T) {
	c := resttest.New(t, true)
	h := c.Handler(t, nil)
	res := ask(t, c, h, "POST", "/api/v1/tokens", `{}`)
	location := res.Header.Get("Location")
	created := decode[api.TokenCreated](t, res)
	token, err := auth.ParseJoinToken(created.Token)
	if err != nil || created.Role != topology.RoleSub || !strings.Contains(created.JoinCommand, created.Token) || location != "/api/v1/tokens/"+token.ID {
		t.Fatalf("created %+v at %q, %v", created, location, err)
	}
	if text := read(t, ask(t, c, h, "GET", "/api/v1/tokens", "")); strings.Contains(text, token.Secret.Reveal()) || strings.Contains(text, "hash") {
		t.Errorf("the list shows secrets: %s", text)
	}
	if res := ask(t, c, h, "DELETE", location, ""); res.StatusCode != 204 {
		t.Errorf("delete: %s", res.Status)
	}
	if list := decode[[]auth.JoinRecord](t, ask(t, c, h, "GET", "/api/v1/tokens", "")); len(list) != 0 {
		t.Errorf("still there: %v", list)
	}
}
