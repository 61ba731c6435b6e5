# Everything that a person or CI runs. `make help` lists it.

CARGO   ?= cargo
PYTHON  ?= python3
NPM     ?= npm
NODE    ?= node
TOOLS   := $(CURDIR)/.tools
VENV    := $(TOOLS)/venv
CLIENTS := tests/clients

# Integration tests find the official clients here.
export SIDEGATE_TEST_PYTHON := $(VENV)/bin/python
export SIDEGATE_TEST_NODE   := $(NODE)
export SIDEGATE_TEST_CLIENTS := $(TOOLS)/clients
# And what lets the clock of a process run fast.
FAKETIME := $(TOOLS)/faketime/libfaketimeMT.so.1
export SIDEGATE_TEST_FAKETIME := $(FAKETIME)

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

.PHONY: build
build: ## Build the sidecar and the desk tool
	$(CARGO) build --locked

.PHONY: run
run: build ## Run the quick start on loopback (Ctrl-C stops it)
	./target/debug/sidegate-dev up -f manifests/quickstart.yaml

.PHONY: test
test: test-tools api-tools ## Install what the tests need and run all tests
	$(CARGO) build --locked --bins -p sidegate -p sidegate-dev -p sidegate-operator
	@SIDEGATE_CLUSTER_TOOLS=$$(tests/cluster/build.sh 2>/dev/null) && export SIDEGATE_CLUSTER_TOOLS && \
	if $(CARGO) nextest --version >/dev/null 2>&1; then \
	  $(CARGO) nextest run --locked --workspace --no-fail-fast && $(CARGO) test --locked --workspace --doc; \
	else \
	  $(CARGO) test --locked --workspace --no-fail-fast; \
	fi

.PHONY: test-tools
test-tools: $(VENV)/.installed $(TOOLS)/clients/.installed $(FAKETIME) ## Install the official MCP clients and the fast clock that tests use

