# Nuan (暖).  `make` or `make help` lists what there is.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory
export PYTHONUNBUFFERED := 1

VENV := .venv
BIN := $(VENV)/bin
NODE := $(BIN)/python scripts/node.py
CONSOLE := backend/console
VENDOR := $(CONSOLE)/static/vendor
H5 := miniapp/dist/build/h5
ORACLES := tests/oracles
# Directories are listed too, so that a file taken away also builds again.
H5_SOURCES := $(shell find miniapp/src miniapp/scripts miniapp/index.html miniapp/vite.config.ts \
	miniapp/tsconfig.json 2>/dev/null)

# The first Python that starts and is new enough; PYTHON=... names one.
FIND_PYTHON = found=; for python in $(PYTHON) python3 python3.13 python3.12 python3.11; do \
	if "$$python" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' \
		2>/dev/null; then found=$$python; break; fi; done; \
	[ -n "$$found" ] || { echo "Nuan needs Python 3.11 or newer with venv (found:" \
		"$$(python3 --version 2>&1 || echo none)): install it, or make PYTHON=/path/to/python" \
		>&2; exit 1; }

.PHONY: help setup h5 run test lint bench fuzz soak lock clean

help:  ## List these targets
	@echo "Nuan 暖 — make <target>"
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "  %-8s %s\n", $$1, $$2 }' Makefile

setup: $(VENV)/.packages $(VENDOR)/.copied $(H5)/.built  ## Make .venv, install the locked packages, build the pages

h5: $(H5)/.built  ## Build the residents' pages again where their sources changed

run: setup  ## Run the whole demo town; Ctrl-C stops it
	@exec $(BIN)/nuan demo

test: setup miniapp/node_modules/.installed $(ORACLES)/node_modules/.installed  ## Run every test; ends with pytest's counts
	@echo "==> mini-program unit tests"
	@$(NODE) npm --prefix miniapp test --silent
	@echo "==> Python tests"
	@$(BIN)/pytest -n 2

lint: setup miniapp/node_modules/.installed  ## Check style, types and the import rules
	@failed=; for check in "ruff check ." "ruff format --check --output-format concise ." \
		"mypy backend collectors payments" "lint-imports --no-cache"; do \
		echo "==> $$check"; $(BIN)/$$check || failed=yes; done; \
	echo "==> vue-tsc"; $(NODE) npm --prefix miniapp run --silent type-check || failed=yes; \
	[ -z "$$failed" ]

bench: setup  ## Measure speed against yardsticks in the same run
	@$(BIN)/python scripts/bench.py

fuzz: setup  ## Ten million spoilt frames through every codec; FUZZ="--frames 100000" for fewer
	@nice -n 19 $(BIN)/python scripts/fuzz.py $(FUZZ)

soak: setup  ## A million steps and 1,000 kills over money; goes on where it stopped; SOAK="--minutes 30"
	@nice -n 19 $(BIN)/python scripts/soak.py $(SOAK)

lock: $(VENV)/.packages  ## Resolve pyproject.toml again into requirements.lock
	@UV_SYSTEM_CERTS=1 $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header \
		--python-version 3.11 --extra dev pyproject.toml -o requirements.lock
	@! grep -nE 'https?://|file:' requirements.lock || { echo "the lock names a host" >&2; exit 1; }

clean:  ## Remove what setup built; var/ (the data) stays
	rm -rf $(VENV) $(VENDOR) $(CONSOLE)/assets/node_modules miniapp/node_modules \
		$(ORACLES)/node_modules miniapp/dist *.egg-info build .mypy_cache .ruff_cache \
		.pytest_cache .hypothesis

# --- what setup is made of: a stamp for each part, made again when its sources are newer --------

$(VENV)/.packages: requirements.lock pyproject.toml scripts/uv-requirements.txt scripts/packages.py
	@$(FIND_PYTHON); "$$found" scripts/packages.py
	@touch $@

# Install scripts are refused: one of these packages only has one to send telemetry.
$(VENDOR)/.copied: $(CONSOLE)/assets/package.json $(CONSOLE)/assets/package-lock.json \
		scripts/assets.py scripts/node.py | $(VENV)/.packages
	@echo "==> console front-end packages"
	@$(NODE) npm --prefix $(CONSOLE)/assets ci --ignore-scripts --silent
	@$(BIN)/python scripts/assets.py
	@touch $@

miniapp/node_modules/.installed: miniapp/package.json miniapp/package-lock.json \
		scripts/node.py | $(VENV)/.packages
	@echo "==> mini-program packages (about a minute the first time)"
	@$(NODE) npm --prefix miniapp ci --no-progress --loglevel=error
	@touch $@

# Other people's implementations of the payment channels' signatures, for the tests alone.
$(ORACLES)/node_modules/.installed: $(ORACLES)/package.json $(ORACLES)/package-lock.json \
		scripts/node.py | $(VENV)/.packages
	@echo "==> the signatures' other implementations"
	@$(NODE) npm --prefix $(ORACLES) ci --ignore-scripts --no-progress --loglevel=error
	@touch $@

$(H5)/.built: $(H5_SOURCES) | miniapp/node_modules/.installed
	@echo "==> building the H5 pages"
	@$(NODE) npm --prefix miniapp run --silent build:h5
	@touch $@
