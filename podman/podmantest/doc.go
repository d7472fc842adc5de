// Package podmantest is for tests of whatever uses the podman room.
//
// [Fake] is a Podman API server in memory on a real unix socket, so the real [podman.Engine] runs
// against it; tests change its containers and break its operations by name. [Real] is a real Podman
// service in namespaces of its own (it needs root). [Contract] is the suite that both pass, which is
// what makes the fake believable.
package podmantest
