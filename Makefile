# Go comes from PATH or from its usual place; everything else that is needed is
# pinned in go.mod and internal/tools/go.mod, or installed by Debian's apt.
GO ?= $(shell command -v go || echo /usr/local/go/bin/go)
export GO
# The binary is pure Go, and so are its tests: one build cache for all, and no C compiler.
export CGO_ENABLED := 0
TAGS := nobadger,nomysql,nopgx
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -s -w -X github.com/caddyserver/caddy/v2.CustomVersion=$(VERSION)
# For single runs: make test PKG=./storage/... TESTFLAGS=-v, make fuzz FUZZTIME=5000000x
# (a count, since go test now and then takes the end of a time for a failure).
PKG ?= ./...
FUZZTIME ?= 200000x
# The race detector takes time and memory of its own, so race leaves out what measures them.
MEASURED := ^Test(CostOf(UnknownDigest|ColdManifests|Referrers)|ListsTake(Little|Bounded)Memory|ManifestsAtOnceTakeLittleMemory|PeakMemory)$$
# How long make soak takes, at least 10s.
SOAK ?= 10m

.DEFAULT_GOAL := build
.PHONY: build run test race lint fmt bench fuzz vuln integration fleet soak nightly xcaddy release release-test nodes image check clean help

build: ; @internal/tools/need go && $(GO) build -trimpath -tags $(TAGS) -ldflags '$(LDFLAGS)' -o bin/pullgate ./cmd/pullgate ## build bin/pullgate
run: build ; bin/pullgate run --config Caddyfile.example ## build, and serve with Caddyfile.example
# Tests make thousands of small stores: in memory, where it has room, unless somebody has said where, or they are long.
DISK := $(or $(GOTMPDIR),$(TMPDIR),/tmp)
MEMORY := $(if $(TMPDIR),,$(shell grep -q ' /dev/shm .*noexec' /proc/mounts || df --output=avail /dev/shm 2>/dev/null | awk 'NR == 2 && $$1 > 2097152 { print "/dev/shm" }'))
# Programs are built on the disk all the same: a file tells Go so, as tests take GOTMPDIR in
# their environment before TMPDIR.
test race: bin/go.env
test race: export GOENV = $(CURDIR)/bin/go.env
test race: export GOTMPDIR =
.PHONY: bin/go.env
bin/go.env: ; @mkdir -p bin && { cat "$$(env -u GOENV $(GO) env GOENV)" 2>/dev/null; echo 'GOTMPDIR=$(DISK)'; } >$@.new && mv $@.new $@
test race: export TMPDIR = $(if $(PULLGATE_LONG),$(DISK),$(or $(MEMORY),$(DISK)))
# Stores begin with tens of megabytes, which would be collected again and again.
test: export GOGC = $(if $(PULLGATE_LONG),100,400)
test: ; @internal/tools/need go && $(GO) test -timeout 15m -parallel 4 -tags $(TAGS) $(TESTFLAGS) $(PKG) ## run all tests whose results Go has not cached
race: export CGO_ENABLED = 1
race: ; @internal/tools/need go gcc && $(GO) test -race -count=1 -timeout 15m -parallel 3 -tags $(TAGS) -skip '$(MEASURED)' $(TESTFLAGS) $(PKG) ## run all tests under the race detector, but those that measure
lint: ; @internal/tools/need go && $(GO) tool -modfile=internal/tools/go.mod golangci-lint run ## report what golangci-lint finds
fmt: ; @internal/tools/need go && $(GO) tool -modfile=internal/tools/go.mod golangci-lint fmt ## format the code
bench: build ; @$(GO) test -run '^$$' -bench . -benchmem -tags $(TAGS) $(TESTFLAGS) $(PKG) && $(GO) run -tags $(TAGS) ./integration/bench $(BENCHFLAGS) ## run the benchmarks, and measure bin/pullgate as a whole (BENCHFLAGS=-help)
fuzz: ; @internal/tools/need go && internal/tools/fuzz $(TAGS) $(FUZZTIME) ## run each fuzz target for FUZZTIME
vuln: ; @internal/tools/need go curl && internal/tools/vulncheck $(TAGS) ## report known vulnerabilities that the code reaches; without their database it says so, and fails with VULN=required
integration: bin/versitygw ; @internal/tools/need go clients && $(GO) test -count=1 -timeout 20m -tags $(TAGS),integration $(TESTFLAGS) ./integration/... ## drive the binary with real clients (as root)
fleet: bin/versitygw ; @internal/tools/need go && $(GO) test -count=1 -timeout 15m -tags $(TAGS),fleet $(TESTFLAGS) ./integration/fleet ## drive gateways that share a bucket of a real S3 server
# The S3 server is built once for each of its versions; it takes minutes.
bin/versitygw: internal/tools/versitygw/go.mod ; @internal/tools/need go && $(GO) -C internal/tools/versitygw build -trimpath -o '$(CURDIR)/$@' github.com/versity/versitygw/cmd/versitygw && touch '$@'
soak: bin/versitygw ; @internal/tools/need go clients && SOAK=$(SOAK) $(GO) test -p 1 -count=1 -timeout 0 -tags $(TAGS),integration,fleet $(TESTFLAGS) -run '^TestSoak$$' -v ./integration ./integration/fleet ## serve a mixed load with faults for SOAK, with one gateway and then with three (as root)
xcaddy: ; @internal/tools/need go curl && $(GO) -C internal/tools run ./xcaddy "$(CURDIR)/xcaddy.json" "$(CURDIR)/dist/caddy" && internal/tools/smoke dist/caddy Caddyfile.example ## build dist/caddy from xcaddy.json, and try it
# The tag of the checkout, or VERSION=v1.2.3.
release: ; @internal/tools/need go && internal/tools/release/make '$(VERSION)' dist/release ## build archives, packages, SBOMs, chart and checksums in dist/release
release-test: build ; @internal/tools/need go release && $(GO) -C internal/tools/monitoring test -count=1 $(TESTFLAGS) . && $(GO) -C internal/tools/release test -count=1 -timeout 20m $(TESTFLAGS) . ## test the release: built twice, package in a chroot, chart, dashboard, alerts (as root)
nodes: build ; @internal/tools/need go && $(GO) -C internal/tools/nodes test -count=1 $(TESTFLAGS) . ## have the own code of Talos and of k3s read what client-config writes for them
image: ; docker build --file deploy/docker/Dockerfile --build-arg VERSION=$(VERSION) --tag pullgate:$(VERSION) . ## build the container image with Docker
# The same tests with more of everything: hours.
nightly: export PULLGATE_LONG = 1
nightly: export PULLGATE_SWEEP = full
nightly: FUZZTIME = 5000000x
nightly: TESTFLAGS = -v -timeout 6h
nightly: test race fuzz integration fleet release-test nodes ## run the long versions of all tests, 200 kills and a soak of 10 minutes among them (as root)
check: lint test race fuzz xcaddy release-test integration fleet ## what CI runs
clean: ; rm -rf bin dist ## remove what was built
help: ; @sed -nE 's/^([a-z]+):.* ## (.*)/\1\t\2/p' Makefile | expand -t 14 ## list the targets
