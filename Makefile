# The one list of commands. `make` alone prints it.
#
# Everything runs from `.venv`, which each command sets up by itself: once, and again
# when the pinned requirements or pyproject.toml change.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash

# The interpreter that makes the environment, for example: make setup PYTHON=python3.12
PYTHON ?= python3
# Extra words for the command that the target runs, for example: make test ARGS="-k cron"
ARGS ?=
# Test processes; 0 runs the suite in one process, `auto` takes one for each core.
JOBS ?= 2
# The environment. `make test-all` makes one beside it for each Python version.
VENV ?= .venv

# What `make torture` torments, for how long, and from which seed (drawn when there is none).
STORE ?= sqlite
MINUTES ?= 10
SEED ?=

# A test starts many processes, each of which imports everything: what was compiled once is kept,
# also where the environment says that nothing is.
export PYTHONDONTWRITEBYTECODE :=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input --quiet
READY := $(VENV)/.ready-dev
READY_DEMO := $(VENV)/.ready-demo

.PHONY: help
help: ## Print this list.
	@echo "Commands of treadle (make <command>):"
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | \
		awk -F ':.*## ' '{ printf "  %-10s %s\n", $$1, $$2 }'
	@echo 'Words that change a command: PYTHON=python3.12  JOBS=auto  ARGS="-k name"'

.PHONY: setup
setup: $(READY) ## Make the environment in .venv with every pinned tool.

.PHONY: demo
demo: $(READY_DEMO) ## Watch real jobs run: a shop's orders, mails, a killed worker, a ledger.
	$(BIN)/python -m examples.orders.run $(ARGS)

.PHONY: test
test: $(READY) ## Run the default test suite.
	$(BIN)/python -m pytest -n $(JOBS) $(ARGS)

.PHONY: test-all
test-all: ## Run the suite on each CPython >= 3.11 that this machine has.
	MAKE_COMMAND="$(MAKE)" tools/each_python.sh test JOBS=$(JOBS) ARGS="$(ARGS)"

.PHONY: check
check: $(READY) ## Check format, lint, types, layers.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(wildcard src tests bench examples)
	$(BIN)/lint-imports --no-logo

.PHONY: typing
typing: $(READY) ## Check the types that users see with a second type checker.
	$(BIN)/basedpyright $(wildcard src tests/typing)

.PHONY: coverage
coverage: $(READY) ## Run the suite and print what it does not reach.
	$(BIN)/coverage run -m pytest $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

.PHONY: format
format: $(READY) ## Rewrite the sources in the project's format.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: bench
bench: $(READY) ## Measure treadle beside its peers on SQLite, Redis and PostgreSQL.
	$(BIN)/python -m bench $(ARGS)

.PHONY: crash
crash: $(READY) ## Run the long crash runs: seeded kills with every job accounted for.
	$(BIN)/python -m pytest -m crash $(ARGS)

.PHONY: torture
torture: $(READY) ## Torture a store: STORE=sqlite|postgres|redis MINUTES=10 SEED=1; ends with a ledger.
	$(BIN)/python -m tests.torture $(STORE) --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(ARGS)

.PHONY: test-slow
test-slow: $(READY) ## Run the tests too long for the default suite: fleets, clusters, long histories.
	$(BIN)/python -m pytest -n $(JOBS) -m slow $(ARGS)

.PHONY: pins
pins: $(READY) ## Pin the newest versions of the requirements again, with their hashes.
	PYTHON="$(PYTHON)" tools/pin.sh .venv-pins

.PHONY: clean
clean: ## Remove environments, caches and reports.
	rm -rf .venv .venv-py* .venv-pins .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache .coverage .coverage.* htmlcov dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The interpreter of the environment. It is made again when it is missing or no longer runs.
$(VENV)/pyvenv.cfg:
	@command -v "$(PYTHON)" > /dev/null || { echo "treadle: no command '$(PYTHON)' on PATH;" \
		"install Python 3.11 or later, or name one: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "treadle needs Python 3.11 or later, and '$(PYTHON)' is $$("$(PYTHON)" --version 2>&1);" \
		"name a newer one: make PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -m venv --clear $(VENV) || { rm -rf $(VENV); echo "treadle: '$(PYTHON)' could not" \
		"make a virtual environment; on Debian and Ubuntu install the package python3-venv" >&2; exit 1; }

# The demo needs a handful of packages, so on a fresh machine it does not wait for the tools.
$(READY_DEMO): requirements/demo.txt pyproject.toml | $(VENV)/pyvenv.cfg
	@echo "Setting up $(VENV) for the demo ..."
	@$(PIP) install --require-hashes --requirement requirements/demo.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

# The full set holds the demo's, at the same versions, so both stamps are set.
$(READY): requirements/dev.txt requirements/demo.txt pyproject.toml | $(VENV)/pyvenv.cfg
	@echo "Setting up $(VENV) with the pinned tools ..."
	@$(PIP) install --require-hashes --requirement requirements/dev.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $(READY_DEMO) $@
