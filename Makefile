# What a person or CI types. Everything runs in .venv, which is made from the committed locks.
SHELL := /bin/bash
.DEFAULT_GOAL := help
BIN := .venv/bin

# The first Python that is new enough: python3 itself, or one that carries its version in its name.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && \
	{ echo $$p; break; }; done)

.PHONY: help demo test real testbed check format bench docs screenshots bundle lock clean

help: ## this list
	@grep -hE '^[a-z.]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 10

.venv/.made:
	@if [ -z "$(PYTHON)" ]; then \
		echo "crboost needs Python 3.11 or newer; found: $$(python3 --version 2>/dev/null || echo none)." \
		"Install one, or say which: make PYTHON=/path/to/python3.11" >&2; exit 2; fi
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
		echo "$(PYTHON) has no venv module. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 2; }
	@echo "making .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .venv
	@touch $@

.venv/.installed: requirements.lock pyproject.toml | .venv/.made
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.venv/.installed-dev: requirements-dev.lock .venv/.installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

.venv: .venv/.installed ## the environment; nothing happens while it is up to date
.PHONY: .venv

demo: .venv/.installed ## a rehearsed pipeline over a small synthetic session
	@$(BIN)/crboost demo $(DEMO)

test: .venv/.installed-dev ## all tests, or PYTEST="tests/unit -k star"; those on Slurm where make testbed was run
	@$(BIN)/python -m tests.real.run test $(PYTEST)

real: .venv/.installed-dev ## only the tests on Slurm
	@$(BIN)/python -m tests.real.run real $(PYTEST)

testbed: ## as root: a small Slurm site on this machine, RELION 5.1 in a container, and a user who runs the tests on it
	@$(PYTHON) -m tests.real.testbed up
	@$(PYTHON) -m tests.real.containers up
	@$(PYTHON) -m tests.real.run prepare

check: .venv/.installed-dev ## ruff, mypy, and the order of the layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy --strict
	@$(BIN)/lint-imports --no-cache

format: .venv/.installed-dev ## mend what ruff can mend
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

bench: .venv/.installed-dev ## all figures, or FIGURES="help_s plan_2000x60x8_s"
	@$(BIN)/python -m tests.bench $(FIGURES)

docs: .venv/.installed-dev ## pages that are made from the code
	@$(BIN)/python -m docs.make

screenshots: .venv/.installed-dev ## pictures of every screen from a rehearsal, or PICTURES="monitor help"; Linux only
	@$(BIN)/python -m docs.screenshots $(PICTURES)

bundle: .venv/.installed-dev ## one archive with all wheels, for a cluster without network, into dist/
	@$(BIN)/python -m release.bundle $(BUNDLE)

lock: .venv/.installed-dev ## newest versions that pyproject.toml allows, into the locks
	@uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --upgrade \
		--extra build pyproject.toml -o requirements.lock
	@uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --upgrade \
		--extra dev -c requirements.lock pyproject.toml -o requirements-dev.lock

clean: ## remove what was made here: .venv, caches, demo/
	@rm -rf .venv demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis snapshot_report.html
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
