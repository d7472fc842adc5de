package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/api/piccolov1"
	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/node/pki"
	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/topology"
)

// MaxMessage bounds one message from an agent, in bytes: the report of a
// thousand containers with labels is below it.
const MaxMessage = 4 << 20

// New returns the service as a handler for HTTP/2 requests of the content
// type application/grpc. Identity is taken from the client certificate of
// the TLS connection that carries the request.
func New(s *api.Service, logger *slog.Logger) http.Handler {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	g := grpc.NewServer(
		grpc.MaxRecvMsgSize(MaxMessage),
		grpc.UnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (resp any, err error) {
			defer recovered(logger, info.FullMethod, &err)
			resp, err = handle(ctx, req)
			return resp, toStatus(err)
		}),
		grpc.StreamInterceptor(func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) (err error) {
			defer recovered(logger, info.FullMethod, &err)
			return toStatus(handle(srv, stream))
		}),
	)
	piccolov1.RegisterNodeAgentServiceServer(g, &server{service: s})
	piccolov1.RegisterMasterServiceServer(g, &masters{service: s})
	return g
}

// recovered keeps a fault in one call from ending the master.
func recovered(logger *slog.Logger, method string, err *error) {
	if p := recover(); p != nil {
		logger.Error("call panicked", "method", method, "panic", p, "stack", string(debug.Stack()))
		*err = status.Error(codes.Internal, "internal error")
	}
}

// helloTimeout is how long a new stream may take to say who attaches.
const helloTimeout = 5 * time.Second

type server struct {
	piccolov1.UnimplementedNodeAgentServiceServer
	service *api.Service
}

// connection is the TLS connection that carries the call, nil where there is
// none.
func connection(ctx context.Context) *tls.ConnectionState {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return nil
	}
	return &info.State
}

// principal is who holds the key of the client certificate.
func principal(ctx context.Context) auth.Principal {
	conn := connection(ctx)
	if conn == nil {
		return auth.Anonymous()
	}
	id, err := pki.PeerID(*conn)
	if err != nil {
		return auth.Anonymous()
	}
	return auth.Node(id.ID, id.Role)
}

// caller is the principal and the connection that it calls over: the far
// end's address and port, which two open connections never share.
func caller(ctx context.Context) api.Caller {
	c := api.Caller{Principal: principal(ctx)}
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		c.Connection = p.Addr.String()
	}
	return c
}

func (s *server) RegisterNode(ctx context.Context, x *piccolov1.NodeRegistrationRequest) (*piccolov1.NodeRegistrationResponse, error) {
	r, err := x.Registration()
	if err != nil {
		return nil, err
	}
	a, err := s.service.Register(ctx, principal(ctx), connection(ctx), r)
	if err != nil {
		return nil, err
	}
	return piccolov1.FromAdmission(a), nil
}

func (s *server) ReportStatus(ctx context.Context, x *piccolov1.StatusReport) (*piccolov1.StatusAck, error) {
	r, err := x.Report()
	if err != nil {
		return nil, err
	}
	if err := s.service.Report(ctx, caller(ctx), r); err != nil {
		return nil, err
	}
	return &piccolov1.StatusAck{Sequence: r.Sequence}, nil
}

func (s *server) Heartbeat(ctx context.Context, x *piccolov1.HeartbeatRequest) (*piccolov1.HeartbeatResponse, error) {
	reply, err := s.service.Heartbeat(ctx, caller(ctx), x.Heartbeat())
	if err != nil {
		return nil, err
	}
	return piccolov1.FromHeartbeatReply(reply), nil
}

func (s *server) ReceiveConfig(ctx context.Context, x *piccolov1.ConfigRequest) (*piccolov1.ConfigResponse, error) {
	plan, err := s.service.Plan(ctx, caller(ctx), x.GetNodeId(), x.GetAppliedRevision(), x.GetApplyError())
	if err != nil || plan == nil {
		return &piccolov1.ConfigResponse{}, err
	}
	return &piccolov1.ConfigResponse{Plan: piccolov1.FromPlan(*plan)}, nil
}

// firstMessage waits helloTimeout: a stream without a word costs memory.
func firstMessage(stream piccolov1.NodeAgentService_AttachServer) (*piccolov1.AgentMessage, error) {
	type received struct {
		m   *piccolov1.AgentMessage
		err error
	}
	first := make(chan received, 1)
	go func() { // ends with the stream
		m, err := stream.Recv()
		first <- received{m, err}
	}()
	timer := time.NewTimer(helloTimeout)
	defer timer.Stop()
	select {
	case r := <-first:
		return r.m, r.err
	case <-timer.C:
		return nil, api.Invalidf("attach: there was no hello within %s", helloTimeout)
	case <-stream.Context().Done():
		return nil, stream.Context().Err()
	}
}

func (s *server) Attach(stream piccolov1.NodeAgentService_AttachServer) error {
	who := caller(stream.Context())
	if who.Kind == auth.KindAnonymous {
		return api.Classify(fmt.Errorf("attach: %w: a client certificate is needed", auth.ErrUnauthenticated))
	}
	first, err := firstMessage(stream)
	if err != nil {
		return err
	}
	if first.GetHello() == nil {
		return api.Invalidf("attach: the first message must be a hello")
	}
	h, err := first.GetHello().ToHello()
	if err != nil {
		return err
	}
	send := func(n workload.Notice) error { return stream.Send(piccolov1.FromNotice(n)) }
	receive := func() (workload.Answer, error) {
		m, err := stream.Recv()
		if err != nil {
			return workload.Answer{}, err
		}
		return m.Answer(), nil
	}
	return s.service.Attach(stream.Context(), who, h, send, receive)
}

func (s *server) RenewCertificate(ctx context.Context, x *piccolov1.RenewRequest) (*piccolov1.RenewResponse, error) {
	certificate, ca, err := s.service.Renew(ctx, caller(ctx), x.GetCsr())
	if err != nil {
		return nil, err
	}
	return &piccolov1.RenewResponse{Certificate: certificate, Ca: ca}, nil
}

func (s *server) Leave(ctx context.Context, x *piccolov1.LeaveRequest) (*piccolov1.LeaveResponse, error) {
	return &piccolov1.LeaveResponse{}, s.service.LeaveCluster(ctx, caller(ctx), x.GetNodeId())
}

// toStatus gives the error the code of the one table, and the hint beside it.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok && !isAPI(err) {
		return err
	}
	e := api.Classify(err)
	s := status.New(codes.Code(e.Kind.Codes().GRPC), e.Message)
	reason := string(e.Kind)
	switch {
	case errors.Is(err, topology.ErrRemoved):
		reason = piccolov1.ReasonRemoved
	case errors.Is(err, topology.ErrIdentityInUse):
		reason = piccolov1.ReasonIdentityInUse
	}
	detailed, detailErr := s.WithDetails(&errdetails.ErrorInfo{Reason: reason, Domain: "piccolo", Metadata: map[string]string{"hint": e.Hint}})
	if detailErr != nil {
		return s.Err()
	}
	return detailed.Err()
}

func isAPI(err error) bool {
	var e *api.Error
	return errors.As(err, &e)
}
