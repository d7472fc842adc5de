package rpc

import (
	"context"

	"google.golang.org/grpc"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/api/piccolov1"
	"piccolo.io/piccolo/node/workload"
)

// masters serves the other masters.
type masters struct {
	piccolov1.UnimplementedMasterServiceServer
	service *api.Service
}

func (s *masters) FollowPresence(_ *piccolov1.FollowPresenceRequest, stream grpc.ServerStreamingServer[piccolov1.Presence]) error {
	ctx := stream.Context()
	return s.service.FollowPresence(ctx, principal(ctx), func(p workload.Presence) error { return stream.Send(piccolov1.FromPresence(p)) })
}

func (s *masters) Inquire(ctx context.Context, x *piccolov1.Inquiry) (*piccolov1.StatsAnswer, error) {
	a, err := s.service.Inquire(ctx, principal(ctx), workload.Inquiry{Node: x.GetNodeId(), Stats: x.GetStats()})
	if err != nil {
		return nil, err
	}
	return piccolov1.FromStatsAnswer(a), nil
}

func (s *masters) FetchSecrets(ctx context.Context, _ *piccolov1.FetchSecretsRequest) (*piccolov1.Secrets, error) {
	secrets, err := s.service.FetchSecrets(ctx, principal(ctx))
	if err != nil {
		return nil, err
	}
	return &piccolov1.Secrets{CaKey: secrets.CAKey, StoreKey: secrets.StoreKey}, nil
}

func (s *masters) TakeSeat(ctx context.Context, x *piccolov1.TakeSeatRequest) (*piccolov1.TakeSeatResponse, error) {
	peers, err := s.service.TakeSeat(ctx, principal(ctx), x.GetPeerAddress())
	if err != nil {
		return nil, err
	}
	return &piccolov1.TakeSeatResponse{PeerAddresses: peers}, nil
}
