# `make run` sets everything up and starts core0 in the foreground; `make test` tests it.
# All that is installed goes into .venv, all that core0 keeps into var, both below this folder.

SHELL := /bin/bash
ROOT := $(CURDIR)
VENV := $(ROOT)/.venv
BIN := $(VENV)/bin
VAR := $(ROOT)/var
SOCKET := $(VAR)/run/redis/sock/redis.sock
# Debian's own Python first: a user's may lie where other users, and so jobs of theirs, cannot read it
PYTHON ?= $(firstword $(wildcard /usr/bin/python3.11 /usr/bin/python3.12 /usr/bin/python3.13) python3)
STAMP := $(VENV)/.installed-$(shell cat setup.py constraints.txt Makefile 2>/dev/null | sha256sum | cut -c1-16)
APT := redis-tools iproute2 procps
# for containers: two runtimes, since the faster one refuses some hosts; their first process; what builds a first root
APT += crun runc catatonit libseccomp2 util-linux busybox-static
# for networks: ports of the host and address translation; addresses and names on bridges
APT += nftables dnsmasq-base
# for tests alone: programs that attack from inside a container, an image with another C library, archives of all kinds,
# and what answers are compared with
APT_TEST := gcc libc6-dev musl-tools xz-utils zstd systemd
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: run test lint docs bench setup clean

setup: $(STAMP)

$(STAMP):
	@$(ROOT)/etc/install-packages $(APT)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV)"
	@$(BIN)/pip install --quiet --upgrade pip setuptools wheel -c constraints.txt
	@$(BIN)/pip install --quiet --no-build-isolation -c constraints.txt \
		--config-settings editable_mode=compat -e '.[cli,test,lint,docs]'
	@rm -f $(VENV)/.installed-* && touch $@

run: setup
	@mkdir -p -m 700 $(VAR) && printf '[core]\nstate_dir = "%s"\nrun_dir = "%s"\n' $(VAR)/state $(VAR)/run > $(VAR)/core0.toml
	@if [ -e $(VAR)/state/core0.lock ] && ! flock -n $(VAR)/state/core0.lock true; then \
		echo "core0 runs here already: $$(cat $(VAR)/state/core0.lock)"; exit 1; fi
	@printf '%s\n' "core0 will listen at $(SOCKET)" \
		"once it says that it takes commands, try in a second terminal:" "" \
		"  $(BIN)/corectl --socket $(SOCKET) run -- ls -l /" "" \
		"  redis-cli -s $(SOCKET) rpush core:default '{\"id\": \"first\", \"command\": \"core.ping\"}'" \
		"  redis-cli -s $(SOCKET) brpoplpush result:first result:first 10" "" \
		"for a first container, see README.rst; Ctrl-C stops core0."
	@cd $(VAR) && exec $(BIN)/twistd -n --pidfile= core0 --config $(VAR)/core0.toml

test: setup
	@$(ROOT)/etc/install-packages $(APT_TEST)
	@# most of them wait most of the time
	@$(BIN)/python -m pytest -n 4 --dist loadfile

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

docs: setup
	@$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

bench: setup
	@$(BIN)/python -m bench

clean:
	rm -rf $(VENV) docs/_build build *.egg-info .mypy_cache .ruff_cache .hypothesis
