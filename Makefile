# `make demo` and `make test` need only Python 3.11 or newer: everything else is installed into .venv.
# Stamps in .venv make every later run quick.

PYTHON ?= python3
BIN := .venv/bin
TORCH := $(shell sed -n 's/^ *"\(torch==[^"]*\)".*/\1/p' pyproject.toml)
JOBS ?= 2
# Two test processes on two cores: one thread each, or they fight.
export OMP_NUM_THREADS ?= 1

.PHONY: demo test lint types unit install clean
.DEFAULT_GOAL := test

# torch first and alone, exactly as pinned: resolved together with the rest, pip may pull a CUDA build.
.venv/torch.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "arec needs Python 3.11 or newer; \
	set PYTHON=/path/to/python3.11" or 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	@touch $@

.venv/arec.stamp: .venv/torch.stamp pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

install: .venv/arec.stamp

demo: install
	$(BIN)/specc demo

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

unit: install
	$(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal --durations 15

test: lint types unit

clean:
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
