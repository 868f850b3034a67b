# Every target sets up what it needs in .venv; on a GPU machine run `make CONSTRAINTS= demo`.
PYTHON ?= python3
CONSTRAINTS ?= -c constraints/cpu.txt
VENV := .venv
BIN := $(VENV)/bin
DEMO := $(BIN)/splitpriv run -m +setting=demo hydra/launcher=joblib

export SPLITPRIV_OUTPUTS ?= outputs
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup board demo test test-slow lint types check faults bench docs wheel clean

help:  ## show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.ready  ## create .venv and install splitpriv with its development tools

$(VENV)/.ready: pyproject.toml constraints/cpu.txt
	@echo "setting up $(VENV): a few minutes, once"
	@$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(CONSTRAINTS) --editable '.[dev]'
	touch $@

demo: $(VENV)/.ready  ## compare four defences on the shipped images: a table and a picture, in minutes
	$(DEMO) 'defense=[none],[noise],[nopeek],[cem,noise]'
	$(BIN)/splitpriv rows --where setting=demo
	$(BIN)/splitpriv curve --where setting=demo --out $(SPLITPRIV_OUTPUTS)/demo.png

test: $(VENV)/.ready  ## run the test suite
	$(BIN)/python -m pytest -n 3 --dist worksteal

test-slow: $(VENV)/.ready  ## run the tests that take longer, too
	$(BIN)/python -m pytest -n 3 --dist worksteal -m "slow or not slow"

faults: $(VENV)/.ready  ## kill, stop, damage, fill and lock a store; MINUTES=2 takes a sample
	$(BIN)/python scripts/faults.py $(if $(MINUTES),--minutes $(MINUTES))

lint: $(VENV)/.ready  ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.ready  ## check types
	$(BIN)/mypy

check: lint types test  ## everything a commit must pass

bench: $(VENV)/.ready  ## measure what it costs against its limits; NAMES='step inputs' takes some
	$(BIN)/python -m benchmarks $(NAMES)

board: $(VENV)/.ready  ## build the board's site into site-board/ from the committed rows
	$(BIN)/splitpriv board build site-board --rows results/board/*.jsonl

docs: $(VENV)/.ready  ## build the documentation into site/, strictly: no dead link, nothing fetched from elsewhere
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

wheel: $(VENV)/.ready  ## build the wheel into dist/
	$(BIN)/python -m build --wheel

clean:  ## remove the environment and build products; results stay
	rm -rf $(VENV) site-board dist build .mypy_cache .ruff_cache .pytest_cache
