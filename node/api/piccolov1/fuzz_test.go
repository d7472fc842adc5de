package piccolov1

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/topology"
)

// seed adds what a real peer could have sent.
func seed[T any, M proto.Message](f *testing.F, values *rapid.Generator[T], from func(T) M) {
	f.Helper()
	for i := range 5 {
		b, err := proto.Marshal(from(values.Example(i)))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte{})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x0f})
}

// steady reads bytes from the wire: no panic, and what is read stays the same
// when it is sent on.
func steady[T, M any, P message[M]](t *testing.T, b []byte, from func(T) P, to func(P) (T, error)) {
	t.Helper()
	x := P(new(M))
	if proto.Unmarshal(b, x) != nil {
		return
	}
	v, err := to(x)
	if err != nil {
		return
	}
	again, err := to(from(v))
	if err != nil {
		t.Fatalf("what was read is refused when it is sent on: %v", err)
	}
	if diff := cmp.Diff(v, again, same); diff != "" {
		t.Errorf("sent on (-read +again):\n%s", diff)
	}
}

// FuzzRegistration is the one message that strangers may send.
func FuzzRegistration(f *testing.F) {
	seed(f, registrations, FromRegistration)
	f.Fuzz(func(t *testing.T, b []byte) {
		steady(t, b, FromRegistration, (*NodeRegistrationRequest).Registration)
	})
}

func FuzzReport(f *testing.F) {
	seed(f, reports, FromReport)
	f.Fuzz(func(t *testing.T, b []byte) { steady(t, b, FromReport, (*StatusReport).Report) })
}

func FuzzHeartbeat(f *testing.F) {
	seed(f, heartbeats, FromHeartbeat)
	f.Fuzz(func(t *testing.T, b []byte) { steady(t, b, FromHeartbeat, sure((*HeartbeatRequest).Heartbeat)) })
}

func FuzzHello(f *testing.F) {
	seed(f, hellos, FromHello)
	f.Fuzz(func(t *testing.T, b []byte) { steady(t, b, FromHello, (*Hello).ToHello) })
}

func FuzzAnswer(f *testing.F) {
	seed(f, answers, FromAnswer)
	f.Fuzz(func(t *testing.T, b []byte) { steady(t, b, FromAnswer, sure((*AgentMessage).Answer)) })
}

// FuzzNotice and FuzzAdmission are what a node reads of a master.
func FuzzNotice(f *testing.F) {
	seed(f, notices, FromNotice)
	f.Fuzz(func(t *testing.T, b []byte) { steady(t, b, FromNotice, sure((*MasterMessage).Notice)) })
}

func FuzzAdmission(f *testing.F) {
	seed(f, admissions, FromAdmission)
	f.Fuzz(func(t *testing.T, b []byte) {
		steady(t, b, FromAdmission, func(x *NodeRegistrationResponse) (workload.Admission, error) {
			a := x.Admission()
			if a.Plan.Revision == 0 {
				a.Plan = workload.Plan{} // a plan without revision is none
			}
			if a.Status == topology.StatusPending {
				a.Keyring, a.View, a.Plan = workload.Keyring{}, workload.View{}, workload.Plan{} // nothing to obey
			}
			return a, nil
		})
	})
}
