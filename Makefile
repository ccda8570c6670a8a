# The two commands that matter are `make demo` and `make test`. Both install what they need and leave nothing running.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/pytest
# whatever this runs leaves nothing behind, however it ends
CONTAINED := $(PYTHON) -m tests.contained
# into an empty cache, while the first tests run
FETCH := $(BIN)/python -m tests.servers.fetch >/dev/null 2>&1
CACHE := $(or $(ENV_SYNC_TEST_CACHE),$(HOME)/.cache/env_sync-tests)
BENCH ?= postgresql mysql files deploy

.PHONY: help demo test test-unit test-integration lint bench build venv clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1	\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: ## the main job before your eyes: production pushed, staging pulled, sanitised (STORE=directory or s3)
	@tests/install demo
	@$(MAKE) -s venv
	@$(CONTAINED) $(BIN)/python -m demo.run

test: ## everything: checks, unit tests, integration tests on real servers
	@tests/install
	@$(MAKE) -s venv
	@$(CONTAINED) sh -c '$(FETCH) & exec $(PYTEST) -n 2 --dist loadfile --basetemp "$${TMPDIR:?}/pytest" tests'

test-unit: venv ## unit tests only (two minutes)
	@$(CONTAINED) $(PYTEST) -q tests/unit

test-integration: venv ## integration tests only
	@$(CONTAINED) sh -c '$(FETCH) & exec $(PYTEST) -n 2 --dist loadfile --basetemp "$${TMPDIR:?}/pytest" tests/integration'

lint: venv ## ruff, mypy, sanity, ansible-lint, documentation, changelog, build
	@$(CONTAINED) $(PYTEST) -q tests/checks

bench: ## measure beside the tools that users would otherwise choose (BENCH=postgresql: only that)
	@tests/install
	@$(MAKE) -s venv
	@for what in $(BENCH); do $(CONTAINED) $(BIN)/python -m benchmarks.$$what || exit 1; done

build: venv ## build the collection's archive into the current directory
	@$(BIN)/ansible-galaxy collection build --force

venv: $(VENV)/.ready ## the Python environment, with the host's command in .venv/bin/govuk_env_sync

$(VENV)/.ready: tests/requirements.txt Makefile
	@echo "making $(VENV) from tests/requirements.txt (ansible-core, boto3, psycopg2, pytest and the linters)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip --quiet --disable-pip-version-check --cache-dir "$(CACHE)/pip" install --requirement tests/requirements.txt
	@printf '#!/bin/sh\nexec "%s" -I "%s" command "$$@"\n' \
		"$(CURDIR)/$(BIN)/python" "$(CURDIR)/plugins/module_utils/_engine/start.py" > $(BIN)/govuk_env_sync
	@chmod 755 $(BIN)/govuk_env_sync
	@touch $@

clean: ## remove what the targets above made in the checkout
	@rm -rf $(VENV) .cache tests/output govuk-env_sync-*.tar.gz
