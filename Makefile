# `make run` sets everything up and starts core0 in the foreground; `make test` tests it.
# All that is installed goes into .venv, all that core0 keeps into var, both below this folder.

SHELL := /bin/bash
# relative: a path with blanks cannot be a target
VENV := .venv
BIN := $(VENV)/bin
VAR := $(CURDIR)/var
SOCKET := $(VAR)/run/redis/sock/redis.sock
# Debian's own Python first: a user's may lie where other users, and so jobs of theirs, cannot read it
PYTHON ?= $(firstword $(wildcard /usr/bin/python3.11 /usr/bin/python3.12 /usr/bin/python3.13) python3)
PINNED := $(shell cat setup.py constraints.txt Makefile 2>/dev/null | sha256sum | cut -c1-16)
# what is installed besides core0: for `make run` what it takes to use it, for others their tools
EXTRAS_run := cli,examples
EXTRAS_bench := $(EXTRAS_run)
EXTRAS_docs := $(EXTRAS_run),docs
EXTRAS_test := $(EXTRAS_docs),test
EXTRAS_lint := $(EXTRAS_test),lint
APT := redis-tools iproute2 procps
# for containers: two runtimes, since the faster one refuses some hosts; their first process; what builds a first root
APT += crun runc catatonit libseccomp2 util-linux busybox-static
# for networks: ports of the host and address translation; addresses and names on bridges
APT += nftables dnsmasq-base
# for tests alone: programs that attack from inside a container, an image with another C library, archives of all kinds,
# and what answers are compared with
APT_TEST := gcc libc6-dev musl-tools xz-utils zstd systemd
# on two cores that have nothing else to do
MINUTES := 7
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: run test lint docs bench setup clean

setup: $(VENV)/.run-$(PINNED)

$(VENV)/.%-$(PINNED):
	@etc/install-packages $(APT)
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) what \`make $*\` needs"
	@$(BIN)/pip install --quiet --upgrade pip setuptools wheel -c constraints.txt
	@$(BIN)/pip install --quiet --no-build-isolation -c constraints.txt -e '.[$(EXTRAS_$*)]'
	@rm -f $(VENV)/.installed-* $(VENV)/.run-* $(VENV)/.$*-*
	@touch $@ $(VENV)/.run-$(PINNED)

run: setup
	@mkdir -p -m 700 "$(VAR)"
	@printf '[core]\nstate_dir = "%s"\nrun_dir = "%s"\n' "$(VAR)/state" "$(VAR)/run" > "$(VAR)/core0.toml"
	@if [ -e "$(VAR)/state/core0.lock" ] && ! flock -n "$(VAR)/state/core0.lock" true; then \
		echo "core0 runs here already: $$(cat "$(VAR)/state/core0.lock")"; exit 1; fi
	@printf '%s\n' "core0 will listen at $(SOCKET)" \
		"once it says that it takes commands, try in a second terminal:" "" \
		"  $(BIN)/corectl --socket $(SOCKET) run -- ls -l /" "" \
		"  redis-cli -s $(SOCKET) rpush core:default '{\"id\": \"first\", \"command\": \"core.ping\"}'" \
		"  redis-cli -s $(SOCKET) brpoplpush result:first result:first 10" "" \
		"for a first container, see README.rst; Ctrl-C stops core0."
	@# ended by Ctrl-C is a good end; the shell that waits for that may be killed, and core0 then stops in order
	@trap : INT; cd "$(VAR)" && setpriv --pdeathsig TERM "$(CURDIR)/$(BIN)/twistd" -n --pidfile= core0 \
		--config "$(VAR)/core0.toml" || test $$? -eq 130

test: $(VENV)/.test-$(PINNED)
	@etc/install-packages $(APT_TEST)
	@echo "the tests take about $(MINUTES) minutes on two idle cores, longer on a busy machine"
	@# most of them wait most of the time; the quick ones come last, so that none works alone in the end
	@$(BIN)/python -m pytest -n 6 --dist loadscope --no-loadscope-reorder --durations=10

lint: $(VENV)/.lint-$(PINNED)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

docs: $(VENV)/.docs-$(PINNED)
	@$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

bench: $(VENV)/.bench-$(PINNED)
	@$(BIN)/python -m bench

clean:
	rm -rf $(VENV) docs/_build build *.egg-info .mypy_cache .ruff_cache .hypothesis
