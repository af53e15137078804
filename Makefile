# Everything a contributor or a first-time user runs. `make` lists it.
# demo, test, lint and bench each set up all they need in .venv from nothing.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help venv demo test lint format bench bench-optimizer bench-stream faults lock clean

help:  ## list these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 17

venv: $(READY)  ## set up .venv from the lock file

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Coxswain needs Python 3.11 or newer: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)

demo: $(READY)  ## replay a generated day through an embedded broker, plan it, route it (about 90 s)
	@$(BIN)/coxswain demo $(ARGS)

test: $(READY)  ## run all tests; those of a real Kafka or of real traces skip where these cannot be had
	$(BIN)/pytest $(ARGS)

lint: $(READY)  ## check style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)  ## format the code, and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: bench-optimizer bench-stream  ## run all benchmarks

bench-optimizer: $(READY)  ## compare the optimizer's methods on the shared instances (about 3 min; ARGS=--full for all)
	$(BIN)/python -m tests.benchmarks.optimizer $(ARGS)

bench-stream: $(READY)  ## compare ingest with Faust, aiokafka and others on a Kafka of its own; time plans (about 3 min)
	$(BIN)/python -m tests.benchmarks.stream $(ARGS)

faults: $(READY)  ## break things on purpose on a real Kafka, and recount everything (hours; ARGS=--short: minutes)
	$(BIN)/python -m tests.faults $(ARGS)

lock:  ## write requirements.lock anew from pyproject.toml (needs uv)
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --upgrade --generate-hashes \
		--no-emit-index-url --no-annotate --no-header --quiet --output-file requirements.lock

clean:  ## remove what the other targets made
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
