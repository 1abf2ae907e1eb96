# Targets do the set-up they need; a second run does nothing that is done already.
#   PYTHON=python3.12 make setup     another interpreter (3.11 or newer)
#   SCENARIO=medium DURATION=300 make demo
SHELL := /bin/bash
# the first that runs: a version manager's shim may be there without the version behind it
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
APT := $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends
SCENARIO ?= small
DURATION ?= 120
PYTEST := $(BIN)/python -m pytest
# Debian package and the file by which it is known to be there
SYSTEM := mininet=/usr/bin/mnexec openvswitch-switch=/usr/sbin/ovs-vswitchd docker.io=/usr/bin/docker \
	gcc=/usr/bin/gcc libc6-dev=/usr/include/stdio.h libsodium-dev=/usr/include/sodium.h make=/usr/bin/make iproute2=/usr/sbin/ip \
	ethtool=/usr/sbin/ethtool iputils-ping=/usr/bin/ping
# the same for what only tests need
TEST_SYSTEM := prometheus=/usr/bin/promtool openssh-server=/usr/sbin/sshd openssl=/usr/bin/openssl \
	chromium=/usr/bin/chromium chromium-driver=/usr/bin/chromedriver
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast test-root lint docs format bench clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.system $(VENV)/.installed ## system packages where missing, and .venv with everything

demo: setup ## the live demonstration, about two minutes: table at the end, report in ./report
	$(SUDO) $(BIN)/vnftwin run $(SCENARIO) --duration $(DURATION) --report report

test: setup $(VENV)/.test-system ## all tests, the quick ones first (those that need root are skipped without it)
	$(PYTEST) -n auto tests/unit tests/property
	$(SUDO) $(PYTEST) tests/contract
	$(PYTEST) tests/learning
	$(PYTEST) tests/page
	$(SUDO) $(PYTEST) tests/e2e

test-fast: $(VENV)/.installed ## only the tests that take seconds and no root
	$(PYTEST) -n auto tests/unit tests/property -m 'not slow and not root and not learning'

lint: $(VENV)/.installed ## style, types, import arrows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.installed ## the documentation as a site in build/site, warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

format: $(VENV)/.installed ## let ruff rewrite
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup $(VENV)/.test-system ## policies compared on held-out seeds, and the figures of the live run
	$(BIN)/vnftwin evaluate small medium abilene --seeds 10 --json bench.json
	$(BIN)/python -m tests.bench.page

clean: ## removes what setup and tests made here (not the system packages)
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	@[ -n "$(PYTHON)" ] || { echo "no Python 3.11, 3.12 or 3.13 found: name one with PYTHON=..." >&2; exit 2; }
	$(PYTHON) -c 'import ensurepip, venv' || $(APT) python3-venv
	$(PYTHON) -m venv $(VENV)

# ryu builds only with an old setuptools, which build-constraints.txt names and pip 25.3 understands.
$(VENV)/.installed: setup.cfg setup.py pyproject.toml build-constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install -q --upgrade 'pip>=25.3'
	$(BIN)/python -m pip install -q --build-constraint build-constraints.txt -e '.[test,lint,docs]'
	$(BIN)/vnftwin run small --dry-run --duration 8 >/dev/null  # compiles the simulator once, so that no run waits for it
	touch $@

# Debian's packages start their services when installed. Ours run in a namespace of their own, so none has to be started
# here: while apt runs, a policy-rc.d (if there is none) says so, and services that run already are left alone.
define install_missing
@missing=; for entry in $(1); do [ -e "$${entry#*=}" ] || missing="$$missing $${entry%%=*}"; done; \
	[ -z "$$missing" ] || { \
		command -v apt-get >/dev/null || { echo "no apt-get here: please install$$missing" >&2; exit 2; }; \
		echo "installing$$missing"; policy=/usr/sbin/policy-rc.d; \
		if [ ! -e $$policy ]; then \
			trap '$(SUDO) rm -f /usr/sbin/policy-rc.d' EXIT; \
			printf '#!/bin/sh\nexit 101\n' | $(SUDO) tee $$policy >/dev/null; $(SUDO) chmod 755 $$policy; \
		fi; \
		$(SUDO) apt-get update -q && $(APT) $$missing; }
touch $@
endef

$(VENV)/.system: Makefile | $(VENV)/bin/python
	$(call install_missing,$(SYSTEM))

$(VENV)/.test-system: Makefile | $(VENV)/bin/python
	$(call install_missing,$(TEST_SYSTEM))
