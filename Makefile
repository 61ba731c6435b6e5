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

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

.PHONY: build
build: ## Build the sidecar and the desk tool
	$(CARGO) build --locked

.PHONY: run
run: build ## Run the quick start on loopback (Ctrl-C stops it)
	./target/debug/sidegate-dev up -f manifests/quickstart.yaml

.PHONY: test
test: test-tools cluster-tools ## Install what the tests need and run all tests
	$(CARGO) build --locked --bins
	@SIDEGATE_CLUSTER_TOOLS=$$(tests/cluster/build.sh 2>/dev/null) && export SIDEGATE_CLUSTER_TOOLS && \
	if $(CARGO) nextest --version >/dev/null 2>&1; then \
	  $(CARGO) nextest run --locked --workspace --no-fail-fast && $(CARGO) test --locked --workspace --doc; \
	else \
	  $(CARGO) test --locked --workspace --no-fail-fast; \
	fi

.PHONY: test-tools
test-tools: $(VENV)/.installed $(TOOLS)/clients/.installed ## Install the official MCP clients that tests use

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

.PHONY: cluster-tools
cluster-tools: ## Build etcd, kube-apiserver and kubectl once (needs Go; about 6 minutes, then cached)
	@tests/cluster/build.sh >/dev/null

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
tidy: ## Files that nothing compiles, overlong files, dependency floors
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

.PHONY: bench-parts
bench-parts: ## Time the policy and the scanner by themselves
	$(CARGO) bench --locked -p sidegate-policy --bench policy
	$(CARGO) bench --locked -p sidegate-mcp --bench scan

.PHONY: presubmit
presubmit: lint check-deps tidy gen-check test ## Everything that CI runs
