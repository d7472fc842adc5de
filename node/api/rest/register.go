package rest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/api/piccolov1"
)

// registerPath is open to anybody: the request carries its own credential.
const registerPath = "/api/v1/nodes/register"

// register lets a node in. Request and answer are the messages of the gRPC
// call RegisterNode in protobuf's JSON with the names of the proto file.
func (h *Handler) register(c call) error {
	body, err := readBody(c, maxRegistration, "application/json")
	if err != nil {
		return err
	}
	request, err := parseRegistration(body)
	if err != nil {
		return err
	}
	registration, err := request.Registration()
	if err != nil {
		return api.Invalidf("register: %w", err)
	}
	admission, err := h.o.Service.Register(c.Context(), c.principal, c.TLS, registration)
	if err != nil {
		return err
	}
	b, err := protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: true}.Marshal(piccolov1.FromAdmission(admission))
	if err != nil {
		return fmt.Errorf("write answer: %w", err)
	}
	// protojson varies its spaces on purpose.
	var out bytes.Buffer
	if err := json.Compact(&out, b); err != nil {
		return fmt.Errorf("write answer: %w", err)
	}
	out.WriteByte('\n')
	c.bytes(http.StatusOK, "application/json", out.Bytes())
	return nil
}

func parseRegistration(body []byte) (*piccolov1.NodeRegistrationRequest, error) {
	if err := checkJSON(body, nil); err != nil {
		return nil, err
	}
	request := new(piccolov1.NodeRegistrationRequest)
	if err := protojson.Unmarshal(body, request); err != nil {
		// The text begins with "proto:" and one of two kinds of space.
		text := strings.TrimLeft(strings.TrimPrefix(err.Error(), "proto:"), " \u00a0")
		return nil, api.Invalidf("the body is not a registration: %s", strings.ReplaceAll(text, "\u00a0", " "))
	}
	return request, nil
}
