package feed

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// reader is what a client does with the stream, in the fewest words.
type reader struct {
	kinds  []string
	lastID string
	state  map[string]string
	events []string
	sub    *Subscription
}

func (r *reader) apply(c Change) {
	switch c.Type {
	case TypeReset:
		r.state, r.events = map[string]string{}, nil
		r.lastID = ""
	case TypePut:
		if c.Kind == KindEvent {
			r.events = append(r.events, string(c.Object))
			break
		}
		r.state[c.Kind+" "+c.Key] = string(c.Object)
	case TypeDelete:
		delete(r.state, c.Kind+" "+c.Key)
	}
	if c.ID != "" {
		r.lastID = c.ID
	}
}

// model is the truth, kept in the plainest way.
type model struct {
	state  map[string]string
	events []string
}

func (m *model) of(kinds []string) (map[string]string, []string) {
	out := map[string]string{}
	for k, v := range m.state {
		var kind, key string
		_, _ = fmt.Sscanf(k, "%s %s", &kind, &key)
		if slices.Contains(kinds, kind) {
			out[k] = v
		}
	}
	if !slices.Contains(kinds, KindEvent) {
		return out, nil
	}
	return out, m.events
}

func tail(list []string, n int) []string {
	if len(list) > n {
		return list[len(list)-n:]
	}
	return list
}

// A reader that resumes any number of times, cut wherever it may be, ends
// with the state of the hub.
func TestReaderEndsWithTheStateOfTheHub(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		const keptEvents = 5
		o := Options{History: rapid.IntRange(1, 12).Draw(rt, "history"), Events: keptEvents, Queue: rapid.IntRange(1, 6).Draw(rt, "queue")}
		h, err := New(o)
		if err != nil {
			rt.Fatal(err)
		}
		m := &model{state: map[string]string{}}
		r := &reader{kinds: rapid.SliceOfNDistinct(rapid.SampledFrom(Kinds()), 1, 5, rapid.ID[string]).Draw(rt, "kinds")}
		defer func() {
			if r.sub != nil {
				r.sub.Close()
			}
		}()
		connect := func(rt *rapid.T) {
			if r.sub != nil {
				r.sub.Close()
			}
			if r.sub, err = h.Subscribe(t.Context(), r.kinds, r.lastID); err != nil {
				rt.Fatal(err)
			}
			backlog := r.sub.Backlog()
			// The connection may break anywhere in the backlog.
			n := rapid.IntRange(0, len(backlog)).Draw(rt, "heard")
			for _, c := range backlog[:n] {
				r.apply(c)
			}
			if n < len(backlog) {
				r.sub.Close()
				r.sub = nil
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"publish": func(rt *rapid.T) {
				kind := rapid.SampledFrom([]string{KindNode, KindContainer, KindTopology, KindAlert}).Draw(rt, "kind")
				key := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "key")
				value := rapid.SampledFrom([]any{nil, 1, 2}).Draw(rt, "value")
				if err := h.Publish(kind, key, value); err != nil {
					rt.Fatal(err)
				}
				delete(m.state, kind+" "+key)
				if value != nil {
					m.state[kind+" "+key] = fmt.Sprint(value)
				}
			},
			"log": func(rt *rapid.T) {
				line := fmt.Sprint(len(m.events))
				if err := h.Log(json.RawMessage(line)); err != nil {
					rt.Fatal(err)
				}
				m.events = append(m.events, line)
			},
			"connect": connect,
			"forget":  func(*rapid.T) { r.lastID = "" },
			"restart of the hub's memory": func(rt *rapid.T) {
				r.lastID = rapid.SampledFrom([]string{"other-1", "x", h.epoch + "-999999", r.lastID}).Draw(rt, "id")
			},
			"read": func(rt *rapid.T) {
				if r.sub == nil {
					return
				}
				for range rapid.IntRange(0, 4).Draw(rt, "n") {
					select {
					case c, open := <-r.sub.Changes():
						if !open {
							r.sub = nil
							return
						}
						r.apply(c)
					default:
						return
					}
				}
			},
		})
		// At the end the reader comes back and hears all of it.
		if r.sub != nil {
			r.sub.Close()
		}
		if r.sub, err = h.Subscribe(t.Context(), r.kinds, r.lastID); err != nil {
			rt.Fatal(err)
		}
		for _, c := range r.sub.Backlog() {
			r.apply(c)
		}
		state, events := m.of(r.kinds)
		if d := cmp.Diff(state, r.state); d != "" {
			rt.Fatalf("state: -hub +reader\n%s", d)
		}
		if d := cmp.Diff(tail(events, keptEvents), tail(r.events, keptEvents)); d != "" {
			rt.Fatalf("events: -hub +reader\n%s", d)
		}
		if got := h.Events(2); len(got) > 2 || len(got) != min(2, len(m.events)) {
			rt.Fatalf("Events(2) gives %d", len(got))
		}
	})
}

func FuzzParseID(f *testing.F) {
	for _, s := range []string{"", "-", "a-1", "0123456789abcdef-18446744073709551615", "a-01", "a--1", "a-+1", "a-1-2", "\x00-1", "a-18446744073709551616"} {
		f.Add(s)
	}
	h := newHub(f, Options{History: 4})
	for i := range 9 {
		must(f, h.Publish(KindNode, "a", i))
	}
	f.Fuzz(func(t *testing.T, id string) {
		if p, err := parseID(id); err == nil && p.String() != id {
			t.Fatalf("%q is read as %q", id, p)
		}
		s, err := h.Subscribe(t.Context(), nil, id)
		must(t, err)
		defer s.Close()
		b := s.Backlog()
		if len(b) == 0 || b[len(b)-1].Type != TypeSynced {
			t.Fatalf("backlog for id %q does not end with synced", id)
		}
	})
}
