package api_test

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/topology"
)

// TestNoNullLists: on every side of the API an empty list is a list.
func TestNoNullLists(t *testing.T) {
	for name, v := range map[string]any{
		"node": topology.Node{Usage: &topology.Usage{}}, "nodes": []topology.Node(nil), "more nodes": []topology.Node{{}}, "container": workload.Container{},
		"topology": topology.ClusterTopology{}, "status": api.Status{}, "alerts": []workload.Alert(nil), "report": &workload.Report{Containers: []workload.Container{{}}},
		"map": map[string][]string{"a": nil}, "map of nodes": map[string]topology.Node{"a": {}},
	} {
		b, err := api.JSON(v)
		if err != nil || !json.Valid(b) || strings.Contains(string(b), "null") {
			t.Errorf("%s: %s, %v", name, b, err)
		}
	}
	if b, err := api.JSON(nil); err != nil || string(b) != "null" {
		t.Errorf("%s, %v", b, err)
	}
	// Types that write their own JSON, and bytes, are left alone.
	if b, err := api.JSON(struct {
		At  time.Time         `json:"at"`
		For topology.Duration `json:"for"`
		Raw json.RawMessage   `json:"raw"`
		Key []byte            `json:"key"`
	}{For: topology.Duration(time.Second), Raw: json.RawMessage(`{"a":null}`), Key: []byte{1}}); err != nil || string(b) != `{"at":"0001-01-01T00:00:00Z","for":"1s","raw":{"a":null},"key":"AQ=="}` {
		t.Errorf("%s, %v", b, err)
	}
}

// TestJSONOnlyReadsSharedMaps: several requests write the labels of the same
// container at the same time. The race detector judges.
func TestJSONOnlyReadsSharedMaps(t *testing.T) {
	shared := []workload.Container{{ID: "c1", Labels: map[string]string{"a": "b", "c": "d"}, Ports: []workload.Port{{HostPort: 1}}}}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				own := append([]workload.Container{}, shared...) // as Knowledge gives it
				if _, err := api.JSON(own); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
