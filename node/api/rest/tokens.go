package rest

import (
	"time"

	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/topology"
)

// token is a join token as it is shown: without even the hash of its secret.
type token struct {
	ID          string        `json:"id"`
	Role        topology.Role `json:"role"`
	CreatedAt   time.Time     `json:"created_at"`
	ExpiresAt   time.Time     `json:"expires_at"`
	Uses        int           `json:"uses"`
	Description string        `json:"description,omitempty"`
}

// tokenCreated is the one answer that holds the secret.
type tokenCreated struct {
	token
	Token       string `json:"token"`
	JoinCommand string `json:"join_command"`
}

func showToken(r auth.JoinRecord) token {
	return token{ID: r.ID, Role: r.Role, CreatedAt: r.CreatedAt, ExpiresAt: r.ExpiresAt, Uses: r.Uses, Description: r.Description}
}
