package auth

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"piccolo.io/piccolo/topology"
)

// law repeats the table by hand, in the order of Actions:
// a = allowed for everything, o = for one's own, - = never.
var law = []struct {
	who  Principal
	line string
}{
	//                                  health register nodes:rw cont. events metrics tokens:rw topology:rw masters self:rw
	{Principal{}, "a a -- - - - -- -- - --"},
	{Anonymous(), "a a -- - - - -- -- - --"},
	{Node("n-1", topology.RoleSub), "a a o- o - - -- -- - oo"},
	{Node("n-1", topology.RoleMaster), "a a a- a a a -- a- a oo"},
	{Admin("admin"), "a a aa a a a aa aa - --"},
	{Local("n-1", topology.RoleMaster), "a a aa a a a aa aa - oo"},
	{Local("n-1", topology.RoleSub), "a - a- a a a -- a- - oo"},
	{Node("n-1", ""), "- - -- - - - -- -- - --"},
	{Node("n-1", "boss"), "- - -- - - - -- -- - --"},
	{Principal{Kind: "root", ID: "n-1", Role: topology.RoleMaster}, "- - -- - - - -- -- - --"},
	{Node("", topology.RoleSub), "a a o- o - - -- -- - oo"},
}

func TestAuthorizeIsTheLaw(t *testing.T) {
	for _, row := range law {
		cells := strings.ReplaceAll(row.line, " ", "")
		if len(cells) != len(Actions()) {
			t.Fatalf("%s: %d cells for %d actions", row.who, len(cells), len(Actions()))
		}
		for i, action := range Actions() {
			for _, r := range []Resource{Cluster(), OwnedBy("n-1"), OwnedBy("n-2"), OwnedBy("admin")} {
				want := cells[i] == 'a' || cells[i] == 'o' && row.who.ID != "" && r.Owner == row.who.ID
				t.Run(fmt.Sprintf("%s/%s/%s", row.who, action, r.Owner), func(t *testing.T) {
					check(t, row.who, action, r, want)
				})
			}
		}
		for _, action := range []Action{"", "*", "nodes:*", "nodes:delete", "NODES:READ"} {
			if err := Authorize(row.who, action, Cluster()); !errors.Is(err, ErrDenied) {
				t.Errorf("%s, unknown action %q: %v", row.who, action, err)
			}
		}
	}
}

func check(t *testing.T, p Principal, action Action, r Resource, allowed bool) {
	t.Helper()
	err := Authorize(p, action, r)
	if allowed {
		if err != nil {
			t.Error(err)
		}
		return
	}
	want := ErrDenied
	if p.Kind == "" || p.Kind == KindAnonymous {
		want = ErrUnauthenticated
	}
	if !errors.Is(err, want) || !strings.Contains(err.Error(), string(action)) {
		t.Errorf("got %v, want %v with what is missing", err, want)
	}
}

// Every column of the table is in the law above, and names only known actions.
func TestTableIsCovered(t *testing.T) {
	covered := map[column]bool{}
	for _, row := range law {
		covered[row.who.column()] = true
	}
	known := map[Action]bool{}
	for _, a := range Actions() {
		known[a] = true
	}
	for col, actions := range permissions {
		if !covered[col] {
			t.Errorf("%v has no row", col)
		}
		for a := range actions {
			if !known[a] {
				t.Errorf("%v: action %q is not in Actions", col, a)
			}
		}
	}
}
