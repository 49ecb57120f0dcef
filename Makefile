# The everyday commands; `make help` lists them. Needs Python 3.11 or newer and make, nothing else.

PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$python" && break; done)
HOST ?= 127.0.0.1
PORT ?= 8000
WORKERS ?= 1

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check
# Wheels alone: nothing is compiled, and nothing but what is locked is run while installing.
INSTALL_LOCKED := $(PIP) install --require-hashes --only-binary :all: --requirement
INSTALL_PROJECT := $(PIP) install --no-deps --no-build-isolation --editable .

# Written by npm when it has installed everything.
NODE_CLIENTS := tests/interop/node/node_modules/.package-lock.json

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' Makefile

.PHONY: setup
setup: $(VENV)/.dev ## make .venv with everything that serving, testing and checking needs

.PHONY: serve
serve: $(VENV)/.server ## run the service for development (PORT=8000 HOST=127.0.0.1 WORKERS=1)
	@KEYTURN_SECURE_COOKIES=$${KEYTURN_SECURE_COOKIES-false} exec $(BIN)/keyturn serve \
		--host $(HOST) --port $(PORT) --workers $(WORKERS)

.PHONY: migrate
migrate: $(VENV)/.server ## bring the database to the newest schema
	@$(BIN)/keyturn migrate

.PHONY: test
test: check ## check, then run every test; those of Node's clients where npm can install them
	@$(MAKE) --silent $(NODE_CLIENTS) 2> /dev/null || \
		echo "Left out, for want of npm or its registry: the clients of tests/interop/node"
	KEYTURN_TEST_DEPTH=$${KEYTURN_TEST_DEPTH-6} $(BIN)/python -m pytest

# Nothing but the plugin that runs `async def`, and what was compiled is kept for the next time.
.PHONY: test-core
test-core: $(VENV)/.dev ## run the tests of the domain and the use-cases, in about a second
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --quiet --disable-plugin-autoload \
		-p pytest_asyncio.plugin tests/domain tests/use_cases

.PHONY: enforcement
enforcement: $(VENV)/.dev ## take out what the standards table names, and see the tests fail (2 minutes)
	@$(BIN)/python -m tests.attacks.enforcement

.PHONY: interop
interop: $(VENV)/.dev $(NODE_CLIENTS) ## run clients that others wrote, Python's and Node's (needs npm)
	$(BIN)/python -m pytest tests/interop

.PHONY: check
check: $(VENV)/.dev ## lint, formatting, types and the import rule
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: wheel
wheel: $(VENV)/.dev ## build the wheel into dist/
	@$(PIP) wheel --no-deps --no-build-isolation --wheel-dir dist .

.PHONY: bench
bench: $(VENV)/.bench ## measure beside peers and limits, and draw it: docs/benchmarks (40 minutes)
	@$(BIN)/python -m benchmarks.run; status=$$?; [ $$status -lt 2 ] || exit $$status; \
		$(BIN)/python -m benchmarks.profile && exit $$status

.PHONY: bench-quick
bench-quick: $(VENV)/.bench ## measure beside the limits and one peer, in two minutes
	@$(BIN)/python -m benchmarks.run --quick

.PHONY: bench-lock
bench-lock: $(BIN)/uv ## write the locks of the benchmarks' peers anew (needs the network and npm)
	@for file in benchmarks/peers/*/requirements.in; do \
		$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
			--generate-hashes --no-emit-index-url --no-emit-find-links \
			--custom-compile-command "make bench-lock" \
			--output-file "$${file%.in}.txt" "$$file" || exit 1; \
	done
	@for folder in benchmarks/peers/*/package.json; do \
		cd "$${folder%/*}" && npm install --package-lock-only --ignore-scripts --no-audit \
			--no-fund --omit-lockfile-registry-resolved && cd "$(CURDIR)" || exit 1; \
	done

.PHONY: lock
lock: $(BIN)/uv ## write requirements/ anew from pyproject.toml (needs the network)
	@mkdir -p requirements
	@for set in server:build dev:dev bench:bench; do \
		$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-emit-index-url \
			--custom-compile-command "make lock" --extra server --group "$${set#*:}" \
			--output-file "requirements/$${set%%:*}.txt" pyproject.toml || exit 1; \
	done

$(VENV)/pyvenv.cfg:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); exit 1; }

$(BIN)/uv: $(VENV)/pyvenv.cfg
	@$(PIP) install 'uv>=0.9'
	@touch $@

# Each stamp is younger than what was installed from; a second run installs nothing.
$(VENV)/.server: requirements/server.txt pyproject.toml $(VENV)/pyvenv.cfg
	@echo "Installing what serving needs"
	@$(INSTALL_LOCKED) requirements/server.txt
	@$(INSTALL_PROJECT)
	@touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml $(VENV)/pyvenv.cfg
	@echo "Installing what serving, testing and checking need"
	@$(INSTALL_LOCKED) requirements/dev.txt
	@$(INSTALL_PROJECT)
	@touch $(VENV)/.server $@

$(VENV)/.bench: requirements/bench.txt pyproject.toml $(VENV)/pyvenv.cfg
	@echo "Installing what measuring needs"
	@$(INSTALL_LOCKED) requirements/bench.txt
	@$(INSTALL_PROJECT)
	@touch $(VENV)/.server $@

# What is locked, and none of its scripts is run. Without a registry in reach it gives up soon.
$(NODE_CLIENTS): tests/interop/node/package-lock.json
	@command -v npm > /dev/null || { echo "npm is not installed" >&2; exit 1; }
	@echo "Installing the clients of tests/interop/node"
	@cd tests/interop/node && npm ci --ignore-scripts --prefer-offline --no-audit --no-fund \
		--silent --fetch-retries=0 --fetch-timeout=10000 || { echo "npm ci failed" >&2; exit 1; }
	@touch $@
