package podman

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// Usage is what a running container uses at the moment.
type Usage struct {
	ID          string  `json:"id"`
	Name        string  `json:"name"`
	CPUPercent  float64 `json:"cpu_percent"`  // of one core, so 4 busy cores are 400
	MemoryBytes uint64  `json:"memory_bytes"` // as the memory cgroup counts it
	MemoryLimit uint64  `json:"memory_limit"` // bytes; the machine's memory when there is no limit
	PIDs        int     `json:"pids"`
}

// Stats measures running containers, all of them or those with the given ids or names. Containers that
// do not run are left out. It takes Timeouts.Sample (250 ms) and two requests, because what Podman
// itself calls CPU % is the mean since the container started.
func (e *Engine) Stats(ctx context.Context, ids ...string) ([]Usage, error) {
	before, err := e.sample(ctx)
	if err != nil {
		return nil, err
	}
	from := time.Now()
	select {
	case <-time.After(e.limits.Sample):
	case <-ctx.Done():
		return nil, fmt.Errorf("measure containers on %s: %w", e.socket, ctx.Err())
	}
	after, err := e.sample(ctx)
	if err != nil {
		return nil, err
	}
	took := time.Since(from)
	var all []Usage
	for id, now := range after {
		if len(ids) > 0 && !slices.Contains(ids, id) && !slices.Contains(ids, now.Name) {
			continue
		}
		all = append(all, now.since(before[id], took))
	}
	slices.SortFunc(all, func(a, b Usage) int { return slices.Compare([]string{a.Name, a.ID}, []string{b.Name, b.ID}) })
	return all, nil
}

// sample always asks for all: a list of ids fails as a whole when one of them has gone.
func (e *Engine) sample(ctx context.Context) (map[string]usageRow, error) {
	var rows map[string]usageRow
	r := request{op: "measure containers", path: "/containers/stats", query: url.Values{"stream": {"false"}}}
	err := e.call(ctx, r, func(_ http.Header, body []byte) (err error) {
		rows, err = decodeStats(body)
		return err
	})
	return rows, err
}

type usageRow struct {
	ID       string `json:"ContainerID"`
	Name     string `json:"Name"`
	CPUNano  uint64 `json:"CPUNano"`    // CPU time since the start
	At       uint64 `json:"SystemNano"` // 0: it does not run (4.x lists it nevertheless)
	MemUsage uint64 `json:"MemUsage"`
	MemLimit uint64 `json:"MemLimit"`
	PIDs     uint64 `json:"PIDs"`
}

func (now usageRow) since(before usageRow, took time.Duration) Usage {
	u := Usage{ID: now.ID, Name: now.Name, MemoryBytes: now.MemUsage, MemoryLimit: now.MemLimit, PIDs: int(min(now.PIDs, 1<<30))}
	if before.At != 0 && now.CPUNano >= before.CPUNano && took > 0 {
		u.CPUPercent = 100 * float64(now.CPUNano-before.CPUNano) / float64(took)
	}
	return u
}

// decodeStats reads the answer of GET /libpod/containers/stats.
func decodeStats(body []byte) (map[string]usageRow, error) {
	var in struct {
		Error json.RawMessage `json:"Error"`
		Stats []usageRow      `json:"Stats"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadAnswer, err)
	}
	if len(in.Error) > 0 && string(in.Error) != "null" {
		return nil, fmt.Errorf("%w: %.300s", ErrRejected, in.Error)
	}
	rows := make(map[string]usageRow, len(in.Stats))
	for _, r := range in.Stats {
		if r.ID != "" && r.At != 0 {
			rows[r.ID] = r
		}
	}
	return rows, nil
}
