# `make run` and `make test` work on a fresh clone: each first makes .venv hold what it needs.
# ARGS is passed on: make run ARGS="--speed 1", make test ARGS=tests/nodes.

BIN := .venv/bin

# Tests run in one process more than there are processors, as they wait for others now and then; each file in one:
# make test PROCESSES=0 for a debugger.
PROCESSES ?= $(shell $(BIN)/python -c 'import os; print((os.cpu_count() or 1) + 1)')

.PHONY: help run test check format soak constraints vendor clean

help:
	@echo "make run          a simulated session, decoded volume by volume (ARGS go to rtflow run)"
	@echo "make test         every check and every test (ARGS go to pytest)"
	@echo "make check        the checks without the tests: ruff, mypy, import-linter"
	@echo "make format       put the code into the house's format"
	@echo "make soak         the longest tests, sessions, replays and drawn examples on end, by other seeds, for SECONDS=600"
	@echo "make constraints  pin anew what pip finds, on Python 3.11, 3.12 and 3.13"
	@echo "make vendor       fetch from npm what pages bring along (jsPsych, niivue); what it fetches is committed"
	@echo "make clean        remove environments, caches and builds; recorded runs stay"

run:
	@.ci/environment run
	@$(BIN)/rtflow run workflows/template.py $(ARGS)

test: check
	@.ci/tests -n $(PROCESSES) --dist loadfile $(ARGS)

check:
	@.ci/environment test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format:
	@.ci/environment test
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

soak:
	@.ci/environment test
	@SECONDS_TO_SOAK=$(or $(SECONDS),600) .venv/bin/python .ci/soak

constraints:
	.ci/constraints $(PYTHONS) >constraints.txt.part
	mv constraints.txt.part constraints.txt

vendor:
	.ci/vendor

clean:
	rm -rf .venv .venv-snakemake build dist rtflow.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
