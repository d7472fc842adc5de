package rest

import (
	_ "embed"
	"fmt"
	"net/http"
	"net/url"
	"runtime"
	"strconv"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/auth"
	"piccolo.io/piccolo/topology"
)

//go:embed openapi.yaml
var openAPI []byte

// routes is the whole API; openapi.yaml describes the same.
func (h *Handler) routes() []route {
	return []route{
		{method: "GET", path: "/api/v1/status", do: h.status},
		{method: "GET", path: "/api/v1/version", do: h.version},
		{method: "GET", path: "/api/v1/nodes", do: h.nodes},
		{method: "POST", path: registerPath, open: true, do: h.register},
		{method: "GET", path: "/api/v1/nodes/{id}", do: h.node},
		{method: "PATCH", path: "/api/v1/nodes/{id}", do: h.patchNode},
		{method: "DELETE", path: "/api/v1/nodes/{id}", do: h.removeNode},
		{method: "GET", path: "/api/v1/nodes/{id}/containers", do: h.containers},
		{method: "GET", path: "/api/v1/containers", do: h.containers},
		{method: "GET", path: "/api/v1/topology", do: h.topology},
		{method: "PUT", path: "/api/v1/topology", do: h.putTopology},
		{method: "GET", path: "/api/v1/alerts", do: h.alerts},
		{method: "GET", path: "/api/v1/events", do: h.events},
		{method: "GET", path: "/api/v1/watch", do: h.watch},
		{method: "GET", path: "/api/v1/tokens", do: h.tokens},
		{method: "POST", path: "/api/v1/tokens", do: h.createToken},
		{method: "DELETE", path: "/api/v1/tokens/{id}", do: h.deleteToken},
		{method: "POST", path: "/api/v1/self/leave", do: h.leave},
		{method: "GET", path: "/api/v1/openapi.yaml", open: true, do: h.openAPI},
		{method: "GET", path: "/healthz", open: true, do: h.healthz},
		{method: "GET", path: "/readyz", open: true, do: h.readyz},
		{method: "GET", path: "/metrics", do: h.metricsPage},
	}
}

func (h *Handler) status(c call) error {
	st, err := h.o.Service.Status(c.Context(), c.principal)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, st)
}

func (h *Handler) version(c call) error {
	if c.principal.Kind == auth.KindAnonymous {
		return fmt.Errorf("tell version: %w", auth.ErrUnauthenticated)
	}
	return c.json(http.StatusOK, api.Version{
		Version: h.o.Service.Self.Status().Version,
		API:     []string{"v1"},
		Go:      runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH,
	})
}

func (h *Handler) nodes(c call) error {
	list, err := h.o.Service.Nodes(c.Context(), c.principal)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, list)
}

func (h *Handler) node(c call) error {
	n, err := h.o.Service.Node(c.Context(), c.principal, c.PathValue("id"))
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, n)
}

func (h *Handler) patchNode(c call) error {
	patch, err := decodePatch(c)
	if err != nil {
		return err
	}
	n, err := h.o.Service.PatchNode(c.Context(), c.principal, c.PathValue("id"), patch)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, n)
}

func (h *Handler) removeNode(c call) error {
	n, err := h.o.Service.RemoveNode(c.Context(), c.principal, c.PathValue("id"))
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, n)
}

func (h *Handler) containers(c call) error {
	stats, err := flag(c.Request, "stats")
	if err != nil {
		return err
	}
	list, err := h.o.Service.Containers(c.Context(), c.principal, c.PathValue("id"), stats)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, list)
}

func (h *Handler) topology(c call) error {
	t, err := h.o.Service.Topology(c.Context(), c.principal)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, t)
}

func (h *Handler) putTopology(c call) error {
	var t topology.ClusterTopology
	if err := decodeJSON(c, maxBody, &t, "application/json"); err != nil {
		return err
	}
	t, err := h.o.Service.PutTopology(c.Context(), c.principal, t)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, t)
}

func (h *Handler) alerts(c call) error {
	list, err := h.o.Service.Alerts(c.Context(), c.principal)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, list)
}

func (h *Handler) events(c call) error {
	limit := 0
	if text := c.URL.Query().Get("limit"); text != "" {
		var err error
		if limit, err = strconv.Atoi(text); err != nil {
			return api.Invalidf("list events: limit %q is not a whole number", shorten(text))
		}
	}
	list, err := h.o.Service.Events(c.Context(), c.principal, h.o.Hub, limit)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, list)
}

func (h *Handler) tokens(c call) error {
	list, err := h.o.Service.ListTokens(c.Context(), c.principal)
	if err != nil {
		return err
	}
	shown := make([]token, len(list))
	for i, r := range list {
		shown[i] = showToken(r)
	}
	return c.json(http.StatusOK, shown)
}

func (h *Handler) createToken(c call) error {
	var request api.TokenRequest
	if err := decodeJSON(c, maxBody, &request, "application/json"); err != nil {
		return err
	}
	created, err := h.o.Service.CreateToken(c.Context(), c.principal, request)
	if err != nil {
		return err
	}
	c.w.Header().Set("Location", "/api/v1/tokens/"+url.PathEscape(created.ID))
	return c.json(http.StatusCreated, tokenCreated{showToken(created.JoinRecord), created.Token, created.JoinCommand})
}

func (h *Handler) deleteToken(c call) error {
	if err := h.o.Service.DeleteToken(c.Context(), c.principal, c.PathValue("id")); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// leave is for root on this machine alone: even the node's own certificate,
// which would do for package api, may have been copied.
func (h *Handler) leave(c call) error {
	if c.principal.Kind != auth.KindLocal {
		return fmt.Errorf("leave: %w: only root on the machine itself may ask for it, over the local socket", auth.ErrDenied)
	}
	if err := h.o.Service.Leave(c.Context(), c.principal); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (h *Handler) openAPI(c call) error {
	c.bytes(http.StatusOK, "application/yaml", openAPI)
	return nil
}

func (h *Handler) healthz(c call) error {
	return c.json(http.StatusOK, map[string]string{"status": "ok"})
}

func (h *Handler) readyz(c call) error {
	reasons := h.o.Ready()
	if len(reasons) == 0 {
		return c.json(http.StatusOK, map[string]string{"status": "ready"})
	}
	p := api.ProblemOf(api.Unavailablef("the node is not ready: %s", reasons[0]), 0, c.URL.Path)
	p.Reasons = reasons
	writeProblem(c.w, p)
	return nil
}

func (h *Handler) metricsPage(c call) error {
	if err := auth.Authorize(c.principal, auth.MetricsRead, auth.Cluster()); err != nil {
		return err
	}
	if h.metrics == nil {
		return api.NotFoundf("this node keeps no metrics")
	}
	h.metrics.ServeHTTP(c.w, c.Request)
	return nil
}

func (h *Handler) metricsHandler() http.Handler {
	if h.o.Metrics == nil {
		return nil
	}
	return promhttp.HandlerFor(h.o.Metrics, promhttp.HandlerOpts{MaxRequestsInFlight: 4, ErrorHandling: promhttp.ContinueOnError})
}

// flag reads a yes-or-no parameter; without a value it is yes.
func flag(r *http.Request, name string) (bool, error) {
	q := r.URL.Query()
	if !q.Has(name) {
		return false, nil
	}
	text := q.Get(name)
	if text == "" {
		return true, nil
	}
	v, err := strconv.ParseBool(text)
	if err != nil {
		return false, api.Invalidf("parameter %s: %q is neither yes nor no: use 1 or 0", name, shorten(text))
	}
	return v, nil
}
