# Needs Go, Python 3 and make; `make race` also a C compiler. Nothing is written outside of bin/,
# build/ and the caches of the tools.

SHELL   := bash
GO      ?= go
PYTHON  ?= python3
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
SHARED  ?= ../shared
FUZZTIME ?= 60s

BIN    := bin/headrace
VENV   := build/venv
CLIENT := clients/python

# Tests that start a server of their own take this one.
export HEADRACE_BIN := $(abspath $(BIN))

# Random tests draw the same values in every run of `make test`, so that it fails because of a change or not
# at all; `make soak` has them draw others, ROUNDS times.
export RAPID_SEED ?= 1
ROUNDS ?= 10

# Packages whose tests run goroutines against one another: `make test` runs these under the race
# detector too, in short form, where there is a C compiler.
RACE_PACKAGES := ./internal/vfs/... ./streams/... ./replication/... ./pkstore/... ./internal/engine/... ./flightsrv/...

.DEFAULT_GOAL := help

.PHONY: help
help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1|\2/' | \
		while IFS='|' read -r name text; do printf '  make %-12s %s\n' "$$name" "$$text"; done

.PHONY: build
build: ## build bin/headrace
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '-X main.version=$(VERSION)' -o $(BIN) ./cmd/headrace

.PHONY: demo
demo: build ## real data through a server of its own: ingest, follow, scan, kill -9, restart
	demo/run

# The environment is remade when the client's dependencies change.
$(VENV)/ready: $(CLIENT)/pyproject.toml
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --editable '$(CLIENT)[dev]'
	touch $@

.PHONY: venv
venv: $(VENV)/ready ## make the Python environment build/venv

.PHONY: test
test: test-go test-race test-python ## run all tests, Go and Python

.PHONY: test-go
test-go: build ## run the Go tests; those of the built server print what they counted
	$(GO) test -timeout 15m $$($(GO) list ./... | grep -v '/e2e$$')
	$(GO) test -count=1 -timeout 10m -v ./e2e | grep -v '^=== '; exit $${PIPESTATUS[0]}

.PHONY: test-race
test-race:
	@if [ -n "$$($(GO) env CC)" ] && command -v "$$($(GO) env CC)" >/dev/null; then \
		echo '$(GO) test -race -short $(RACE_PACKAGES)'; \
		CGO_ENABLED=1 $(GO) test -race -short -timeout 15m $(RACE_PACKAGES); \
	else \
		echo 'make test-race: skipped, there is no C compiler, which the race detector needs'; \
	fi

.PHONY: test-python
test-python: build venv ## run the tests of the Python client, and the examples of the documentation
	cd $(CLIENT) && $(abspath $(VENV))/bin/python -m pytest -q
	cd docs/tests && $(abspath $(VENV))/bin/python -m pytest -q -p no:cacheprovider

.PHONY: race
race: build ## run all Go tests under the race detector; needs a C compiler
	CGO_ENABLED=1 $(GO) test -race -timeout 30m ./...

.PHONY: crash
crash: ## crash in every way at each call to the disk, where the tests draw one way a call
	$(GO) test -count=1 -timeout 60m -run Crash ./internal/engine -exhaustive

.PHONY: soak
soak: ## run the tests that draw at random with other values, ROUNDS (10) times
	for round in $$(seq $(ROUNDS)); do RAPID_SEED=0 $(GO) test -count=1 -timeout 30m ./internal/... ./pkstore ./streams || exit 1; done

.PHONY: check
check: venv ## formatting, vet, staticcheck, shape of the code, ruff, mypy
	@unformatted="$$(find . -name '*.go' -not -path './build/*' -print0 | xargs -0 gofmt -l)"; \
		if [ -n "$$unformatted" ]; then printf 'not formatted by gofmt:\n%s\n' "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) tool -modfile=tools.mod staticcheck ./...
	$(GO) test -count=1 ./internal/tidy
	cd $(CLIENT) && $(abspath $(VENV))/bin/ruff check .
	$(VENV)/bin/ruff check docs/tests
	cd $(CLIENT) && $(abspath $(VENV))/bin/mypy --strict

.PHONY: bench
bench: build venv ## measure against the peers in the same run and print the table of ratios
	bench/run

.PHONY: microbench
microbench: ## run the Go benchmarks of the hot paths
	$(GO) test -run '^$$' -bench . -benchmem ./...

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (60s), one after another
	@grep -rnoE '^func Fuzz[A-Za-z0-9_]+' --include='*_test.go' . | sort | \
	while IFS=: read -r file _ name; do \
		name="$${name#func }"; \
		echo "== $$(dirname "$$file") $$name"; \
		$(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime=10x "$$(dirname "$$file")" </dev/null || exit 1; \
	done

.PHONY: acceptance
acceptance: build venv ## black-box tests of the interface in SHARED (../shared), where they are
	@if [ -d '$(SHARED)/acceptance' ]; then \
		PYTHONDONTWRITEBYTECODE=1 $(VENV)/bin/python -m pytest -q -p no:cacheprovider \
			'$(SHARED)/acceptance/test_log_tables.py' '$(SHARED)/acceptance/test_keyed_tables.py'; \
	else \
		echo 'make acceptance: skipped, there is no $(SHARED)/acceptance'; \
	fi

.PHONY: clean
clean: ## remove what was built
	rm -rf bin build
