# Everything here needs Go, git and make only, writes inside this directory and Go's caches, and
# leaves nothing running.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null | sed 's/^v//')
TOOL := go tool -modfile=hack/tools/go.mod
GORELEASER := go run github.com/goreleaser/goreleaser/v2@v2.13.0
SANDBOX := sandbox/.build/sandbox
NESTED := sandbox sandbox/kwok sandbox/registry bench bench/cosign bench/flux bench/kapp bench/kubectl bench/oras bench/peers
PARALLEL := $(addprefix ./internal/,apply cli cluster controller deploy observe registry rehearse render store testkit)
GOLDEN := TestTheGoldenDigest|TestATreeHasTheSameDigest|TestCompressedBytes
PLATFORMS := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64

# What kubectl, the linter and the generators remember stays here, too.
export KUBECACHEDIR := $(CURDIR)/.cache/kube
export GOLANGCI_LINT_CACHE := $(CURDIR)/.cache/golangci-lint
CACHED_HERE := GOCACHE="$$(go env GOCACHE)" XDG_CACHE_HOME="$(CURDIR)/.cache"

.DEFAULT_GOAL := help

.PHONY: help
help: ## Say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ The two commands to begin with

.PHONY: demo
demo: ## Run the guide in a sandbox: KEEP=1 leaves it running, DEMO_BREAK=STEP sabotages a step
	@CGO_ENABLED=0 go build -trimpath -o bin/.demo/demo ./hack/demo && exec bin/.demo/demo

# Tests that need a cluster find it by the variable that `sandbox run` sets. None may be skipped.
.PHONY: test
test: $(SANDBOX) ## Run all tests, those that need a cluster too: PACKAGES=./internal/... RUN=TestName narrow it
	@dir=.sandbox/test-$$$$; \
	$(SANDBOX) run --dir $$dir -- go run ./hack/gotest $(GOTESTFLAGS) -- -count=1 -timeout=20m $(if $(RUN),-run '$(RUN)') $(or $(PACKAGES),./...) && \
	rm -rf $$dir
ifeq ($(PACKAGES)$(RUN),)
	@go run ./hack/gotest $(GOTESTFLAGS) -modules sandbox,bench -- -count=1 ./...
endif

.PHONY: sweep
sweep: $(SANDBOX) ## Kill the command line before and after each of its writes: make test has a sample of it
	@dir=.sandbox/sweep-$$$$; \
	KUSTOMIZER_SWEEP=all $(SANDBOX) run --dir $$dir -- go run ./hack/gotest $(GOTESTFLAGS) -- -count=1 -timeout=60m -run '^TestCommandKilled' ./cmd/kustomizer && \
	rm -rf $$dir

.PHONY: model
model: ## Explore the model of two inventories for three objects with all that can happen: go test has a part of it
	@KUSTOMIZER_SWEEP=all go run ./hack/gotest $(GOTESTFLAGS) -- -count=1 -timeout=20m -run '^TestModelOfTwoInventories$$' ./internal/deploy

##@ Building

.PHONY: build
build: ## Build bin/kustomizer
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(or $(VERSION),dev)' -o bin/kustomizer ./cmd/kustomizer

.PHONY: image
image: ## Build the container image, without a container engine: IMAGE=REGISTRY/NAME:TAG pushes it
	go run ./hack/image $(if $(IMAGE),--push $(IMAGE),--output dist/image)

# As releases are compiled, so that one finds in the cache what the other has made.
.PHONY: cross
cross: ## Compile for every platform that is supported
	@for platform in $(PLATFORMS); do \
		echo "go build -trimpath ./... for $$platform"; \
		CGO_ENABLED=0 GOOS=$${platform%/*} GOARCH=$${platform#*/} go build -trimpath ./cmd/... ./internal/... ./config/... || exit 1; \
	done

.PHONY: generate
generate: ## Write generated files anew
	$(CACHED_HERE) go generate ./...

