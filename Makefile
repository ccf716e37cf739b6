# Everything a fresh machine needs, and the two commands that matter: `make search` and `make test`.
# `make setup` prepares and runs nothing; each step leaves a stamp, so a second run costs a moment.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# A C compiler for the host and for Cortex-M, the emulator, and what makes a .venv.
DEBIAN := gcc libc6-dev gcc-arm-none-eabi libnewlib-arm-none-eabi libstdc++-arm-none-eabi-newlib qemu-system-arm
# Only where no other copy is on PATH: TFLite Micro's sources come with cargo, and generated C is tested with clang, too.
DEBIAN += $(foreach tool,cargo clang,$(if $(shell command -v $(tool)),,$(tool)))
# Debian keeps the sanitizers' runtime of clang apart, under its version's name.
DEBIAN += $(shell clang -dumpversion 2>/dev/null | sed -nE 's/^([0-9]+).*/libclang-rt-\1-dev/p')
ifeq ($(shell command -v $(PYTHON)),/usr/bin/python3)
DEBIAN += python3-venv
endif

DATASET ?= digits
OUT ?= runs/$(DATASET)
# What is of use on digits, so that a short search looks for the smallest networks that reach it; ARGS may say otherwise.
USEFUL = $(if $(filter digits,$(DATASET)),--min-accuracy 97%)
# An interrupted run goes on where it stopped.
RESUME = $(if $(wildcard $(OUT)/trials.jsonl),--resume)

.PHONY: help setup search test tflm bench lint verify-results clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

setup: $(VENV)/.ready  ## Debian packages, .venv, pinned requirements

search: setup  ## the main job: digits on the emulated STM32F405 (DATASET=, OUT=, ARGS="--budget-ram 2KB ...")
	$(BIN)/python -m tfsparse.search --dataset $(DATASET) --out $(OUT) $(RESUME) $(USEFUL) $(ARGS)

tflm: setup  ## TFLite Micro, for `python -m hil.measure --runtime tflm`
	$(BIN)/python -m hil.tflm

bench: tflm  ## our runtime beside TFLite Micro: flash, RAM, instructions; seconds a measurement
	$(BIN)/python -m benchmarks.runtimes
	$(BIN)/python -m benchmarks.measurement

test: tflm lint  ## all tests, slow ones included (ARGS= goes to pytest)
	$(BIN)/python -m pytest $(ARGS)

lint: setup  ## ruff: errors and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

verify-results: setup  ## every network of results/ measured again (ARGS="--data-dir DIR")
	$(BIN)/python -m results.verify $(ARGS)

clean:  ## remove builds and caches, keep .venv and runs
	rm -rf .pio .cache build .pytest_cache .ruff_cache .hypothesis

$(VENV)/.ready: pyproject.toml constraints.txt Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is older than Python 3.11: install a newer one and run make PYTHON=python3.11" >&2; exit 2; }
	@$(MAKE) --no-print-directory debian
	@$(MAKE) --no-print-directory debian  # again: what clang needs is known once it is there
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

# Only what is missing is asked for. As root or with sudo it is installed; otherwise the one line to run is said.
.PHONY: debian
debian:
	@command -v dpkg-query >/dev/null || { \
		echo "note: this is no Debian: see to it that arm-none-eabi-gcc (with newlib), qemu-system-arm and gcc are on PATH"; exit 0; }; \
	missing=$$(for package in $(DEBIAN); do \
		dpkg-query -W -f '$${db:Status-Status}\n' $$package 2>/dev/null | grep -qx installed || echo $$package; done); \
	[ -z "$$missing" ] && exit 0; \
	install="apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$(echo $$missing)"; \
	if [ "$$(id -u)" = 0 ]; then bash -c "$$install"; \
	elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then sudo bash -c "$$install"; \
	else echo "error: Debian packages are missing; run this once as root, then make again:" >&2; echo "  $$install" >&2; exit 2; fi
