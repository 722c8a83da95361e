# make run     start trace-agent; ARGS="--config my.toml" goes along
# make test    run all tests
# make check   lint, format and types
#
# Everything is installed into .venv (and node_modules beside each package.json), once, and again when
# pyproject.toml changes. Another Python: make run PYTHON=python3.13

PYTHON ?= python3
ARGS ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
NODE_DIRS := $(patsubst %/package.json,%,$(wildcard clients/node/package.json tests/node/package.json))

.PHONY: run test check clean node-packages

run: .venv/.installed
	$(BIN)/trace-agent run $(ARGS)

test: .venv/.test node-packages
	$(BIN)/python -m pytest $(ARGS)

check: .venv/.lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

clean:
	rm -rf .venv $(NODE_DIRS:%=%/node_modules)

# A python without ensurepip (Debian packs it apart) can still borrow the pip of the system.
.venv/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "trace-agent needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 .." >&2; exit 1; }
	@$(PYTHON) -m venv .venv >/dev/null 2>&1 \
	  || { $(PYTHON) -m venv --without-pip .venv \
	       && $(PYTHON) -m pip --python $(BIN)/python --quiet install pip; } \
	  || { echo "$(PYTHON) cannot make a virtual environment with pip in it:" \
	       "install its venv module (on Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@touch $@

.venv/.installed: .venv/.made pyproject.toml
	$(PIP) install --editable .
	@touch $@

# Dependency groups (PEP 735) need pip 25.1.
.venv/.test: .venv/.installed
	$(PIP) install 'pip>=25.1'
	$(PIP) install --group test
	@touch $@

.venv/.lint: .venv/.test
	$(PIP) install --group lint
	@touch $@

node-packages: $(NODE_DIRS:%=%/node_modules/.package-lock.json)

%/node_modules/.package-lock.json: %/package.json %/package-lock.json
	@if command -v npm >/dev/null; then \
	  echo "npm ci in $*"; (cd $* && npm ci --no-audit --no-fund --no-update-notifier --loglevel=error) && mkdir -p $(@D) && touch $@; \
	else \
	  echo "npm is not installed: tests of clients written for Node (20 or newer) will be skipped" >&2; \
	fi
