package api_test

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/topology"
)

// declaredKinds reads the constants of type Kind from the source.
func declaredKinds(t *testing.T) map[api.Kind]bool {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	out := map[api.Kind]bool{}
	ast.Inspect(f, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if id, ok := v.Type.(*ast.Ident); ok && id.Name == "Kind" {
			s, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			out[api.Kind(s)] = true
		}
		return true
	})
	return out
}

// TestKindsAreComplete: every kind has one line, and no two kinds look the
// same to a gRPC client.
func TestKindsAreComplete(t *testing.T) {
	declared := declaredKinds(t)
	if len(declared) < 9 {
		t.Fatalf("only %d kinds were found in the source", len(declared))
	}
	grpc := map[uint32]bool{}
	for _, c := range api.Kinds() {
		if !declared[c.Kind] {
			t.Errorf("%q has two lines, or is no kind", c.Kind)
		}
		delete(declared, c.Kind)
		if grpc[c.GRPC] || c.GRPC == 0 || c.GRPC > 16 {
			t.Errorf("%s: gRPC code %d", c.Kind, c.GRPC)
		}
		grpc[c.GRPC] = true
		if c.HTTP < 400 || http.StatusText(c.HTTP) == "" || c.Title == "" {
			t.Errorf("%s: HTTP status %d, title %q", c.Kind, c.HTTP, c.Title)
		}
		// The exit codes of DESIGN §9.
		want := map[api.Kind]int{api.KindInvalid: 2, api.KindTooLarge: 2, api.KindNotFound: 3, api.KindConflict: 4, api.KindUnavailable: 5,
			api.KindTooMany: 5, api.KindUnauthenticated: 6, api.KindDenied: 6, api.KindInternal: 1}
		if c.Exit != want[c.Kind] {
			t.Errorf("%s: exit code %d, want %d", c.Kind, c.Exit, want[c.Kind])
		}
		if c.Kind.Codes() != c {
			t.Errorf("%s: another line is found", c.Kind)
		}
	}
	if len(declared) > 0 {
		t.Errorf("no line for %v", declared)
	}
	if api.Kind("made-up").Codes().Kind != api.KindInternal {
		t.Error("a kind that does not exist is not internal")
	}
}

func TestClassify(t *testing.T) {
	for _, c := range []struct {
		err  error
		kind api.Kind
	}{
		{topology.ErrTransition, api.KindConflict}, {topology.ErrInvalid, api.KindInvalid}, {topology.ErrRemoved, api.KindDenied},
		{store.ErrNotFound, api.KindNotFound}, {store.ErrExists, api.KindConflict}, {store.ErrConflict, api.KindConflict},
		{store.ErrNoQuorum, api.KindUnavailable}, {store.ErrClosed, api.KindUnavailable},
		{auth.ErrUnauthenticated, api.KindUnauthenticated}, {auth.ErrDenied, api.KindDenied}, {auth.ErrTokenUnknown, api.KindDenied},
		{auth.ErrTokenExpired, api.KindDenied}, {auth.ErrTokenRole, api.KindDenied},
		{context.DeadlineExceeded, api.KindUnavailable}, {context.Canceled, api.KindUnavailable}, {errors.New("oh"), api.KindInternal},
	} {
		e := api.Classify(fmt.Errorf("change node: %w", c.err))
		if e.Kind != c.kind || !strings.HasPrefix(e.Message, "change node: ") || !errors.Is(e, c.err) {
			t.Errorf("%v: %+v, want %s", c.err, e, c.kind)
		}
	}
	if api.Classify(nil) != nil {
		t.Error("nothing is an error")
	}
	own := api.Conflictf("no: %w", store.ErrNotFound).WithHint("try %d", 1)
	if got := api.Classify(fmt.Errorf("outer: %w", own)); got != own || got.Error() != "no: not found (try 1)" || !errors.Is(got, store.ErrNotFound) {
		t.Errorf("%+v", got)
	}
	if got := api.Classify(hinting{}); got.Hint != "turn it on" {
		t.Errorf("the room's own hint is lost: %+v", got)
	}
}

type hinting struct{}

func (hinting) Error() string { return "it is off" }
func (hinting) Hint() string  { return "turn it on" }

// TestProblemThereAndBack: what a server says is what a client understands.
func TestProblemThereAndBack(t *testing.T) {
	for _, c := range api.Kinds() {
		e := &api.Error{Kind: c.Kind, Message: "change node: no", Hint: "wait"}
		p := api.ProblemOf(e, 0, "/api/v1/nodes/x")
		if p.Status != c.HTTP || p.Title != c.Title || p.Type != "urn:piccolo:problem:"+string(c.Kind) || p.Instance != "/api/v1/nodes/x" {
			t.Errorf("%s: %+v", c.Kind, p)
		}
		if back := p.Err(); back.Kind != c.Kind || back.Message != e.Message || back.Hint != e.Hint {
			t.Errorf("%s came back as %+v", c.Kind, back)
		}
		p.Kind = "of-the-future"
		if back := p.Err(); back.Kind.Codes().HTTP != c.HTTP {
			t.Errorf("by its status alone, %d is %s", c.HTTP, back.Kind)
		}
	}
	if p := api.ProblemOf(api.Invalidf("x"), http.StatusMethodNotAllowed, "/"); p.Status != 405 || p.Title != "Method Not Allowed" || p.Kind != api.KindInvalid {
		t.Errorf("%+v", p)
	}
	for p, message := range map[string]api.Problem{"Gone fishing": {Title: "Gone fishing", Status: 503}, "the server answered Bad Gateway": {Status: 502}} {
		if e := message.Err(); e.Message != p || e.Kind != api.KindUnavailable {
			t.Errorf("%+v", e)
		}
	}
	for status, kind := range map[int]api.Kind{418: api.KindInvalid, 599: api.KindInternal, 504: api.KindUnavailable, 200: api.KindInternal} {
		if got := api.KindOfHTTP(status); got != kind {
			t.Errorf("%d is %s", status, got)
		}
	}
}
