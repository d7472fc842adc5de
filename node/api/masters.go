package api

import (
	"context"

	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/node/workload"
)

// Masters is what one master does for another. Only masters have it; master is
// the id of the one that asks.
type Masters interface {
	// FollowPresence tells of every attached node and then of every change,
	// until ctx ends or send fails.
	FollowPresence(ctx context.Context, master string, send func(workload.Presence) error) error
	// Inquire asks a node that is attached here. Without Inquiry.Stats the
	// answer is nil.
	Inquire(ctx context.Context, master string, q workload.Inquiry) (*workload.StatsAnswer, error)
	Secrets(ctx context.Context, master string) (workload.Secrets, error)
	// TakeSeat makes room for the caller in the store, and returns the peer
	// addresses of the others.
	TakeSeat(ctx context.Context, master, peerAddress string) ([]string, error)
}

// authorizeMaster lets only other masters in, and only on a master.
func (s *Service) authorizeMaster(p auth.Principal) error {
	if err := auth.Authorize(p, auth.MastersTalk, auth.Cluster()); err != nil {
		return Classify(err)
	}
	if s.Masters == nil {
		return s.notAMaster()
	}
	return nil
}

// FollowPresence is Masters.FollowPresence for another master.
func (s *Service) FollowPresence(ctx context.Context, p auth.Principal, send func(workload.Presence) error) error {
	if err := s.authorizeMaster(p); err != nil {
		return err
	}
	return classified(s.Masters.FollowPresence(ctx, p.ID, send))
}

// Inquire is Masters.Inquire for another master.
func (s *Service) Inquire(ctx context.Context, p auth.Principal, q workload.Inquiry) (*workload.StatsAnswer, error) {
	if err := s.authorizeMaster(p); err != nil {
		return nil, err
	}
	a, err := s.Masters.Inquire(ctx, p.ID, q)
	return a, classified(err)
}

// FetchSecrets is Masters.Secrets for another master. It goes into the audit.
func (s *Service) FetchSecrets(ctx context.Context, p auth.Principal) (out workload.Secrets, err error) {
	defer func() { s.audit(p, auth.MastersTalk, "secrets", err) }()
	if err := s.authorizeMaster(p); err != nil {
		return out, err
	}
	out, err = s.Masters.Secrets(ctx, p.ID)
	return out, classified(err)
}

// TakeSeat is Masters.TakeSeat for another master. It goes into the audit.
func (s *Service) TakeSeat(ctx context.Context, p auth.Principal, peerAddress string) (peers []string, err error) {
	defer func() { s.audit(p, auth.MastersTalk, peerAddress, err) }()
	if err := s.authorizeMaster(p); err != nil {
		return nil, err
	}
	peers, err = s.Masters.TakeSeat(ctx, p.ID, peerAddress)
	return peers, classified(err)
}
