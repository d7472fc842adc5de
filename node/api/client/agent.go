package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/api/piccolov1"
	"piccolo.io/piccolo/node/pki"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/topology"
)

const (
	// keepaliveTime and keepaliveTimeout: a master that does not answer a ping
	// of the connection is given up. gRPC allows no shorter time than 10 s; who
	// watches Silence notices a lost master earlier.
	keepaliveTime    = 10 * time.Second
	keepaliveTimeout = 3 * time.Second
)

// Agent is one connection of a node to one master.
type Agent struct {
	tls  *tls.Conn
	in   *listened
	conn *grpc.ClientConn
	rpc  piccolov1.NodeAgentServiceClient
	// Own is the address of this machine that the connection was made from.
	Own string
	// Master is the certificate that the master showed.
	Master *x509.Certificate
}

// DialAgent connects to the master at address, host:port, with the given TLS
// configuration and within ctx's deadline. Errors are those of pki.Dial.
// The connection is never made anew: when it ends, so does every call.
func DialAgent(ctx context.Context, address string, config *tls.Config) (*Agent, error) {
	conn, err := pki.Dial(ctx, address, config)
	if err != nil {
		return nil, err
	}
	own, _, err := net.SplitHostPort(conn.LocalAddr().String())
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	// The handshake is done, so gRPC is handed the connection as it is, once.
	in := listen(conn)
	only := make(chan net.Conn, 1)
	only <- in
	dial := func(context.Context, string) (net.Conn, error) {
		select {
		case c := <-only:
			return c, nil
		default:
			return nil, errors.New("the connection has ended")
		}
	}
	g, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(dial),
		grpc.WithDisableRetry(),
		grpc.WithIdleTimeout(0),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveTimeout, PermitWithoutStream: true}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16<<20)),
	)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connect to %s: %w", address, err), conn.Close())
	}
	return &Agent{tls: conn, in: in, conn: g, rpc: piccolov1.NewNodeAgentServiceClient(g), Own: own, Master: conn.ConnectionState().PeerCertificates[0]}, nil
}

// Silence is for how long nothing has come from the master. A living one lets it
// grow little beyond api.SignOfLife.
func (a *Agent) Silence() time.Duration { return time.Since(a.in.last()) }

// Close ends the connection and every call on it.
func (a *Agent) Close() error {
	err := a.conn.Close()
	_ = a.tls.Close() // gRPC has closed it already, unless it never made a call
	return err
}

// Register asks to join, or to come back, as the holder of the identity: it
// adds the request for a certificate and the proof of the key.
func (a *Agent) Register(ctx context.Context, identity *pki.Identity, r workload.Registration) (_ workload.Admission, err error) {
	if r.CSR, err = identity.CSR(); err != nil {
		return workload.Admission{}, err
	}
	if r.Proof, err = identity.Prove(a.tls.ConnectionState()); err != nil {
		return workload.Admission{}, err
	}
	x, err := a.rpc.RegisterNode(ctx, piccolov1.FromRegistration(r))
	if err != nil {
		return workload.Admission{}, fromStatus(err)
	}
	return x.Admission(), nil
}

// Attach keeps a session open. It calls notice for each message, one at a
// time, and sends what comes from answers, until ctx or the connection ends.
func (a *Agent) Attach(ctx context.Context, h workload.Hello, notice func(workload.Notice), answers <-chan workload.Answer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := a.rpc.Attach(ctx)
	if err != nil {
		return fromStatus(err)
	}
	if err := stream.Send(&piccolov1.AgentMessage{Message: &piccolov1.AgentMessage_Hello{Hello: piccolov1.FromHello(h)}}); err != nil && !errors.Is(err, io.EOF) {
		return fromStatus(err)
	}
	sent := make(chan error, 1)
	go func() {
		for {
			select {
			case answer := <-answers:
				if err := stream.Send(piccolov1.FromAnswer(answer)); err != nil {
					sent <- err
					return
				}
			case <-ctx.Done():
				sent <- ctx.Err()
				return
			}
		}
	}()
	for {
		m, err := stream.Recv()
		if err != nil {
			cancel()
			<-sent
			return fromStatus(err)
		}
		notice(m.Notice())
	}
}

// Heartbeat sends a sign of life.
func (a *Agent) Heartbeat(ctx context.Context, h workload.Heartbeat) (workload.HeartbeatReply, error) {
	x, err := a.rpc.Heartbeat(ctx, piccolov1.FromHeartbeat(h))
	if err != nil {
		return workload.HeartbeatReply{}, fromStatus(err)
	}
	return x.Reply(), nil
}

// Report sends what the node says of itself.
func (a *Agent) Report(ctx context.Context, r workload.Report) error {
	_, err := a.rpc.ReportStatus(ctx, piccolov1.FromReport(r))
	return fromStatus(err)
}

// Plan confirms what the node obeys and returns a newer plan, or nil.
func (a *Agent) Plan(ctx context.Context, node string, applied int64, applyError string) (*workload.Plan, error) {
	x, err := a.rpc.ReceiveConfig(ctx, &piccolov1.ConfigRequest{NodeId: node, AppliedRevision: applied, ApplyError: applyError})
	if err != nil || x.GetPlan() == nil {
		return nil, fromStatus(err)
	}
	p := x.GetPlan().ToPlan()
	return &p, nil
}

// Renew gets a new certificate chain for the caller's own key.
func (a *Agent) Renew(ctx context.Context, csr []byte) (certificate []byte, err error) {
	x, err := a.rpc.RenewCertificate(ctx, &piccolov1.RenewRequest{Csr: csr})
	if err != nil {
		return nil, fromStatus(err)
	}
	return x.GetCertificate(), nil
}

// Leave takes the calling node out of the cluster.
func (a *Agent) Leave(ctx context.Context, node string) error {
	_, err := a.rpc.Leave(ctx, &piccolov1.LeaveRequest{NodeId: node})
	return fromStatus(err)
}

// fromStatus makes the error of the other side one of package api again. A
// removed node's error wraps topology.ErrRemoved, and a second holder's of an
// identity topology.ErrIdentityInUse.
func fromStatus(err error) error {
	if err == nil {
		return nil
	}
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	e := &api.Error{Kind: api.KindInternal, Message: s.Message(), Err: err}
	for _, c := range api.Kinds() {
		if c.GRPC == uint32(s.Code()) {
			e.Kind = c.Kind
		}
	}
	switch s.Code() {
	case codes.DeadlineExceeded:
		e.Kind, e.Err = api.KindUnavailable, context.DeadlineExceeded
	case codes.Canceled:
		e.Kind, e.Err = api.KindUnavailable, context.Canceled
	}
	switch e.Kind {
	case api.KindInvalid, api.KindTooLarge, api.KindTooMany:
		e.Err = topology.ErrInvalid // sent again it would be refused again
	}
	for _, d := range s.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			e.Hint = info.GetMetadata()["hint"]
			switch info.GetReason() {
			case piccolov1.ReasonRemoved:
				e.Err = topology.ErrRemoved
			case piccolov1.ReasonIdentityInUse:
				e.Err = topology.ErrIdentityInUse
			}
		}
	}
	return e
}