$(VENV)/.installed: $(CLIENTS)/requirements.txt
	@command -v $(PYTHON) >/dev/null || { echo "the tests need Python 3.11 or later: install it or set PYTHON=" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r $(CLIENTS)/requirements.txt
	touch $@

$(TOOLS)/clients/.installed: $(CLIENTS)/package.json $(CLIENTS)/package-lock.json $(wildcard $(CLIENTS)/*.mjs)
	@command -v $(NPM) >/dev/null || { echo "the tests need Node.js 20 or later with npm: install it or set NPM=, NODE=" >&2; exit 1; }
	mkdir -p $(TOOLS)/clients
	cp $(CLIENTS)/package.json $(CLIENTS)/package-lock.json $(CLIENTS)/*.mjs $(TOOLS)/clients/
	cd $(TOOLS)/clients && $(NPM) ci --silent --no-audit --no-fund
	touch $@

# The package has the source; what it builds itself leaves waits as they are.
$(FAKETIME): $(VENV)/.installed
	mkdir -p $(@D)
	cd $$($(VENV)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/libfaketime/vendor/libfaketime/src && \
	  cp *.c *.h *.map Makefile $(@D)/
	$(MAKE) --silent -C $(@D) $(@F) FAKETIME_COMPILE_CFLAGS="-UFAKE_STAT -UFAKE_UTIME -UFAKE_PTHREAD -Wno-error"
	touch $@

.PHONY: api-tools
api-tools: ## Build etcd, kube-apiserver and kubectl once (needs Go; about 6 minutes, then cached)
	@tests/cluster/build.sh api >/dev/null

.PHONY: cluster-tools
cluster-tools: ## Build and install what a whole cluster of one node runs (root; 6 more minutes, once)
	@tests/cluster/packages.sh
	@tests/cluster/build.sh all >/dev/null

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
IMAGES  := target/images
IMAGE   = ./target/debug/xtask image
ARCHIVES := $(addprefix $(IMAGES)/,pause.tar sidegate.tar sidegate-operator.tar e2e-actor.tar)
.PHONY: images
images: cluster-tools ## Build the container images of the test cluster into target/images
	for package in xtask sidegate sidegate-operator sidegate-e2e; do $(CARGO) build --locked -p $$package --bins || exit 1; done
	$(IMAGE) --name sidegate.test/pause:1 --user 65535 --out $(IMAGES)/pause.tar \
	  --binary "$$(tests/cluster/build.sh all 2>/dev/null)/pause"
	$(IMAGE) --name sidegate:$(VERSION) --user 64020 --out $(IMAGES)/sidegate.tar --binary target/debug/sidegate
	$(IMAGE) --name sidegate-operator:$(VERSION) --user 65532 --out $(IMAGES)/sidegate-operator.tar --binary target/debug/sidegate-operator
	$(IMAGE) --name e2e-actor:dev --user 65534 --out $(IMAGES)/e2e-actor.tar --binary target/debug/e2e-actor

BUILDER  ?= podman
REGISTRY ?=
.PHONY: release-images
# Without its cache, buildah would compile everything once per image.
release-images: export BUILDAH_LAYERS = true
release-images: ## Build the images that people run, from source (BUILDER=podman|docker|buildah, REGISTRY=HOST/PATH)
	@command -v $(BUILDER) >/dev/null || { echo "$(BUILDER) is missing: install podman, or choose with BUILDER=docker or BUILDER=buildah" >&2; exit 1; }
	for image in sidegate sidegate-operator; do \
	  $(BUILDER) build -f Containerfile --target $$image -t $(if $(REGISTRY),$(REGISTRY)/)$$image:$(VERSION) . || exit 1; \
	done

.PHONY: cluster-up
cluster-up: images ## Start a cluster of one node in namespaces, with the images (root)
	@tests/cluster/up.sh $(ARCHIVES)

.PHONY: cluster-down
cluster-down: ## End the cluster and remove everything of it
	@tests/cluster/down.sh

.PHONY: kubectl
kubectl: ## Talk to the cluster: make kubectl ARGS="get pods -A"
	@tests/cluster/enter.sh kubectl $(ARGS)

.PHONY: e2e
e2e: test-tools images ## The test in a whole cluster, from its start to its end (root)
	@tests/cluster/down.sh
	@trap 'tests/cluster/down.sh' EXIT; trap 'exit 130' INT TERM; \
	tests/cluster/up.sh $(ARCHIVES) && ./target/debug/e2e-scenario

.PHONY: lint
lint: ## Formatting, clippy and documentation, warnings refused
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --quiet

.PHONY: fmt
fmt: ## Format the code
	$(CARGO) fmt --all

.PHONY: check-deps
check-deps: ## Direction of dependencies, and what the sidecar must not link
	$(CARGO) run --locked -q -p xtask -- deps

.PHONY: tidy
tidy: ## Files that nothing compiles, overlong files, attacks without a test, dependency floors
	$(CARGO) run --locked -q -p xtask -- tidy
	$(CARGO) run --locked -q -p xtask -- floors

.PHONY: deny
deny: ## Licences, sources and bans (needs cargo-deny)
	@$(CARGO) deny --version >/dev/null 2>&1 || { echo "cargo-deny is missing: cargo install --locked cargo-deny" >&2; exit 1; }
	$(CARGO) deny --locked check bans licenses sources

.PHONY: gen
gen: build ## Write the generated files: CRDs, operator, metrics.md, docs/cli.md
	$(CARGO) run --locked -q -p xtask -- crds
	$(CARGO) run --locked -q -p xtask -- operator
	$(CARGO) run --locked -q -p xtask -- metrics-doc
	$(CARGO) run --locked -q -p xtask -- cli-doc

.PHONY: gen-check
gen-check: build ## Check that the generated files are current
	$(CARGO) run --locked -q -p xtask -- crds --check
	$(CARGO) run --locked -q -p xtask -- operator --check
	$(CARGO) run --locked -q -p xtask -- metrics-doc --check
	$(CARGO) run --locked -q -p xtask -- cli-doc --check

.PHONY: bench
bench: ## Compare the sidecar with a bare hyper proxy; writes target/bench/proxy.md
	$(CARGO) build --locked --release -p sidegate
	$(CARGO) bench --locked -p sidegate-tests --bench proxy

.PHONY: bench-operator
bench-operator: api-tools ## The control plane at its full size; writes target/bench/operator.md
	for package in sidegate sidegate-operator; do $(CARGO) build --locked --release -p $$package || exit 1; done
	@SIDEGATE_CLUSTER_TOOLS=$$(tests/cluster/build.sh 2>/dev/null) && export SIDEGATE_CLUSTER_TOOLS && \
	ulimit -n "$$(ulimit -H -n)" && $(CARGO) bench --locked -p sidegate-tests --bench operator

.PHONY: bench-parts
bench-parts: ## Time the policy and the scanner by themselves
	$(CARGO) bench --locked -p sidegate-policy --bench policy
	$(CARGO) bench --locked -p sidegate-mcp --bench scan

.PHONY: presubmit
presubmit: lint check-deps tidy gen-check test ## Everything that CI runs but `make e2e`, which needs root
