# Every target works from a fresh clone: what it needs is installed first, into .venv/, and nowhere else.
# GNU make 3.81 and a POSIX shell are enough.
.POSIX:
.SUFFIXES:
.DEFAULT_GOAL := help
SHELL := /bin/sh

BIN := .venv/bin
# Most of an end-to-end test is the AWS provider waiting, so more tests than cores run side by side; those of a file
# share a platform that takes a minute to bring up, so they stay together.
WORKERS ?= 4
# `make test TESTS=tests/state` or TESTS='-m "not slow"' runs a part; ARGS goes to `make bench`, `make demo` and `make lint`.
TESTS ?=
MINUTES ?= 20
ARGS ?=
# Asked for on the command line alone: a person's environment may have variables of these names for other things.
DATA =
CONFIG =
export DATA CONFIG

# Prints the first interpreter that can carry Mayfly: Python 3.11 to 3.13 with venv and pip.
FIND_PYTHON = for python in $(PYTHON) $(BIN)/python python3 python3.13 python3.12 python3.11 /usr/bin/python3; do \
	"$$python" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
		>/dev/null 2>&1 && { printf '%s' "$$python"; break; }; done
SET_UP = python=$$($(FIND_PYTHON)) || :; \
	if [ -z "$$python" ]; then \
		echo "Mayfly needs Python 3.11, 3.12 or 3.13 with its venv module, and found none on PATH." >&2; \
		echo "Install one (Debian, Ubuntu: apt install python3 python3-venv), or say which: make PYTHON=/path/to/python3.12 …" >&2; \
		exit 9; \
	fi; \
	"$$python" locks/install.py

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

.PHONY: setup
setup: ## install what `mayfly` needs into .venv/
	@$(SET_UP) runtime

.PHONY: setup-dev
setup-dev: ## install what tests, lint and docs need, too
	@$(SET_UP) dev

.PHONY: setup-old
setup-old: ## fetch what instances with Python 3.8 or 3.9 need, where set-up could not
	@$(SET_UP) agent

.PHONY: demo
demo: setup ## run one job end to end on this machine [DATA=my.npy CONFIG=my.yaml]
	@$(BIN)/mayfly demo $${DATA:+--data "$$DATA"} $${CONFIG:+--config "$$CONFIG"} $(ARGS)

.PHONY: test
test: setup-dev ## run all tests [TESTS=tests/state]; tells which lines none of them reaches
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations=12 --cov --cov-report=term:skip-covered $(TESTS)

.PHONY: soak
soak: setup-dev ## kill a platform for MINUTES=20, at every point and at random; prints its counts
	@$(BIN)/python -m tests.crash.soak --minutes $(MINUTES)

.PHONY: lint
lint: setup-dev ## style, types, layers, and Terraform's own checks of every module
	@$(BIN)/python .ci/lint.py $(ARGS)

.PHONY: audit
audit: setup-dev ## checkov and parliament over all that is generated, in a venv of their own
	@$(BIN)/python .ci/audit.py

.PHONY: docs
docs: setup-dev ## write the pages that are generated from the code
	@$(BIN)/python docs/generate.py

.PHONY: docs-check
docs-check: setup-dev ## links resolve, commands exist, generated pages are current
	@$(BIN)/python docs/generate.py --check
	@$(BIN)/python -m pytest -q tests/test_docs.py

.PHONY: bench
bench: setup-dev ## measure; see docs/benchmarks.md
	@$(BIN)/python bench/run.py $(ARGS)

.PHONY: lock
lock: setup-dev ## resolve locks/*.txt anew for every supported Python
	@$(BIN)/python locks/resolve.py

.PHONY: clean
clean: ## remove what runs made: .mayfly/ and build/ (refuses while something runs there)
	@python=$$($(FIND_PYTHON)) || :; "$${python:-python3}" .ci/clean.py

.PHONY: distclean
distclean: clean ## remove .venv/ and caches, too
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage .coverage.*
