# Every target sets up what it needs first. `make` alone lists them.

.DEFAULT_GOAL := help
SHELL := /bin/bash
JOBS ?= 2
BOARDS ?= ulx3s ecpix5 butterstick versa-ecp5 tang-nano-20k

# LiteX calls meson, ninja and make by name.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# The make that LiteX calls for the firmware cannot reach this one's job server.
unexport MAKEFLAGS MFLAGS MAKELEVEL

PYTEST := pytest -q -n $(JOBS) --dist loadgroup --no-loadscope-reorder

.PHONY: help setup demo test test-long lint unit gateware netlist soc-test ooc boards bench bench-sim demo-model clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: ## Install the Debian and Python packages (does nothing when that is done)
	@scripts/setup.sh

demo: setup ## Stream text from the engine in simulation (sets up everything first)
	@jalhost generate

test: lint ## Check style, types and layers, then run all tests but those that take minutes each
	@$(PYTEST) -m "not long"

test-long: setup ## Run the tests that take minutes each: the netlist, large models, whole contexts
	@$(PYTEST) -m long

lint: setup ## Check style (ruff), types (mypy) and layers (import-linter)
	@ruff check
	@ruff format --check
	@mypy
	@lint-imports --no-logo

unit: setup ## Run the tests of the host, of the contract and of the house rules
	@$(PYTEST) tests/unit tests/style

gateware: setup ## Run the tests of the gateware units against the golden model
	@$(PYTEST) tests/gateware

netlist: setup ## Synthesise a small engine and simulate the netlist against the golden model
	@$(PYTEST) tests/gateware/test_netlist.py tests/unit/jaltest/test_ecp5_cells.py

soc-test: setup ## Run the tests of the firmware and of the whole system in simulation
	@$(PYTEST) tests/soc

ooc: setup ## Place and route the engine for ECP5 and report area and clock
	@python -m jalsoc.ooc

boards: setup ## Build all boards of tier 1, and their figures into docs/boards.md (BOARDS=...)
	@mkdir -p build
	@for board in $(BOARDS); do jalhost build $$board -o build/$$board.jalb && \
		python -m jalboards.page build/$$board.jalb || exit; done

bench: setup ## Measure tokens per second in simulation into docs/benchmarks.md (IMAGES=..., BASELINE='CHECKPOINT TOKENIZER')
	@python -m tools.benchmarks $(IMAGES) $(if $(BASELINE),--baseline $(BASELINE))

bench-sim: setup ## Compare the simulator's speed with LiteX's own runtime
	@python -m jalsoc.bench_sim

demo-model: setup ## Train the demo model again (installs PyTorch first)
	@python -c 'import tokenizers, torch' 2>/dev/null || \
		python -m pip install --constraint constraints.txt --editable '.[train]'
	@python -m tools.demo_model.train

clean: ## Remove what builds, tests and set-up left behind
	@rm -rf build dist .venv .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
