package rpc_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/api/piccolov1"
	"piccolo.io/piccolo/node/api/rpc"
	"piccolo.io/piccolo/node/api/rpc/rpctest"
	"piccolo.io/piccolo/node/pki"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/topology"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

// dial connects with the certificate of a node, or as a stranger for nil.
func dial(t testing.TB, m *rpctest.Master, source *pki.Source) piccolov1.NodeAgentServiceClient {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+m.Address, grpc.WithTransportCredentials(credentials.NewTLS(m.Cluster.ClientTLS(t, source))))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return piccolov1.NewNodeAgentServiceClient(conn)
}

func bounded(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func id(s *pki.Source) string { return strings.TrimPrefix(s.Current().Subject.CommonName, "node:") }

// reason is what the details of an error say beside its code.
func reason(err error) (reason, hint string) {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info.GetReason(), info.GetMetadata()["hint"]
		}
	}
	return "", ""
}

// TestErrorsHaveTheCodesOfTheTable, and their hint beside them.
func TestErrorsHaveTheCodesOfTheTable(t *testing.T) {
	m := rpctest.New(t)
	c, self := dial(t, m, m.Cluster.Sub), id(m.Cluster.Sub)
	for _, k := range api.Kinds() {
		m.Fail((&api.Error{Kind: k.Kind, Message: "change node: no"}).WithHint("wait"))
		_, err := c.Heartbeat(bounded(t), &piccolov1.HeartbeatRequest{NodeId: self})
		what, hint := reason(err)
		if status.Code(err) != codes.Code(k.GRPC) || what != string(k.Kind) || hint != "wait" || status.Convert(err).Message() != "change node: no" {
			t.Errorf("%s: %v, %q, %q", k.Kind, err, what, hint)
		}
	}
	m.Fail(fmt.Errorf("%w: kitchen was removed", topology.ErrRemoved))
	_, err := c.Heartbeat(bounded(t), &piccolov1.HeartbeatRequest{NodeId: self})
	if what, _ := reason(err); status.Code(err) != codes.PermissionDenied || what != piccolov1.ReasonRemoved {
		t.Errorf("removed: %v, %q", err, what)
	}
	m.Fail(fmt.Errorf("refuse node kitchen: %w", topology.ErrIdentityInUse))
	_, err = c.Heartbeat(bounded(t), &piccolov1.HeartbeatRequest{NodeId: self})
	if what, _ := reason(err); status.Code(err) != codes.FailedPrecondition || what != piccolov1.ReasonIdentityInUse {
		t.Errorf("a second holder: %v, %q", err, what)
	}
}

