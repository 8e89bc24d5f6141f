# Two commands matter: `make demo` and `make test`. Both prepare .venv from pyproject.toml when it is missing or stale.
PYTHON ?= python3
DATA ?= digits
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test check bench clean

help:  ## what each command does
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[develop]'
	@touch $@

demo: $(VENV)/.ready  ## train, prune, compile, check, time and report; DATA=digits or DATA=cifar10
	$(BIN)/spokeshave demo $(DATA)

check: $(VENV)/.ready  ## formatter, linter, type checker, import layers, size report
	$(BIN)/ruff format --check src tests bench tools
	$(BIN)/ruff check src tests bench tools
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/size_report.py

test: check  ## everything that must hold, on a clean clone
	$(BIN)/python -m pytest

clean:
	rm -rf $(VENV) runs
