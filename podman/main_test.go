package podman_test

import (
	"testing"

	"go.uber.org/goleak"

	"piccolo.io/piccolo/podman/podmantest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestContractFake(t *testing.T) {
	for _, version := range []string{"4.3.1", "5.4.2"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			podmantest.Contract(t, podmantest.NewFake(t, version))
		})
	}
}
