package rest

import (
	"encoding/json"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/topology"
)

func TestJSONThatIsRefused(t *testing.T) {
	deep := `{"labels":` + strings.Repeat(`{"a":`, 40) + `1` + strings.Repeat(`}`, 40) + `}`
	wide := `{"labels":` + strings.Repeat(`[`, 5000) + strings.Repeat(`]`, 5000) + `}`
	for name, c := range map[string]struct{ body, says string }{
		"not JSON":              {`labels`, "not valid JSON"},
		"cut off":               {`{"labels":{"a":"b"`, "ends in the middle"},
		"no object":             {`["a"]`, "not a JSON object"},
		"null":                  {`null`, "not a JSON object"},
		"number":                {`12`, "not a JSON object"},
		"two objects":           {`{} {}`, "goes on after"},
		"garbage behind":        {`{}x`, "goes on after"},
		"unknown":               {`{"label":{}}`, `unknown field "label"`},
		"unknown in other case": {`{"Labels":{}}`, `unknown field "Labels"`},
		"twice":                 {`{"status":"Ready","status":"Maintenance"}`, `field "status" is there twice`},
		"twice deeper":          {`{"labels":{"a":"1","a":"2"}}`, `field "labels.a" is there twice`},
		"deep":                  {deep, "nested deeper than 32"},
		"many brackets":         {wide, "nested deeper than 32"},
		"NUL":                   {`{"log_level":"in\u0000fo"}`, "NUL"},
		"NUL in a name":         {`{"labels":{"a\u0000":"b"}}`, "NUL"},
		"raw NUL":               {"{\"log_level\":\"\x00\"}", "not valid JSON"},
		"not UTF-8":             {"{\"log_level\":\"\xff\"}", "not valid UTF-8"},
		"wrong type":            {`{"log_level":5}`, `field "log_level" cannot be a number: a string is expected`},
		"wrong type deeper":     {`{"labels":{"a":[]}}`, "a string is expected"},
		"null status":           {`{"status":null}`, `field "status" cannot be null`},
		"null labels":           {`{"labels":null}`, `field "labels" cannot be null`},
		"missing comma":         {`{"labels":{} "status":"Ready"}`, "not valid JSON"},
	} {
		_, err := parsePatch([]byte(c.body))
		if err == nil || api.Classify(err).Kind != api.KindInvalid || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: error %v, want an invalid one with %q", name, err, c.says)
		}
		if err != nil && (len(err.Error()) > 600 || strings.Contains(err.Error(), "api.NodePatch") || strings.Contains(err.Error(), "Go value")) {
			t.Errorf("%s: this is no text for a person: %s", name, err)
		}
	}
}

func TestMergePatch(t *testing.T) {
	patch, err := parsePatch([]byte(` {"labels":{"a":"1","b":null},"log_level":null,"status":"Maintenance"} `))
	if err != nil {
		t.Fatal(err)
	}
	if v, there := patch.Labels["b"]; !there || v != nil || *patch.Labels["a"] != "1" {
		t.Errorf("labels %v", patch.Labels)
	}
	if patch.LogLevel == nil || *patch.LogLevel != "" {
		t.Errorf("log_level null became %v, want the empty level that removes the override", patch.LogLevel)
	}
	if *patch.Status != topology.StatusMaintenance {
		t.Errorf("status %v", *patch.Status)
	}
	if patch, err = parsePatch([]byte(`{}`)); err != nil || patch.Labels != nil || patch.LogLevel != nil || patch.Status != nil {
		t.Errorf("an empty patch became %+v, %v", patch, err)
	}
}

func TestNestedUnknownFieldIsNamedWithItsPath(t *testing.T) {
	var topo topology.ClusterTopology
	err := unmarshal([]byte(`{"name":"home","config":{"heartbeat":"10s"}}`), &topo)
	if err == nil || !strings.Contains(err.Error(), `unknown field "config.heartbeat"`) || !strings.Contains(err.Error(), "heartbeat_interval") {
		t.Errorf("error %v, want one that names config.heartbeat and the known fields", err)
	}
	err = unmarshal([]byte(`{"config":{"heartbeat_interval":10}}`), &topo)
	if err == nil || !strings.Contains(err.Error(), `a duration is a string such as "10s"`) {
		t.Errorf("error %v, want one that says how to write a duration", err)
	}
}

