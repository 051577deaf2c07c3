# Every target sets itself up: `make demo` in a fresh clone needs Python 3.11 or newer and nothing else.
PYTHON ?= python3
PYTEST_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
MADE := $(VENV)/.made
RUN := $(VENV)/.run
DEV := $(VENV)/.dev

PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install -qq
LOCKED := --require-hashes --only-binary :all:
COMPILE := $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --fork-strategy fewest \
	--generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links

PROOFS := $(sort $(basename $(notdir $(wildcard benchmarks/proof_*.py))))

.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules
.PHONY: help demo test lint bench proof docs lock clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | while IFS="$$(printf '\t')" read -r name what; \
		do printf '  make %-6s %s\n' "$$name" "$$what"; done

demo: $(RUN)  ## run the fraud system from raw events to decisions, on this machine
	@$(BIN)/python -m holdfast.cli.demo

test: $(DEV)  ## run the tests (HYPOTHESIS_PROFILE=thorough for many more examples)
	@HYPOTHESIS_PROFILE=$${HYPOTHESIS_PROFILE:-fast} $(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(DEV)  ## check style, types and the import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo --no-cache

bench: $(DEV)  ## measure (40 minutes); figures in build/figures/bench.json, and which meet their targets
	@$(BIN)/python -m benchmarks.run

bench-%: $(DEV)
	@$(BIN)/python -m benchmarks.bench_$*

proof: $(DEV)  ## show the laws on large examples; figures in build/figures/proof.json
	@rm -f build/figures/proof.json
	@$(if $(PROOFS),set -e; for name in $(PROOFS); do HYPOTHESIS_PROFILE=thorough $(BIN)/python -m benchmarks.$$name; done,echo "no benchmarks/proof_*.py yet")

proof-%: $(DEV)
	@HYPOTHESIS_PROFILE=thorough $(BIN)/python -m benchmarks.proof_$*

docs: $(DEV)  ## build the documentation into build/docs
	@$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -b html docs build/docs
	@echo "build/docs/index.html"

lock: $(DEV)  ## write locks/ anew from pyproject.toml (COMPILE_ARGS=--upgrade for newer versions)
	@$(COMPILE) $(COMPILE_ARGS) --group dev --output-file locks/dev.txt > /dev/null
	@$(COMPILE) --group build --constraint locks/dev.txt --output-file locks/run.txt > /dev/null
	@echo "locks/run.txt locks/dev.txt"

clean:  ## remove the environment, caches and everything built
	rm -rf $(VENV) build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find benchmarks docs src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# ---------------------------------------------------------------------------------------------- set-up
# Each stamp is the last act of its rule, so an interrupted set-up is taken up again.

$(MADE):
	@command -v $(PYTHON) > /dev/null || { \
		echo "\`$(PYTHON)\` was not found. holdfast needs Python 3.11 or newer: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "\`$(PYTHON)\` is $$($(PYTHON) -V 2>&1). holdfast needs Python 3.11 or newer: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || { \
		echo "\`$(PYTHON)\` cannot make virtual environments. Debian, Ubuntu: apt install python3-venv"; exit 1; }
	@$(PYTHON) -c 'import ctypes, sys; sys.platform != "linux" or ctypes.CDLL("libgomp.so.1")' 2> /dev/null || { \
		echo "libgomp.so.1, which LightGBM needs, was not found."; \
		echo "Debian, Ubuntu: apt install libgomp1    Fedora: dnf install libgomp"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(RUN): locks/run.txt pyproject.toml | $(MADE)
	@echo "setting up $(VENV) from locks/run.txt (about a minute, once)"
	@$(PIP) $(LOCKED) -r locks/run.txt
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(DEV): locks/dev.txt locks/run.txt pyproject.toml | $(MADE)
	@echo "setting up $(VENV) from locks/dev.txt (about two minutes, once)"
	@$(PIP) $(LOCKED) -r locks/dev.txt
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $(RUN) $@
