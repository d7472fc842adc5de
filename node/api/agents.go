package api

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/node/pki"
	"piccolo.io/piccolo/node/workload"
)

// SignOfLife is how long a master lets a node's connection be silent before it
// pings over it. A node that hears nothing for longer may doubt it. A
// ping costs a board less than a beat of the mesh, and vouches for the very
// connection that counts.
const SignOfLife = time.Second

// Caller is a node that calls over one of its connections.
type Caller struct {
	auth.Principal
	// Connection names the connection: all calls over it have the same name,
	// and no other connection has it at the same time.
	Connection string
}

// Register lets a node in, or back in. It is the one operation that needs no
// credential: the registrar itself checks token, key and request. conn is the
// TLS connection that carries the request, nil over the local socket.
func (s *Service) Register(ctx context.Context, p auth.Principal, conn *tls.ConnectionState, r workload.Registration) (workload.Admission, error) {
	if err := auth.Authorize(p, auth.NodesRegister, auth.Cluster()); err != nil {
		return workload.Admission{}, Classify(err)
	}
	if s.Enrolment == nil {
		return workload.Admission{}, s.notAMaster()
	}
	key := ""
	if len(r.Proof) > 0 && conn != nil {
		var err error
		if key, err = pki.Proven(*conn, r.CSR, r.Proof); err != nil {
			return workload.Admission{}, Classify(fmt.Errorf("register node: %w: %w", auth.ErrDenied, err))
		}
	}
	a, err := s.Enrolment.Register(ctx, key, r)
	return a, classified(err)
}

// Renew signs a new certificate for the caller's own key.
func (s *Service) Renew(ctx context.Context, c Caller, csr []byte) (certificate, ca []byte, err error) {
	if err := s.authorizeSelf(c.Principal, auth.SelfWrite, c.ID); err != nil {
		return nil, nil, err
	}
	certificate, ca, err = s.Enrolment.Renew(ctx, c.Connection, c.ID, csr)
	return certificate, ca, classified(err)
}

// LeaveCluster takes the calling node out of the cluster.
func (s *Service) LeaveCluster(ctx context.Context, c Caller, node string) (err error) {
	defer func() { s.audit(c.Principal, auth.SelfWrite, node, err) }()
	if err := s.authorizeSelf(c.Principal, auth.SelfWrite, node); err != nil {
		return err
	}
	return classified(s.Enrolment.Leave(ctx, c.Connection, node))
}

// Attach keeps a node's session open; see Sessions.
func (s *Service) Attach(ctx context.Context, c Caller, h workload.Hello, send func(workload.Notice) error, receive func() (workload.Answer, error)) error {
	if err := s.authorizeSelf(c.Principal, auth.SelfWrite, h.Node); err != nil {
		return err
	}
	return classified(s.Sessions.Attach(ctx, c.Connection, h, send, receive))
}

// Heartbeat takes a node's sign of life.
func (s *Service) Heartbeat(ctx context.Context, c Caller, h workload.Heartbeat) (workload.HeartbeatReply, error) {
	if err := s.authorizeSelf(c.Principal, auth.SelfWrite, h.Node); err != nil {
		return workload.HeartbeatReply{}, err
	}
	reply, err := s.Sessions.Heartbeat(ctx, c.Connection, h)
	return reply, classified(err)
}

// Report takes what a node says of itself.
func (s *Service) Report(ctx context.Context, c Caller, r workload.Report) error {
	if err := s.authorizeSelf(c.Principal, auth.SelfWrite, r.Node); err != nil {
		return err
	}
	return classified(s.Sessions.Report(ctx, c.Connection, r))
}

// Plan returns a node's newest plan; see Sessions.
func (s *Service) Plan(ctx context.Context, c Caller, node string, applied int64, applyError string) (*workload.Plan, error) {
	if err := s.authorizeSelf(c.Principal, auth.SelfRead, node); err != nil {
		return nil, err
	}
	plan, err := s.Sessions.NextPlan(ctx, c.Connection, node, applied, applyError)
	return plan, classified(err)
}

// authorizeSelf lets a node do what is its own, on a master.
func (s *Service) authorizeSelf(p auth.Principal, action auth.Action, node string) error {
	if err := auth.Authorize(p, action, auth.OwnedBy(node)); err != nil {
		return Classify(err)
	}
	if s.Enrolment == nil || s.Sessions == nil {
		return s.notAMaster()
	}
	return nil
}

// notAMaster refuses what only a master can do, with the way to one.
func (s *Service) notAMaster() *Error {
	e := Unavailablef("this node is a sub and cannot do that")
	if m := s.Self.Status().Master; m != "" {
		return e.WithHint("ask the master, for example with --server https://%s", m)
	}
	return e.WithHint("run the command on a master, or name one with --server")
}
