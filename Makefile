# make            build the environment and run `nostale check`
# make test       every test (lint, types, import rules and documents among them)
# make check      the static half of the tests: ruff, mypy, import rules, licences
# make bench      every measured promise, peers side by side
# make fix        format and mend what ruff can
# make docs       write the documents that are made: the reference, and what running the models says
# make lock       resolve the lock files anew
# Needs python3 (3.11 or later), pip and, for full speed, a C compiler.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(PYTHON) -m pip --python $(BIN)/python --disable-pip-version-check

.PHONY: run env env-dev test check bench docs fix lock clean
run: env
	$(BIN)/nostale check

env: $(VENV)/.runtime
env-dev: $(VENV)/.dev

# Without ensurepip: it need not be installed, and the system's pip fills the environment in half the time.
$(VENV)/.runtime: requirements.lock pyproject.toml
	$(PYTHON) -m venv --without-pip --clear $(VENV)
	$(PIP) install -q --require-hashes -r requirements.lock
	$(PIP) install -q --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.lock
	$(PIP) install -q --require-hashes -r requirements-dev.lock
	touch $@

test: env-dev
	$(BIN)/python -m pytest

check: env-dev
	$(BIN)/python -m pytest tests/house

bench: env-dev
	set -e; for one in bench/[a-z]*.py; do $(BIN)/python $$one; done

fix: env-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: env-dev
	$(BIN)/python docs/make.py

lock: env-dev
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header pyproject.toml requirements-build.in -o requirements.lock
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header -c requirements.lock requirements-dev.in -o requirements-dev.lock

clean:
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
