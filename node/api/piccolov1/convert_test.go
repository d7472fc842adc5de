package piccolov1

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"piccolo.io/piccolo/topology"
)

// message is a wire type.
type message[M any] interface {
	*M
	proto.Message
}

var same = cmp.Options{cmpopts.EquateEmpty(), cmpopts.EquateNaNs()}

// survives sends values through the bytes of the wire and back.
func survives[T, M any, P message[M]](t *testing.T, values *rapid.Generator[T], from func(T) P, to func(P) (T, error)) {
	t.Helper()
	rapid.Check(t, func(t *rapid.T) {
		v := values.Draw(t, "v")
		b, err := proto.Marshal(from(v))
		if err != nil {
			t.Fatal(err)
		}
		x := P(new(M))
		if err := proto.Unmarshal(b, x); err != nil {
			t.Fatal(err)
		}
		back, err := to(x)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(v, back, same); diff != "" {
			t.Fatalf("on the way through the wire (-sent +received):\n%s", diff)
		}
	})
}

// sure is a conversion that cannot fail.
func sure[P, T any](to func(P) T) func(P) (T, error) {
	return func(x P) (T, error) { return to(x), nil }
}

func TestEverythingSurvivesTheWire(t *testing.T) {
	t.Run("registration", func(t *testing.T) {
		survives(t, registrations, FromRegistration, (*NodeRegistrationRequest).Registration)
	})
	t.Run("admission", func(t *testing.T) {
		survives(t, admissions, FromAdmission, sure((*NodeRegistrationResponse).Admission))
	})
	t.Run("report", func(t *testing.T) { survives(t, reports, FromReport, (*StatusReport).Report) })
	t.Run("heartbeat", func(t *testing.T) { survives(t, heartbeats, FromHeartbeat, sure((*HeartbeatRequest).Heartbeat)) })
	t.Run("plan", func(t *testing.T) { survives(t, plans, FromPlan, sure((*Plan).ToPlan)) })
	t.Run("view", func(t *testing.T) { survives(t, views, FromView, sure((*View).ToView)) })
	t.Run("hello", func(t *testing.T) { survives(t, hellos, FromHello, (*Hello).ToHello) })
	t.Run("notice", func(t *testing.T) { survives(t, notices, FromNotice, sure((*MasterMessage).Notice)) })
	t.Run("answer", func(t *testing.T) { survives(t, answers, FromAnswer, sure((*AgentMessage).Answer)) })
}

// TestReportStatusWord is the published field beside the conditions.
func TestReportStatusWord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := reports.Draw(t, "r")
		want := "ok"
		if len(r.Conditions) > 0 {
			want = r.Conditions.String()
		}
		if got := FromReport(r).GetStatus(); got != want {
			t.Fatalf("%q, want %q", got, want)
		}
	})
}

// TestPendingIsToldNothing: a node that nobody has approved learns neither
// the keys nor the cluster.
func TestPendingIsToldNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := admissions.Draw(t, "a")
		a.Status, a.Keyring, a.View, a.Plan = topology.StatusPending, keyrings.Draw(t, "k"), views.Draw(t, "v"), plans.Draw(t, "p")
		x := FromAdmission(a)
		if x.Keyring != nil || x.View != nil || x.Plan != nil || x.Message == "" {
			t.Fatalf("a pending node is sent %v", x)
		}
	})
}

// TestImpossibleValues: what no node can mean is refused, with the field.
func TestImpossibleValues(t *testing.T) {
	big := uint32(65536)
	for field, try := range map[string]func() error{
		"gossip_port": func() error { _, err := (&NodeRegistrationRequest{GossipPort: big}).Registration(); return err },
		"api_port":    func() error { _, err := (&NodeRegistrationRequest{ApiPort: math.MaxUint32}).Registration(); return err },
		"host_port": func() error {
			_, err := (&StatusReport{Containers: []*ContainerStatus{{Ports: []*Port{{HostPort: big}}}}}).Report()
			return err
		},
		"container_port": func() error {
			_, err := (&StatusReport{Containers: []*ContainerStatus{{Ports: []*Port{{ContainerPort: big}}}}}).Report()
			return err
		},
		"conditions": func() error { _, err := (&StatusReport{Conditions: []string{"Bored"}}).Report(); return err },
	} {
		if err := try(); !errors.Is(err, topology.ErrInvalid) || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	for _, h := range []*Hello{{GossipPort: big}, {ApiPort: big}} {
		if _, err := h.ToHello(); !errors.Is(err, topology.ErrInvalid) {
			t.Errorf("%v: %v", h, err)
		}
	}
	if at := toTime(&timestamppb.Timestamp{Seconds: math.MaxInt64}); !at.IsZero() {
		t.Errorf("an impossible time was read as %v", at)
	}
}

// TestNothingIsNoPanic: messages with everything missing.
func TestNothingIsNoPanic(t *testing.T) {
	if p := (*Plan)(nil).ToPlan(); p.Revision != 0 || FromPlan(p) != nil {
		t.Errorf("no plan became %+v", p)
	}
	for _, err := range []error{
		second((*NodeRegistrationRequest)(nil).Registration()), second((*StatusReport)(nil).Report()), second((*Hello)(nil).ToHello()),
		second((&StatusReport{Containers: []*ContainerStatus{nil}, Alerts: []*AlertInfo{nil}}).Report()),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	(*NodeRegistrationResponse)(nil).Admission()
	(*HeartbeatRequest)(nil).Heartbeat()
	(*HeartbeatResponse)(nil).Reply()
	(*MasterMessage)(nil).Notice()
	(*AgentMessage)(nil).Answer()
	(&View{Nodes: []*NodeInfo{nil}}).ToView()
	(&MasterMessage{Message: &MasterMessage_View{}}).Notice()
	(&MasterMessage{Message: &MasterMessage_Keyring{}}).Notice()
	(&AgentMessage{Message: &AgentMessage_Stats{Stats: &StatsAnswer{Stats: map[string]*ContainerStats{"x": nil}}}}).Answer()
}

func second[T any](_ T, err error) error { return err }

func TestCount(t *testing.T) {
	for n, want := range map[int]uint32{-1: 0, 0: 0, 7: 7, math.MinInt: 0} {
		if got := count(n); got != want {
			t.Errorf("%d: %d, want %d", n, got, want)
		}
	}
}
