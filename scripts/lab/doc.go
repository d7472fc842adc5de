// Package lab drives the lab of scripts/lab from Go tests: boards as network, process and mount namespaces of this
// machine, each with a real Podman. Its functions call the script `lab`, which docs/lab.md describes, so that tests
// and people use the same boards. Everything in it is behind the build tag "lab" because it needs root and the
// packages of `scripts/deps lab rootfs`; only tests may import it.
package lab
