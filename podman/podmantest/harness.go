package podmantest

import (
	"testing"

	"piccolo.io/piccolo/podman"
)

// Harness is a Podman, real or not, that Contract can act on. Its methods end the test on failure.
type Harness interface {
	// Socket is the path of the API socket, the same through every restart.
	Socket() string
	// Run creates and starts a container and returns its id. It may have ended already.
	Run(t testing.TB, s Spec) string
	// Act does something to the container with the given id; name is for Rename only.
	Act(t testing.TB, a Act, id, name string)
	// Service does something to the Podman service itself; containers live on.
	Service(t testing.TB, a ServiceAct)
}

// Spec is a container to run. Its image holds one small program.
type Spec struct {
	Name    string
	Exit    int  // >0: the program ends with this code at once, else it runs until it is stopped
	Health  bool // it has a health check that fails between Sicken and Heal, unhealthy at the first failure
	Restart bool // restart policy "always"
	Labels  map[string]string
	Ports   []podman.Port
}

// Act is something that happens to a container.
type Act string

// What can happen to a container.
const (
	Stop    Act = "stop"    // as podman stop does
	Start   Act = "start"   // as podman start does
	Pause   Act = "pause"   //
	Unpause Act = "unpause" //
	Rename  Act = "rename"  //
	Remove  Act = "rm"      // by force
	Crash   Act = "crash"   // its process dies by SIGKILL from outside
	Check   Act = "check"   // its health check runs once
	Sicken  Act = "sicken"  // its next checks fail
	Heal    Act = "heal"    // its next checks succeed
)

// ServiceAct is something that happens to the Podman service.
type ServiceAct string

// What can happen to the service.
const (
	ServiceKill   ServiceAct = "kill"   // SIGKILL
	ServiceStart  ServiceAct = "start"  // it is there again when Service returns
	ServiceFreeze ServiceAct = "freeze" // SIGSTOP: the socket accepts, nobody answers
	ServiceThaw   ServiceAct = "thaw"   // SIGCONT
)

// Image is the image of every container that a Harness runs.
const Image = "localhost/app:1"
