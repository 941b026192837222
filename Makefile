.DEFAULT_GOAL := help
SHELL := bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROTOS := $(shell find proto -name '*.proto')
STAMP := $(VENV)/.installed

.PHONY: help demo up audit test test-more test-real explore fuzz histories fill bench bench-flat bench-bulkhead bench-overload bench-scaling bench-telemetry bench-streams alerts settings openapi problems check format hooks clean lock generate

help: ## Show what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

$(STAMP): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed; name one with PYTHON=…"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

generated/.made: $(PROTOS) $(STAMP)
	rm -rf generated && mkdir generated
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc -Iproto --python_out=generated --grpc_python_out=generated \
	  --mypy_out=quiet:generated --mypy_grpc_out=quiet,only_async:generated $(PROTOS)
	touch $@

generate: generated/.made ## Make the gRPC code from proto/

demo: generate ## Set everything up, drive real orders through the embedded stack, audit, stop
	@$(BIN)/ordersaga demo $(ARGS)

up: generate ## Start the embedded stack and leave it running; Ctrl-C stops it
	@$(BIN)/ordersaga up $(ARGS)

audit: generate ## Check that money, stock and orders of the stack that `make up` runs agree
	@test -f var/environment || { echo "No stack is running here; make up starts one."; exit 3; }
	@set -a; . var/environment; $(BIN)/ordersaga audit

test: generate $(VENV)/.with-deploy $(VENV)/client/bin/openapi-python-client ## Run the test suite
	$(BIN)/pytest $(ARGS)

test-more: generate $(VENV)/.with-deploy ## Run the tests that take more time or programs: components killed on a running stack, mutations, the image, and test-real
	$(BIN)/pytest -m more $(ARGS)
	$(MAKE) test-real

test-real: generate ## Run against real parts, one after the other: Apache Kafka, a Temporal server, PostgreSQL, an MTA, stripe-mock
	$(BIN)/pytest -n 0 -m real $(ARGS)

explore: generate ## Explore N traces of orders in the order of SEED, then refunds, or run one SCHEDULE alone
	@$(BIN)/python -m tests.saga.simulator --traces $(or $(N),10000) --seed $(or $(SEED),0) --schedule "$(SCHEDULE)"

fuzz: generate ## Hold the gateway and its description against each other by N requests in the order of SEED, for ten minutes at most
	ORDERSAGA_FUZZ_REQUESTS=$(or $(N),50000) ORDERSAGA_FUZZ_SEED=$(or $(SEED),1) \
	  $(BIN)/pytest -n 0 -m more tests/contract/test_document_and_gateway.py $(ARGS)

histories: generate ## Keep the histories of release VERSION for tests/replay, once, from a stack of its own
	@$(BIN)/python -m tests.replay.recording "$(VERSION)"

$(VENV)/client/bin/openapi-python-client: requirements-client.lock $(STAMP)
	$(PYTHON) -m venv $(VENV)/client
	$(VENV)/client/bin/pip install --quiet --disable-pip-version-check --require-hashes -r $<
	touch $@

$(VENV)/.with-%: requirements-%.lock $(STAMP)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r $<
	touch $@

bench: generate $(if $(findstring --plot,$(ARGS)),$(VENV)/.with-plot) ## Measure whole orders beside bare Temporal sagas
	@$(BIN)/python -m bench $(ARGS)

bench-telemetry: generate ## Measure what watcher, metrics and traces cost an order
	@$(BIN)/python -m bench.telemetry $(ARGS)

bench-streams: generate ## Measure what open streams of orders' events cost
	@$(BIN)/python -m bench.streams $(ARGS)

bench-scaling: generate ## Measure what several copies of each part cost an order, and what a client sees when one dies
	@$(BIN)/python -m bench.scaling $(ARGS)

bench-overload: generate ## Measure what is paid in time when up to three times as many orders come as can be done
	@$(BIN)/python -m bench.overload $(ARGS)

bench-bulkhead: generate ## Measure what orders that need no Stripe take while others wait for a slow one
	@$(BIN)/python -m bench.bulkhead $(ARGS)

bench-flat: generate ## Measure what everything costs with 10 thousand orders behind it, and with a million
	@$(BIN)/python -m bench.flat $(ARGS)

fill: generate ## Give the stack that `make up` runs a past of N orders
	@$(BIN)/python -m bench.fill --orders $(or $(N),10000) $(ARGS)

RULES := deploy/kubernetes/components/prometheus/rules.yaml

alerts: ## Write the alerts of deploy/prometheus as Kubernetes has them
	{ printf '# Made by `make alerts` from deploy/prometheus/alerts.yaml.\napiVersion: monitoring.coreos.com/v1\n'; \
	  printf 'kind: PrometheusRule\nmetadata:\n  name: ordersaga\nspec:\n'; \
	  sed -n '/^groups:/,$$p' deploy/prometheus/alerts.yaml | sed 's/^./  &/'; } > $(RULES)

settings: generate ## Write docs/settings.md
	$(BIN)/ordersaga settings > docs/settings.md

openapi: generate ## Write docs/openapi.json
	$(BIN)/ordersaga openapi > docs/openapi.json

problems: generate ## Write docs/problems.md
	$(BIN)/python -m api.pages.problems > docs/problems.md

check: generate $(VENV)/.with-deploy ## Lint, format, types, import rules, proto lint, whether what is made in docs/ is up to date
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint proto
	@$(BIN)/ordersaga settings | diff -u docs/settings.md - || { echo "docs/settings.md is not up to date: make settings"; exit 1; }
	@$(BIN)/ordersaga openapi | diff -u docs/openapi.json - || { echo "docs/openapi.json is not up to date: make openapi"; exit 1; }
	@$(BIN)/python -m api.pages.problems | diff -u docs/problems.md - || { echo "docs/problems.md is not up to date: make problems"; exit 1; }

format: generate ## Put the code into its standard form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

hooks: generate ## Let git run the quick half of `make check` at each commit
	$(BIN)/pre-commit install

lock: ## Resolve the dependencies anew into the lock files (wants uv)
	uv pip compile --quiet --universal --no-header --python-version 3.11 --generate-hashes --extra sandbox --group dev \
	  pyproject.toml --output-file requirements-dev.lock
	uv pip compile --quiet --universal --no-header --python-version 3.11 --generate-hashes \
	  --constraint requirements-dev.lock pyproject.toml --output-file requirements.lock
	uv pip compile --quiet --universal --no-header --python-version 3.11 --generate-hashes --group client \
	  --output-file requirements-client.lock
	for group in plot build deploy; do \
	  uv pip compile --quiet --universal --no-header --python-version 3.11 --generate-hashes \
	    --constraint requirements-dev.lock --group $$group --output-file requirements-$$group.lock || exit; \
	done

clean: ## Remove everything that was made, the stack's data included
	rm -rf $(VENV) generated var dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
