# `make` alone lists the verbs. Nothing needs to be installed before but Python 3.11+ and a C++ compiler.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARCH ?= host_w32
JOBS ?= $(shell nproc)
READY := $(VENV)/.ready
CHECK_READY := $(VENV)/.check-ready

.PHONY: help setup demo test prebuild bench check format toolchain-hip clean
help: ## list the verbs
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

setup: $(READY) ## a virtual environment in .venv with this package; an installed torch is left alone
$(READY): pyproject.toml scripts/setup
	scripts/setup "$(PYTHON)" "$(VENV)" && touch $@
$(CHECK_READY): $(READY)
	$(BIN)/pip install -q -e '.[check]' && touch $@

demo: $(READY) ## replay a real serving trace through the engine and check every compressed row
	$(BIN)/python -m wavejit demo

test: $(READY) ## the tests, in parallel
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

prebuild: $(READY) ## compile every kernel for ARCH (or ARCH=all) into the cache; needs no GPU
	$(BIN)/python -m wavejit prebuild --arch $(ARCH)

bench: $(READY) ## time the kernels on this machine's GPU (benchmarks/README.md)
	$(BIN)/python benchmarks/run.py $(ARGS)

check: $(CHECK_READY) ## linter, formatters and types
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && scripts/format-cpp $(BIN)/clang-format --check

format: $(CHECK_READY) ## format everything
	$(BIN)/ruff format . && $(BIN)/ruff check --fix . && scripts/format-cpp $(BIN)/clang-format

toolchain-hip: ## install clang for AMD's targets from Debian's packages, where no HIP compiler is
	scripts/toolchain-hip

clean: ## remove the virtual environment
	rm -rf $(VENV)
