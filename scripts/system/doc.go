// Package system holds the tests of Piccolo as its user sees it: real boards
// of the lab, the real binary, real Podman, and only what a person can type or
// send. They are built with the tag lab and need root:
//
//	make build
//	go test -tags lab,remote,containers_image_openpgp ./scripts/system/
//
// Each test has a lab of its own and goes through one story with it; its
// subtests are the chapters, in their order. Deadlines are generous: how fast
// it is, `make bench` measures.
package system
