package api

import (
	"context"
	"errors"
	"slices"
	"time"

	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/topology"
)

// Bounds of a join token's life.
const (
	DefaultTokenTTL = 24 * time.Hour
	MinTokenTTL     = time.Minute
	MaxTokenTTL     = 365 * 24 * time.Hour
	// maxDescription bounds a token's description, in bytes.
	maxDescription = 200
)

// CreateToken makes a join token. Its secret is in this answer and nowhere
// else.
func (s *Service) CreateToken(ctx context.Context, p auth.Principal, r TokenRequest) (_ TokenCreated, err error) {
	defer func() { s.audit(p, auth.TokensWrite, r.Description, err) }()
	if err := s.authorizeChange(p, auth.TokensWrite); err != nil {
		return TokenCreated{}, err
	}
	if r.Role == "" {
		r.Role = topology.RoleSub
	}
	ttl := time.Duration(r.TTL)
	if ttl == 0 {
		ttl = DefaultTokenTTL
	}
	switch {
	case !r.Role.Valid():
		return TokenCreated{}, Invalidf("create token: role %q is not valid: use sub or master", r.Role)
	case ttl < MinTokenTTL || ttl > MaxTokenTTL:
		return TokenCreated{}, Invalidf("create token: ttl %s is out of bounds: use 1m to %dh, which is %d days", ttl, MaxTokenTTL/time.Hour, MaxTokenTTL/(24*time.Hour))
	case len(r.Description) > maxDescription:
		return TokenCreated{}, Invalidf("create token: the description is %d bytes long: at most %d are allowed", len(r.Description), maxDescription)
	}
	token, record, err := auth.NewJoinToken(auth.JoinOptions{Fingerprint: s.Fingerprint, Role: r.Role, TTL: ttl, Now: s.Now(), Description: r.Description})
	if err != nil {
		return TokenCreated{}, Classify(err)
	}
	if err := s.Tokens.CreateToken(ctx, record); err != nil {
		return TokenCreated{}, Classify(err)
	}
	line := "piccolo join " + s.MasterAddress + " --token " + token.Reveal()
	if r.Role == topology.RoleMaster {
		line += " --role master"
	}
	record.Hash = ""
	return TokenCreated{JoinRecord: record, Token: token.Reveal(), JoinCommand: line}, nil
}

// ListTokens lists the join tokens without their secrets, the one that
// expires last first.
func (s *Service) ListTokens(ctx context.Context, p auth.Principal) ([]auth.JoinRecord, error) {
	if err := s.authorizeChange(p, auth.TokensRead); err != nil {
		return nil, err
	}
	list, err := s.Tokens.ListTokens(ctx)
	if err != nil {
		return nil, Classify(err)
	}
	for i := range list {
		list[i].Hash = ""
	}
	slices.SortFunc(list, func(a, b auth.JoinRecord) int { return b.ExpiresAt.Compare(a.ExpiresAt) })
	return list, nil
}

// DeleteToken makes a join token worthless at once. Nodes that joined with
// it stay.
func (s *Service) DeleteToken(ctx context.Context, p auth.Principal, id string) (err error) {
	defer func() { s.audit(p, auth.TokensWrite, id, err) }()
	if err := s.authorizeChange(p, auth.TokensWrite); err != nil {
		return err
	}
	if err = s.Tokens.DeleteToken(ctx, id); errors.Is(err, store.ErrNotFound) {
		return NotFoundf("there is no join token %q", shorten(id)).WithHint("`piccolo token ls` lists them")
	}
	return classified(err)
}