$(SANDBOX): sandbox/go.mod $(wildcard sandbox/cmd/sandbox/*.go)
	@cd sandbox && CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w' -o .build/sandbox ./cmd/sandbox

##@ Releasing

# Manual pages, completion and the program that lists modules, for .goreleaser.yaml.
.PHONY: release-files
release-files:
	@rm -rf .release
	@SOURCE_DATE_EPOCH=$(or $(SOURCE_DATE_EPOCH),0) go run ./hack/docgen man .release/man
	@go run ./hack/docgen completion .release/completion
	@CGO_ENABLED=0 go build -trimpath -o .release/sbom ./hack/sbom

.PHONY: release
release: ## Make and publish the release of the tag that is checked out
	$(GORELEASER) release --clean

# Takes ten minutes: GoReleaser itself is compiled, too, where Go's cache does not have it.
.PHONY: release-snapshot
release-snapshot: ## Make all files of a release in dist/, and publish nothing
	$(GORELEASER) check
	$(GORELEASER) release --snapshot --clean --skip=publish,sign

##@ Checking

.PHONY: verify
verify: format vet lint generated tidy ## Check all that is checked without running anything

.PHONY: format
format: ## Check that files are formatted
	@unformatted=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); \
	if [ -n "$$unformatted" ]; then echo "gofmt -w these files:"; echo "$$unformatted"; exit 1; fi

# With the settings of the sandbox's own build, so that nothing of Kubernetes is compiled twice.
.PHONY: vet
vet: ## Run go vet in every module
	@go vet ./...
	@for module in $(NESTED); do echo "go vet in $$module"; (cd $$module && CGO_ENABLED=0 go vet -trimpath ./...) || exit 1; done

.PHONY: lint
lint: ## Run the linters of .golangci.yml
	@$(CACHED_HERE) $(TOOL) golangci-lint run
	@go tool -modfile=hack/tools/actionlint/go.mod actionlint action/examples/*.yaml .github/workflows/*.yaml

# Changes that are not committed yet are none of these two checks' business.
.PHONY: generated
generated: ## Check that generated files are up to date
	@before=$$(git status --porcelain; git diff); $(CACHED_HERE) go generate ./... || exit 1; after=$$(git status --porcelain; git diff); \
	if [ "$$before" != "$$after" ]; then echo "go generate ./... changed files: commit them"; git status --short; exit 1; fi

.PHONY: tidy
tidy: ## Check that the modules' requirements are tidy
	@for module in . $(NESTED) hack/tools hack/tools/actionlint; do echo "go mod tidy -diff in $$module"; (cd $$module && go mod tidy -diff) || exit 1; done

.PHONY: vuln
vuln: ## Look for known vulnerabilities (asks vuln.go.dev)
	@$(TOOL) govulncheck ./...

# The kill sweep is left out: what runs there is a process of its own, which the detector does not see.
# So is the model's exploration, of which nothing but its own table runs in parallel.
.PHONY: race
race: $(SANDBOX) ## Run the race detector over what runs in parallel (needs a C compiler)
	@dir=.sandbox/race-$$$$; \
	$(SANDBOX) run --dir $$dir -- go run ./hack/gotest $(GOTESTFLAGS) -- -count=1 -race -timeout=20m -skip '^(TestKilledBeforeAndAfterEachWrite|TestModelOfTwoInventories|TestModelNoticesABrokenRule)$$' $(or $(PACKAGES),$(PARALLEL)) && \
	rm -rf $$dir

# Minutes, the first time: source-controller is large.
.PHONY: interop
interop: $(SANDBOX) build ## See what Flux's source-controller and oras make of what is pushed
	@cd bench/flux && go build -p 1 -trimpath -ldflags '-s -w' -o ../.build/source-controller github.com/fluxcd/source-controller
	@cd bench/oras && go build -p 1 -trimpath -ldflags '-s -w' -o ../.build/oras oras.land/oras/cmd/oras
	@cd bench && go build -o .build/interop ./interop
	@dir=.sandbox/interop-$$$$; \
	definitions=$$(cd bench/flux && go list -m -f '{{.Dir}}' github.com/fluxcd/source-controller)/config/crd/bases; \
	$(SANDBOX) run --dir $$dir -- bench/.build/interop -kustomizer $(CURDIR)/bin/kustomizer -definitions $$definitions \
		-source-controller $(CURDIR)/bench/.build/source-controller -oras $(CURDIR)/bench/.build/oras && rm -rf $$dir

.PHONY: interop-cosign
interop-cosign: build $(SANDBOX) ## Show that cosign and this program verify each other's signatures (builds cosign: minutes)
	@mkdir -p bench/.build
	@cd bench/cosign && go build -p 1 -trimpath -ldflags '-s -w' -o ../.build/cosign github.com/sigstore/cosign/v3/cmd/cosign
	@dir=.sandbox/interop-$$$$; \
	COSIGN=$(CURDIR)/bench/.build/cosign KUSTOMIZER=$(CURDIR)/bin/kustomizer $(SANDBOX) run --dir $$dir -- bench/cosign/interop.sh && rm -rf $$dir

# Where Kubernetes' client is among the dependencies, it would all be compiled anew for fuzzing: of those
# packages only the seeds run, with the tests. FUZZ=internal/registry has them fuzzed as well.
.PHONY: fuzz-smoke
fuzz-smoke: ## Let fuzz targets look for new input for a few seconds each: FUZZTIME=10m for longer
	@git grep -h -o '^func Fuzz[A-Za-z]*' -- internal/artifact $(FUZZ) | sed 's/^func //' | while read -r target; do \
		dir=$$(git grep -l "^func $$target(" -- internal cmd | xargs dirname); echo "$$target in $$dir"; \
		go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(or $(FUZZTIME),3s) -parallel 2 ./$$dir || exit 1; \
	done

.PHONY: bench-artifacts
bench-artifacts: $(SANDBOX) ## Measure push and pull beside oras, crane and Flux's library: BENCHFLAGS='-runs 9'
	@cd bench/peers && go build -p 1 -trimpath -ldflags '-s -w' -o ../.build/ github.com/google/go-containerregistry/cmd/crane ./flux
	@cd bench/oras && go build -p 1 -trimpath -ldflags '-s -w' -o ../.build/oras oras.land/oras/cmd/oras
	@CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(or $(VERSION),dev)' -o bench/.build/kustomizer ./cmd/kustomizer
	@cd bench && go build -o .build/artifacts ./artifacts
	@dir=.sandbox/bench-$$$$; $(SANDBOX) run --registries --dir $$dir -- sh -c 'cd bench && exec .build/artifacts $(BENCHFLAGS)' && rm -rf $$dir

.PHONY: golden
golden: ## Compute the golden digest without assembler; golden-386, golden-arm64: on other processors
	@CGO_ENABLED=0 go test -count=1 -tags noasm,purego -run '$(GOLDEN)' ./internal/artifact
	@GODEBUG=cpu.all=off CGO_ENABLED=0 go test -count=1 -run '$(GOLDEN)' ./internal/artifact

# Where the kernel doesn't run such programs: EMULATOR=qemu-i386-static, EMULATOR=qemu-aarch64-static. Under
# these, the signals by which Go's scheduler interrupts a goroutine can end a program.
.PHONY: golden-386 golden-arm64
golden-386 golden-arm64: golden-%:
	@GOARCH=$* CGO_ENABLED=0 $(if $(EMULATOR),GODEBUG=asyncpreemptoff=1) go test -count=1 $(if $(EMULATOR),-exec $(EMULATOR)) -run '$(GOLDEN)' ./internal/artifact

.PHONY: bench-smoke
bench-smoke: ## Run every benchmark once
	@go test -run '^$$' -bench . -benchtime 1x -benchmem $$(git grep -l "^func Benchmark" -- cmd internal hack | xargs -n1 dirname | sort -u | sed 's|^|./|')

# The controllers that set-ups for comparing such tools run: they do something with a Deployment, and nothing
# with a Service. CONTROLLERS='*' runs all.
CONTROLLERS := deployment-controller,replicaset-controller,namespace-controller,serviceaccount-controller,garbage-collector-controller,job-controller

# kapp is built with the versions that it pins, kubectl is the sandbox's and the last that read the API server's
# description of a kind for each object, Kustomizer 2 is its algorithm.
.PHONY: bench-engine
bench-engine: build $(SANDBOX) ## Measure apply and diff beside kubectl, kapp and Kustomizer 2: BENCH='--runs 1' changes how
	@cd bench/kapp && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o ../.build/kapp carvel.dev/kapp/cmd/kapp
	@cd bench/kubectl && CGO_ENABLED=0 go build -tags bench -trimpath -ldflags '-s -w' -o ../.build/kubectl-1.33 .
	@cd bench && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o .build/ ./engine ./published
	@dir=.sandbox/bench-$$$$; \
	$(SANDBOX) run --bare --controllers '$(CONTROLLERS)' --dir $$dir -- sh -c 'cd bench && .build/engine --results RESULTS.md $(BENCH)' && rm -rf $$dir

.PHONY: bench-large
bench-large: build $(SANDBOX) ## Install 10,000 objects, change one, remove 5,000, in less than 512 MiB
	@cd bench && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o .build/ ./engine
	@dir=.sandbox/bench-$$$$; \
	$(SANDBOX) run --bare --dir $$dir -- sh -c 'cd bench && .build/engine --results RESULTS.md --large 10000 --command "make bench-large"' && rm -rf $$dir

.PHONY: clean
clean: ## Remove what was built, the sandbox's programs too
	rm -rf bin dist .cache .release .sandbox sandbox/.build bench/.build
