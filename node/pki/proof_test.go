package pki

import (
	"errors"
	"testing"
)

func TestProof(t *testing.T) {
	clock := newClock(t, nil)
	ca := newCA(t, "home", clock)
	config := ServerTLS(newSource(t, newNode(t, ca, masterProfile), clock), clock, nil)
	id, other := newNode(t, ca, subProfile), newNode(t, ca, subProfile)
	connect := func() (client, server serverSaw) {
		t.Helper()
		address, seen := serve(t, config)
		state, err := dial(t, address, clientTLS(t, ClientOptions{CA: ca.Certificate(), Clock: clock}))
		if err != nil {
			t.Fatal(err)
		}
		return serverSaw{state: state}, <-seen
	}
	client, server := connect()
	_, elsewhere := connect()
	proof, err := id.Prove(client.state)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Proven(server.state, request(t, id), proof); err != nil || got != id.ID() {
		t.Errorf("proven: %q, %v", got, err)
	}
	spoiled := append([]byte{}, proof...)
	spoiled[len(spoiled)-1] ^= 1
	for name, c := range map[string]struct {
		on         serverSaw
		csr, proof []byte
		want       error
	}{
		"on another connection": {elsewhere, request(t, id), proof, ErrNotProven},
		"with another key":      {server, request(t, other), proof, ErrNotProven},
		"spoiled":               {server, request(t, id), spoiled, ErrNotProven},
		"no proof":              {server, request(t, id), nil, ErrNotProven},
		"no request":            {server, nil, proof, ErrBadCSR},
	} {
		if got, err := Proven(c.on.state, c.csr, c.proof); !errors.Is(err, c.want) || got != "" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
