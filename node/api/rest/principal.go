package rest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/node/pki"
)

// Authenticate says who holds a bearer token. It gives auth.ErrUnauthenticated
// for a token that nobody holds, and any other error when that cannot be
// found out now.
type Authenticate func(ctx context.Context, bearer string) (auth.Principal, error)

// maxBearer is more than any token of Piccolo, in bytes.
const maxBearer = 1024

// principal finds out who makes a request: over the local socket by the
// kernel's word, else by a bearer token, else by the client certificate. What
// was shown and is not good is an error, never anonymous.
func (h *Handler) principal(r *http.Request) (auth.Principal, error) {
	if local, ok := r.Context().Value(localKey{}).(localAddr); ok {
		return h.localPrincipal(local)
	}
	if values := r.Header.Values("Authorization"); len(values) > 0 {
		return h.bearer(r.Context(), values)
	}
	if r.TLS == nil {
		return auth.Anonymous(), nil
	}
	peer, err := pki.PeerID(*r.TLS)
	switch {
	case errors.Is(err, pki.ErrNoCertificate):
		return auth.Anonymous(), nil
	case err != nil:
		return auth.Principal{}, fmt.Errorf("%w: %w", auth.ErrUnauthenticated, err)
	}
	return auth.Node(peer.ID, peer.Role), nil
}

func (h *Handler) localPrincipal(a localAddr) (auth.Principal, error) {
	if a.uid != 0 {
		return auth.Principal{}, &api.Error{Kind: api.KindDenied, Err: auth.ErrDenied,
			Message: fmt.Sprintf("the local socket serves only root, not user %d", a.uid),
			Hint:    "use sudo, or `piccolo login` with a token"}
	}
	self := h.o.Service.Self.Status()
	return auth.Local(self.ID, self.Role), nil
}

func (h *Handler) bearer(ctx context.Context, values []string) (auth.Principal, error) {
	scheme, token, _ := strings.Cut(values[0], " ")
	token = strings.TrimSpace(token)
	switch {
	case len(values) > 1:
		return auth.Principal{}, fmt.Errorf("%w: there are %d Authorization headers, one is expected", auth.ErrUnauthenticated, len(values))
	case !strings.EqualFold(scheme, "Bearer") || token == "":
		return auth.Principal{}, fmt.Errorf("%w: the Authorization header is not \"Bearer <token>\"", auth.ErrUnauthenticated)
	case len(token) > maxBearer:
		return auth.Principal{}, fmt.Errorf("%w: the token is %d bytes long, which none is", auth.ErrUnauthenticated, len(token))
	}
	return h.o.Authenticate(ctx, token)
}
