# `make demo` and `make test` do all the set-up themselves. They need git, make and python3 (3.11 or newer) with venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help env check format test soak bench simulate simulate-mutants demo lock schemas pictures clean

help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

env: $(STAMP) ## the environment in .venv, with exactly the locked packages

$(STAMP): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; name it: make PYTHON=python3.12 …" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "venv is missing: apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

check: $(STAMP) ## format, lint, types, architecture
	$(BIN)/ruff format --check --quiet
	$(BIN)/ruff check --quiet
	$(BIN)/mypy --no-error-summary
	$(BIN)/python -m pytest -q --durations=0 --no-header tests/architecture

format: $(STAMP) ## put the code into its form
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

test: check ## check, then every test (OPTIONS="--without-broker --without-postgres" leaves out what needs RabbitMQ or PostgreSQL)
	$(BIN)/python -m pytest --numprocesses=3 --dist=loadfile $(OPTIONS)

soak: $(STAMP) ## what takes too long for test: an hour and more (OPTIONS="-k memory" chooses)
	$(BIN)/python -m pytest $(OPTIONS) tests/soak

bench: $(STAMP) ## the worker beside its peers and the floor, about 10 minutes (OPTIONS=--quick: 2 minutes; needs Node 20 with npm for its rows)
	$(BIN)/python -m tests.bench.throughput $(OPTIONS)

simulate: $(STAMP) ## play many histories on a simulated clock (SEEDS=100000, FIRST=0)
	PYTHONHASHSEED=0 $(BIN)/python -m tests.simulation --seeds $(or $(SEEDS),10000) --first $(or $(FIRST),0)

simulate-mutants: $(STAMP) ## plant mistakes, and see each found by some history
	PYTHONHASHSEED=0 $(BIN)/python -m tests.simulation.mutants

demo: $(STAMP) ## the whole thing on this machine, in a minute (KEEP=1 leaves it running, REPLICAS=3 has three workers on a PostgreSQL)
	$(BIN)/python -m worker demo

lock: $(STAMP) ## renew the locks: versions and hashes
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-emit-index-url --no-annotate --upgrade --python-version 3.11 pyproject.toml --output-file requirements.lock
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-emit-index-url --no-annotate --upgrade --python-version 3.11 pyproject.toml --group dev --output-file requirements-dev.lock

schemas: $(STAMP) ## write schemas/ anew from the tables in the code
	$(BIN)/python -m worker schema --write schemas

pictures: $(STAMP) ## draw the pictures of docs/lifecycle.md anew from the tables in the code
	$(BIN)/python -m tests.support.pictures

clean: ## remove what was made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
