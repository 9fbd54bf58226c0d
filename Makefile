# The two commands: `make demo` and `make test`. Both set up .venv by themselves; nothing else is needed but Python 3.11+.

PYTHON ?= python3
BIN := .venv/bin
JOBS ?= 2
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: demo test pytest check lint types layers bench clean

demo: .venv/run.stamp  ## train, answer, judge, store, gate and report the clinic suite, end to end
	@$(BIN)/muster run suites/clinic/suite.yaml --report muster-report.html; status=$$?; \
	case $$status in \
	0) ;; \
	1|3) echo; echo "The demo is done. Status $$status is the gate's answer to candidates that were made to fail; CI would stop here.";; \
	*) exit $$status;; \
	esac

test: .venv/dev.stamp  ## everything CI runs: lint, types, layer contracts and all tests; types beside the first tests
	@$(MAKE) --no-print-directory --jobs 2 lint types layers pytest

pytest: .venv/dev.stamp
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder

check: lint types layers

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/dev.stamp
	$(BIN)/mypy

layers: .venv/dev.stamp
	$(BIN)/lint-imports

bench: .venv/dev.stamp  ## the benchmark scripts, one after the other; they print ratios and never fail
	@for script in tests/benchmarks/*.py; do name=$$(basename $$script .py); echo "== $$name"; $(BIN)/python -m tests.benchmarks.$$name; done

clean:
	rm -rf .venv .muster muster-report.html build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv/run.stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	@touch $@

.venv/dev.stamp: .venv/run.stamp
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@
