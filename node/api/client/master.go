package client

import (
	"context"

	"piccolo.io/piccolo/node/api/piccolov1"
	"piccolo.io/piccolo/node/workload"
)

// The calls below are those of one master to another. They need the
// certificate of a master.

// FollowPresence calls take with every node that is attached to the master at
// the other end, and then with every change, until ctx or the connection ends.
func (a *Agent) FollowPresence(ctx context.Context, take func(workload.Presence)) error {
	stream, err := piccolov1.NewMasterServiceClient(a.conn).FollowPresence(ctx, &piccolov1.FollowPresenceRequest{})
	if err != nil {
		return fromStatus(err)
	}
	for {
		x, err := stream.Recv()
		if err != nil {
			return fromStatus(err)
		}
		take(x.ToPresence())
	}
}

// Inquire asks a node that is attached to the master at the other end.
func (a *Agent) Inquire(ctx context.Context, q workload.Inquiry) (*workload.StatsAnswer, error) {
	x, err := piccolov1.NewMasterServiceClient(a.conn).Inquire(ctx, &piccolov1.Inquiry{NodeId: q.Node, Stats: q.Stats})
	if err != nil {
		return nil, fromStatus(err)
	}
	return x.ToStatsAnswer(), nil
}

// FetchSecrets gives a new master what every master holds.
func (a *Agent) FetchSecrets(ctx context.Context) (workload.Secrets, error) {
	x, err := piccolov1.NewMasterServiceClient(a.conn).FetchSecrets(ctx, &piccolov1.FetchSecretsRequest{})
	if err != nil {
		return workload.Secrets{}, fromStatus(err)
	}
	return workload.Secrets{CAKey: x.GetCaKey(), StoreKey: x.GetStoreKey()}, nil
}

// TakeSeat asks for a place among the members of the store, for the caller's
// peer port at this address, and returns the addresses of the others. Only the
// leader can give it.
func (a *Agent) TakeSeat(ctx context.Context, peerAddress string) ([]string, error) {
	x, err := piccolov1.NewMasterServiceClient(a.conn).TakeSeat(ctx, &piccolov1.TakeSeatRequest{PeerAddress: peerAddress})
	if err != nil {
		return nil, fromStatus(err)
	}
	return x.GetPeerAddresses(), nil
}
