package api_test

import (
	"fmt"
	"testing"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/topology"
)

// TestStoreErrorsHaveTheirKind: none of them is a fault of Piccolo when the
// caller or the machine is at fault.
func TestStoreErrorsHaveTheirKind(t *testing.T) {
	for err, want := range map[error]api.Kind{
		store.ErrInvalid: api.KindInvalid, store.ErrTooLarge: api.KindTooLarge, store.ErrFull: api.KindUnavailable,
		store.ErrDiskFull: api.KindUnavailable, store.ErrUnreadable: api.KindInternal, store.ErrDamaged: api.KindInternal,
		topology.ErrIdentityInUse: api.KindConflict, topology.ErrClusterFull: api.KindConflict, topology.ErrTooOften: api.KindTooMany, topology.ErrNeeded: api.KindConflict,
	} {
		if got := api.Classify(fmt.Errorf("do it: %w", err)).Kind; got != want {
			t.Errorf("%v is %s, not %s", err, got, want)
		}
	}
}

// TestNamesAreNotTold: who may not read is answered the same for names that
// exist and names that do not.
func TestNamesAreNotTold(t *testing.T) {
	s := newService(t, newFake(), true)
	for _, p := range []auth.Principal{auth.Anonymous(), auth.Node("n-sub", topology.RoleSub)} {
		there, not := err1(s.Containers(t.Context(), p, "main", false)), err1(s.Containers(t.Context(), p, "nope", false))
		if kindOf(there) != kindOf(not) || kindOf(not) == api.KindNotFound {
			t.Errorf("%s: %v, but %v", p, there, not)
		}
	}
	if err := err1(s.Containers(t.Context(), admin, "nope", false)); kindOf(err) != api.KindNotFound {
		t.Errorf("an administrator: %v", err)
	}
}

// TestRemovedNodesAreNotRecorded: a certificate outlives its node.
func TestRemovedNodesAreNotRecorded(t *testing.T) {
	f := newFake()
	f.nodes = append(f.nodes, topology.Node{ID: "n-going", Name: "going", Role: topology.RoleSub, Status: topology.StatusTerminating})
	s := newService(t, f, true)
	for _, id := range []string{"n-gone", "n-going", ""} {
		_, err := s.RemoveNode(t.Context(), auth.Node(id, topology.RoleSub), "main")
		if kindOf(err) != api.KindDenied || len(f.audit) > 0 {
			t.Errorf("%q: %v, recorded %+v", id, err, f.audit)
		}
	}
}
