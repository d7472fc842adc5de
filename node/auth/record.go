package auth

import (
	"errors"
	"fmt"
	"time"

	"piccolo.io/piccolo/topology"
)

const (
	// DefaultJoinTTL is how long a join token is valid.
	DefaultJoinTTL = 24 * time.Hour
	// MinJoinTTL and MaxJoinTTL bound what NewJoinToken accepts.
	MinJoinTTL = time.Second
	MaxJoinTTL = 366 * 24 * time.Hour
	// MaxDescription bounds the description of a token, in bytes.
	MaxDescription = 256
)

// Why a token that is well formed is not accepted.
var (
	// ErrTokenUnknown: no such token, or its secret is another. Which of the
	// two is not said.
	ErrTokenUnknown = errors.New("the token is not known to this cluster (mistaken, or removed)")
	ErrTokenExpired = errors.New("the token has expired")
	ErrTokenRole    = errors.New("the token is for another role")
)

// JoinRecord is what the masters keep of a join token.
type JoinRecord struct {
	ID string `json:"id"`
	// Hash is HashSecret of the token's secret; empty where the record is
	// shown.
	Hash string `json:"hash,omitempty"`
	// Role is the only role that a node can join in with this token.
	Role      topology.Role `json:"role"`
	CreatedAt time.Time     `json:"created_at"`
	ExpiresAt time.Time     `json:"expires_at"`
	// Uses counts the nodes that have joined with the token; there is no limit.
	Uses        int    `json:"uses"`
	Description string `json:"description,omitempty"`
}

// JoinOptions says what a new join token is for.
type JoinOptions struct {
	// Fingerprint of the cluster's CA.
	Fingerprint string
	// Role that nodes join in; default sub.
	Role topology.Role
	// TTL from Now on; default DefaultJoinTTL. MinJoinTTL to MaxJoinTTL.
	TTL time.Duration
	// Now is the master's trusted time.
	Now         time.Time
	Description string
}

func (o *JoinOptions) validate() error {
	if o.Role == "" {
		o.Role = topology.RoleSub
	}
	if o.TTL == 0 {
		o.TTL = DefaultJoinTTL
	}
	switch {
	case !o.Role.Valid():
		return fmt.Errorf("option Role %.32q is neither %q nor %q", o.Role, topology.RoleMaster, topology.RoleSub)
	case o.TTL < MinJoinTTL || o.TTL > MaxJoinTTL:
		return fmt.Errorf("option TTL %v is not between %v and %v", o.TTL, MinJoinTTL, MaxJoinTTL)
	case o.Now.IsZero():
		return errors.New("option Now is missing")
	}
	return checkDescription(o.Description)
}

func checkDescription(s string) error {
	if len(s) > MaxDescription {
		return fmt.Errorf("option Description has %d bytes, at most %d are allowed", len(s), MaxDescription)
	}
	return nil
}

// NewJoinToken draws a token and the record to keep of it.
func NewJoinToken(o JoinOptions) (Token, JoinRecord, error) {
	if err := o.validate(); err != nil {
		return Token{}, JoinRecord{}, fmt.Errorf("make join token: %w", err)
	}
	t, err := newToken(KindJoin, o.Fingerprint)
	if err != nil {
		return Token{}, JoinRecord{}, fmt.Errorf("make join token: %w", err)
	}
	now := o.Now.UTC().Round(0)
	return t, JoinRecord{
		ID:          t.ID,
		Hash:        HashSecret(t.Secret),
		Role:        o.Role,
		CreatedAt:   now,
		ExpiresAt:   now.Add(o.TTL),
		Description: o.Description,
	}, nil
}

// Check reports whether a token lets a node join in a role, by the master's
// trusted time: ErrTokenUnknown, ErrTokenExpired or ErrTokenRole. Who does not
// have the secret learns nothing of the other two. The zero record, which
// stands for a token that was not found, accepts none.
func (r JoinRecord) Check(t Token, role topology.Role, now time.Time) error {
	switch {
	case !matches(t, KindJoin, r.ID, r.Hash):
		return fmt.Errorf("check join token: %w", ErrTokenUnknown)
	case !now.Before(r.ExpiresAt):
		return fmt.Errorf("check join token %s: %w: it was valid until %s; make a new one with piccolo token create", r.ID, ErrTokenExpired, r.ExpiresAt.UTC().Format(time.RFC3339))
	case r.Role != role:
		return fmt.Errorf("check join token %s: %w: it lets nodes join as %s, not as %.32s", r.ID, ErrTokenRole, r.Role, role)
	}
	return nil
}

// matches compares the secret whatever the other parts are.
func matches(t Token, kind Kind, id, hash string) bool {
	secret := Verify(hash, t.Secret)
	return secret && t.Kind == kind && t.ID == id
}

// APIRecord is what the masters keep of an administrator's token.
type APIRecord struct {
	ID string `json:"id"`
	// Hash is HashSecret of the token's secret.
	Hash string `json:"hash"`
	// User is whose token it is; today only administrators have one. Users
	// and roles will be looked up by it.
	User      string    `json:"user"`
	CreatedAt time.Time `json:"created_at"`
	// ExpiresAt is zero for a token that does not expire.
	ExpiresAt   time.Time `json:"expires_at,omitzero"`
	Description string    `json:"description,omitempty"`
}

// APIOptions says whose a new API token is.
type APIOptions struct {
	// Fingerprint of the cluster's CA.
	Fingerprint string
	// User; default "admin". A name as topology.ValidateName accepts it.
	User string
	// TTL from Now on; 0: it does not expire.
	TTL time.Duration
	// Now is the master's trusted time.
	Now         time.Time
	Description string
}

func (o *APIOptions) validate() error {
	if o.User == "" {
		o.User = "admin"
	}
	switch {
	case o.TTL < 0:
		return fmt.Errorf("option TTL %v is negative", o.TTL)
	case o.Now.IsZero():
		return errors.New("option Now is missing")
	}
	if err := topology.ValidateName(o.User); err != nil {
		return fmt.Errorf("option User: %w", err)
	}
	return checkDescription(o.Description)
}

// NewAPIToken draws a token and the record to keep of it.
func NewAPIToken(o APIOptions) (Token, APIRecord, error) {
	if err := o.validate(); err != nil {
		return Token{}, APIRecord{}, fmt.Errorf("make API token: %w", err)
	}
	t, err := newToken(KindAPI, o.Fingerprint)
	if err != nil {
		return Token{}, APIRecord{}, fmt.Errorf("make API token: %w", err)
	}
	r := APIRecord{
		ID:          t.ID,
		Hash:        HashSecret(t.Secret),
		User:        o.User,
		CreatedAt:   o.Now.UTC().Round(0),
		Description: o.Description,
	}
	if o.TTL > 0 {
		r.ExpiresAt = r.CreatedAt.Add(o.TTL)
	}
	return t, r, nil
}

// Check returns the principal whose token it is, by the master's trusted time,
// or ErrTokenUnknown or ErrTokenExpired. The zero record accepts no token.
func (r APIRecord) Check(t Token, now time.Time) (Principal, error) {
	switch {
	case !matches(t, KindAPI, r.ID, r.Hash):
		return Principal{}, fmt.Errorf("check API token: %w: %w", ErrUnauthenticated, ErrTokenUnknown)
	case !r.ExpiresAt.IsZero() && !now.Before(r.ExpiresAt):
		return Principal{}, fmt.Errorf("check API token %s: %w: %w", r.ID, ErrUnauthenticated, ErrTokenExpired)
	}
	return Admin(r.User), nil
}