// TestWhoMay: the key of the TLS connection says who calls, whatever the
// message says.
func TestWhoMay(t *testing.T) {
	m := rpctest.New(t)
	sub, stranger, master := dial(t, m, m.Cluster.Sub), dial(t, m, nil), dial(t, m, m.Cluster.Master)
	self := id(m.Cluster.Sub)
	calls := func(c piccolov1.NodeAgentServiceClient, node string) map[string]error {
		attach := func() error {
			s, err := c.Attach(bounded(t))
			if err != nil {
				return err
			}
			if err := s.Send(&piccolov1.AgentMessage{Message: &piccolov1.AgentMessage_Hello{Hello: &piccolov1.Hello{NodeId: node}}}); err != nil {
				return err
			}
			m.Fail(nil)
			_, err = s.Recv()
			return err
		}
		return map[string]error{
			"heartbeat": second(c.Heartbeat(bounded(t), &piccolov1.HeartbeatRequest{NodeId: node})),
			"report":    second(c.ReportStatus(bounded(t), &piccolov1.StatusReport{NodeId: node})),
			"plan":      second(c.ReceiveConfig(bounded(t), &piccolov1.ConfigRequest{NodeId: node})),
			"leave":     second(c.Leave(bounded(t), &piccolov1.LeaveRequest{NodeId: node})),
			"attach":    attach(),
		}
	}
	for who, try := range map[string]struct {
		client piccolov1.NodeAgentServiceClient
		node   string
		want   codes.Code
	}{
		"a stranger":             {stranger, self, codes.Unauthenticated},
		"a sub as another":       {sub, "n-000000000000", codes.PermissionDenied},
		"a sub as nobody":        {sub, "", codes.PermissionDenied},
		"a master as one of its": {master, self, codes.PermissionDenied},
	} {
		for call, err := range calls(try.client, try.node) {
			if status.Code(err) != try.want {
				t.Errorf("%s: %s: %v, want %s", who, call, err, try.want)
			}
		}
	}
	if heard := m.Heard(); len(heard) > 0 {
		t.Errorf("what was refused was done: %v", heard)
	}
	if _, err := stranger.RenewCertificate(bounded(t), &piccolov1.RenewRequest{}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("renew as a stranger: %v", err)
	}
	if r, err := stranger.RegisterNode(bounded(t), &piccolov1.NodeRegistrationRequest{NodeId: "n-new"}); err != nil || r.GetNodeId() != "n-new" {
		t.Errorf("register as a stranger: %v, %v", r, err)
	}
	identity, err := pki.CreateKey(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	csr, err := identity.CSR()
	if err != nil {
		t.Fatal(err)
	}
	forged := &piccolov1.NodeRegistrationRequest{NodeId: identity.ID(), Credentials: &piccolov1.Credentials{Csr: csr, Proof: []byte{1}}}
	if _, err := stranger.RegisterNode(bounded(t), forged); status.Code(err) != codes.PermissionDenied {
		t.Errorf("register with a forged proof: %v", err)
	}
	// A certificate is renewed for the one who asks, nobody else.
	if r, err := sub.RenewCertificate(bounded(t), &piccolov1.RenewRequest{Csr: []byte("csr")}); err != nil || string(r.GetCertificate()) != "crt of "+self+" for csr" {
		t.Errorf("renew: %v, %v", r, err)
	}
}

func second[T any](_ T, err error) error { return err }

// TestImpossibleMessages are refused before anything is done.
func TestImpossibleMessages(t *testing.T) {
	m := rpctest.New(t)
	c, self := dial(t, m, m.Cluster.Sub), id(m.Cluster.Sub)
	attach := func(first *piccolov1.AgentMessage) error {
		s, err := c.Attach(bounded(t))
		if err != nil {
			return err
		}
		if err := s.Send(first); err != nil {
			return err
		}
		_, err = s.Recv()
		return err
	}
	for name, err := range map[string]error{
		"a port":       second(c.RegisterNode(bounded(t), &piccolov1.NodeRegistrationRequest{GossipPort: 70000})),
		"a condition":  second(c.ReportStatus(bounded(t), &piccolov1.StatusReport{NodeId: self, Conditions: []string{"Bored"}})),
		"no hello":     attach(&piccolov1.AgentMessage{Message: &piccolov1.AgentMessage_Pong{Pong: 1}}),
		"nothing":      attach(&piccolov1.AgentMessage{}),
		"hello's port": attach(&piccolov1.AgentMessage{Message: &piccolov1.AgentMessage_Hello{Hello: &piccolov1.Hello{NodeId: self, ApiPort: 70000}}}),
	} {
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	huge := &piccolov1.StatusReport{NodeId: self, Version: strings.Repeat("x", rpc.MaxMessage)}
	if _, err := c.ReportStatus(bounded(t), huge); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a huge report: %.200v", err)
	}
	if heard := m.Heard(); len(heard) > 0 {
		t.Errorf("what was refused was done: %v", heard)
	}
	if _, err := c.Heartbeat(bounded(t), &piccolov1.HeartbeatRequest{NodeId: self}); err != nil {
		t.Errorf("and afterwards: %v", err)
	}
}

// TestPanicEndsOneCall and tells nothing of the inside.
func TestPanicEndsOneCall(t *testing.T) {
	m := rpctest.New(t)
	c, self := dial(t, m, m.Cluster.Sub), id(m.Cluster.Sub)
	m.Panic()
	for range 2 {
		_, err := c.Heartbeat(bounded(t), &piccolov1.HeartbeatRequest{NodeId: self})
		if status.Code(err) != codes.Internal || strings.Contains(err.Error(), "secret") {
			t.Errorf("unary: %v", err)
		}
		s, err := c.Attach(bounded(t))
		if err != nil {
			t.Fatal(err)
		}
		_ = s.Send(&piccolov1.AgentMessage{Message: &piccolov1.AgentMessage_Hello{Hello: &piccolov1.Hello{NodeId: self}}})
		if _, err := s.Recv(); status.Code(err) != codes.Internal || strings.Contains(err.Error(), "secret") {
			t.Errorf("stream: %v", err)
		}
	}
}

func TestPlanAndAck(t *testing.T) {
	m := rpctest.New(t)
	c, self := dial(t, m, m.Cluster.Sub), id(m.Cluster.Sub)
	if r, err := c.ReceiveConfig(bounded(t), &piccolov1.ConfigRequest{NodeId: self}); err != nil || r.GetPlan() != nil {
		t.Errorf("no newer plan: %v, %v", r, err)
	}
	m.SetPlan(&workload.Plan{Node: self, Revision: 9})
	if r, err := c.ReceiveConfig(bounded(t), &piccolov1.ConfigRequest{NodeId: self}); err != nil || r.GetPlan().GetRevision() != 9 {
		t.Errorf("a newer plan: %v, %v", r, err)
	}
	if r, err := c.ReportStatus(bounded(t), &piccolov1.StatusReport{NodeId: self, Sequence: 12}); err != nil || r.GetSequence() != 12 {
		t.Errorf("report: %v, %v", r, err)
	}
}

// TestGarbage over HTTP/2, as a stranger may send it.
func TestGarbage(t *testing.T) {
	m := rpctest.New(t)
	config := m.Cluster.ClientTLS(t, m.Cluster.Sub)
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: patience}
	post := func(method, kind string, body []byte) string {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+m.Address+method, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", kind)
		r.Header.Set("TE", "trailers")
		resp, err := client.Do(r)
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, resp.Body)
		if resp.ProtoMajor != 2 {
			t.Errorf("it speaks %s", resp.Proto)
		}
		return resp.Header.Get("Grpc-Status") + resp.Trailer.Get("Grpc-Status") + " " + resp.Status
	}
	const heartbeat = "/piccolo.v1.NodeAgentService/Heartbeat"
	for name, answer := range map[string]string{
		"no frame":          post(heartbeat, "application/grpc", []byte("x")),
		"a frame too short": post(heartbeat, "application/grpc", []byte{0, 0, 0, 0, 9, 1}),
		"a huge frame":      post(heartbeat, "application/grpc", []byte{0, 0xff, 0xff, 0xff, 0xff, 1}),
		"no protobuf":       post(heartbeat, "application/grpc", []byte{0, 0, 0, 0, 1, 0xff}),
		"compressed":        post(heartbeat, "application/grpc", []byte{1, 0, 0, 0, 1, 0xff}),
		"no such method":    post("/piccolo.v1.NodeAgentService/Explode", "application/grpc", nil),
		"no such service":   post("/a/b", "application/grpc", nil),
		"no path":           post("/", "application/grpc", nil),
	} {
		if strings.HasPrefix(answer, "0 ") || strings.HasPrefix(answer, " 200") {
			t.Errorf("%s: %s", name, answer)
		}
	}
	if _, err := dial(t, m, m.Cluster.Sub).Heartbeat(bounded(t), &piccolov1.HeartbeatRequest{NodeId: id(m.Cluster.Sub)}); err != nil {
		t.Errorf("and afterwards: %v", err)
	}
}

// TestOldTLS: nothing below 1.3 is spoken.
func TestOldTLS(t *testing.T) {
	m := rpctest.New(t)
	config := m.Cluster.ClientTLS(t, m.Cluster.Sub)
	config.MinVersion, config.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if conn, err := tls.Dial("tcp", m.Address, config); err == nil {
		_ = conn.Close()
		t.Error("TLS 1.2 was accepted")
	}
}
