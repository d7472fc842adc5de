# `make` alone lists what there is.
SHELL := /bin/bash

# The libraries' own switches: Podman's remote client only, and OpenPGP in Go
# (mandatory without cgo).
TAGS := remote,containers_image_openpgp
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT ?= $(shell git rev-parse HEAD 2>/dev/null)
# The commit's time, so that the same source gives the same binary.
BUILD_TIME ?= $(shell TZ=UTC git log -1 --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ 2>/dev/null)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT) -X main.buildTime=$(BUILD_TIME)
NODES ?= 3

export GOFLAGS := -buildvcs=false

.PHONY: help build demo test test-unit test-lab lint bench release proto clean

help: ## This page
	@echo "Piccolo: a container cluster for boards. Targets:"
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22
	@echo "Variables: NODES=$(NODES) (demo), VERSION=$(VERSION) (build, release)"

build: ## bin/piccolo, one static binary
	CGO_ENABLED=0 go build -tags $(TAGS) -trimpath -ldflags '$(LDFLAGS)' -o bin/piccolo .

demo: build ## A cluster of NODES=3 boards on this machine, until Ctrl-C (root)
	scripts/deps lab
	scripts/lab/demo $(NODES)

test: ## Every test, the lab's too (root; installs what it needs)
	scripts/deps all
	$(MAKE) --no-print-directory lint test-unit test-lab

test-unit: ## The tests that need neither root nor Podman, with the race detector
	CGO_ENABLED=1 go test -race -tags $(TAGS) -timeout 15m ./...

test-lab: build ## The tests with real Podman, systemd and several hosts (root)
	scripts/deps lab rootfs arm
	CGO_ENABLED=0 go test -tags $(TAGS),lab -timeout 20m -p 1 $$(grep -rl --include='*_test.go' '^//go:build lab' . | xargs -n1 dirname | sort -u)

lint: ## gofmt, go vet, staticcheck, shellcheck
	@test -z "$$(gofmt -l . | tee /dev/stderr)" || { echo "gofmt: the files above are not formatted: gofmt -w them"; exit 1; }
	go vet -tags $(TAGS),lab ./...
	go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 -tags $(TAGS),lab ./...
	shellcheck -x $$(git ls-files -co --exclude-standard scripts .ci | xargs grep -lE '^#!.*(ba)?sh' )

bench: build ## Measure the promises: a table, and bench.json (root)
	scripts/deps lab
	go run -tags $(TAGS) ./scripts/bench -binary bin/piccolo -json bench.json

release: ## dist/: tarballs for amd64, arm64, armv7, armv6 with SHA256SUMS
	scripts/release/release $(VERSION)

proto: ## Generate the wire format anew
	scripts/deps proto
	scripts/proto

clean: ## Remove what was built
	rm -rf bin dist bench.json
