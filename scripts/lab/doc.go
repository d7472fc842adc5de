// Package lab drives the lab of scripts/lab: boards as network, process and mount namespaces of this machine, each with
// a real Podman. Everything calls the script `lab`, which docs/lab.md describes, so that tests, programs and people use
// the same boards. Script is that call. All the rest is for tests, behind the build tag "lab" because it needs root and
// the packages of `scripts/deps lab rootfs`.
package lab