func TestRegistrationThatIsRefused(t *testing.T) {
	for name, c := range map[string]struct{ body, says string }{
		"unknown": {`{"node_id":"n-1","nodeid":"x"}`, `unknown field "nodeid"`},
		"type":    {`{"resources":{"cpu":"many"}}`, "not a registration"},
		"base64":  {`{"credentials":{"csr":"!!"}}`, "not a registration"},
		"twice":   {`{"node_id":"a","node_id":"b"}`, "twice"},
		"deep":    {`{"labels":` + strings.Repeat(`{"a":`, 40) + `1` + strings.Repeat(`}`, 40) + `}`, "nested deeper"},
		"list":    {`[]`, "not a JSON object"},
	} {
		_, err := parseRegistration([]byte(c.body))
		if err == nil || api.Classify(err).Kind != api.KindInvalid || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: error %v, want an invalid one with %q", name, err, c.says)
		}
		if err != nil && strings.ContainsAny(err.Error(), "\u00a0") {
			t.Errorf("%s: odd spaces in %q", name, err)
		}
	}
}

// Whatever the bytes are, the answer is a value or a short error of the
// sender's making, and a value survives being written and read again.
func FuzzPatch(f *testing.F) {
	for _, s := range []string{`{}`, `{"labels":{"a":null}}`, `{"log_level":null}`, `{"status":"Ready"}`, `{"labels":{"a":"b"},"x":1}`, "{\"\xff\":1}", `{"labels":[[[[]]]]}`, `{"a":1e999}`, `{"labels":{"\u0000":""}}`, `{"labels":{"\ud800":""}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		patch, err := parsePatch(body)
		if err != nil {
			refused(t, err)
			return
		}
		out := map[string]any{}
		if patch.Labels != nil {
			out["labels"] = patch.Labels
		}
		if patch.LogLevel != nil {
			out["log_level"] = patch.LogLevel
		}
		if patch.Status != nil {
			out["status"] = patch.Status
		}
		again, err := json.Marshal(out)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parsePatch(again); err != nil {
			t.Fatalf("%s was taken, but %s is not: %v", body, again, err)
		}
	})
}

func FuzzTopology(f *testing.F) {
	for _, s := range []string{`{"name":"home","type":"basic","config":{"heartbeat_interval":"10s","log_level":"info","approval":"token"}}`, `{"config":null}`, `{"revision":1e3}`, `{"master_nodes":[null]}`, `{"config":{"heartbeat_interval":"9999999h"}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var topo topology.ClusterTopology
		if err := unmarshal(body, &topo); err != nil {
			refused(t, err)
		}
	})
}

func FuzzRegistration(f *testing.F) {
	for _, s := range []string{`{}`, `{"node_id":"n-1","credentials":{"token":"x","csr":"AQID"},"time":"2026-01-01T00:00:00Z"}`, `{"gossip_port":99999999}`, `{"readiness":[{"check":"memory"}]}`, `{"time":"0001-01-01T00:00:00Z"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		request, err := parseRegistration(body)
		if err != nil {
			refused(t, err)
			return
		}
		if _, err := request.Registration(); err != nil {
			return
		}
		if _, err := protojson.Marshal(request); err != nil {
			t.Fatalf("%s was taken and cannot be written again: %v", body, err)
		}
	})
}

func refused(t *testing.T, err error) {
	t.Helper()
	if api.Classify(err).Kind != api.KindInvalid {
		t.Fatalf("error of kind %s: %v", api.Classify(err).Kind, err)
	}
	if len(err.Error()) > 2000 {
		t.Fatalf("error of %d bytes: %.200s", len(err.Error()), err)
	}
}
