# Two commands matter: `make demo` and `make test`. Both prepare .venv from pyproject.toml when it is missing or stale.
PYTHON ?= python3
DATA ?= digits
RECIPES := $(if $(filter cifar10,$(DATA)),cifar10 cifar10-wide,$(DATA))
VENV := .venv
QUICK := --heat compressions --threads 1 --rounds 5 --peer eager onnxruntime onnxruntime_int8
BIN := $(VENV)/bin

.PHONY: help demo test check simulators bench bench-quick clean

help:  ## what each command does
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[develop]'
	@touch $@

demo: $(VENV)/.ready  ## train, prune, compile, check, time and report; DATA=digits or DATA=cifar10
	$(foreach recipe,$(RECIPES),$(BIN)/spokeshave demo $(recipe) &&) true

check: $(VENV)/.ready  ## formatter, linter, type checker, import layers, size report
	$(BIN)/ruff format --check src tests bench papers tools
	$(BIN)/ruff check src tests bench papers tools
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/size_report.py

simulators:  ## Icarus Verilog and Verilator by apt, where that is possible
	tools/install_simulators.sh

test: check simulators  ## everything that must hold, on a clean clone
	$(BIN)/python -m pytest --numprocesses logical --dist worksteal

$(VENV)/.bench-ready: $(VENV)/.ready $(wildcard bench/requirements/*.txt)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	$(BIN)/python -m bench.prepare
	@touch $@

bench: $(VENV)/.bench-ready  ## every table of docs/benchmarks.md beside every peer; takes hours, wants a quiet machine
	$(BIN)/python -m bench.ceilings
	$(BIN)/python -m bench.layers
	$(BIN)/python -m bench.networks
	$(BIN)/python -m bench.ablation
	$(BIN)/python -m bench.costs
	$(BIN)/python -m bench.row_sharing
	$(BIN)/python -m bench.scheme_table
	$(BIN)/python -m bench.page

bench-quick: $(VENV)/.ready  ## one network and one layer beside the peers that are installed, under three minutes, into runs/
	$(BIN)/python -m bench.networks mobilenet_v2 --compression 1 8 --output runs/bench/networks.json $(QUICK)
	$(BIN)/python -m bench.layers conv3x3_256_14 --compression 1 10 --output runs/bench/layers.json $(QUICK)
	$(BIN)/python -m bench.page --results runs/bench --output runs/bench/benchmarks.md

clean:
	rm -rf $(VENV) runs bench/environments bench/conversions
