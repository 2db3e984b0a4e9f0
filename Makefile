# `make demo` shows it, `make test` runs what CI runs. Neither needs anything but Python and make.

VENV := .venv
BIN := $(VENV)/bin
DEMO_EXTRAS := demo
TEST_EXTRAS := test
BENCH_EXTRAS := test,bench

.DEFAULT_GOAL := help
.PHONY: help demo test bench lint model

help: ## this list
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

demo: $(VENV)/.demo ## the whole system on this machine, in a minute: make demo ARGS='--videos 4 --keep'
	@$(BIN)/jamak demo $(ARGS)

test: lint $(VENV)/.programs ## all that CI runs, three test files at a time; one alone: make test ARGS=tests/test_x.py
	$(BIN)/pytest -n 3 --dist loadfile $(ARGS)

bench: $(VENV)/.bench ## what we claim, each shortly; one in full: make bench ARGS='dispatch --json'
	@$(BIN)/python -m benchmarks $(or $(ARGS),--quick)

model: $(VENV)/.demo ## the demo's tiny models again, from nothing, and their cards: an hour
	@$(BIN)/python -m infra.demo.recipe --out infra/demo/models
	@$(BIN)/python -m infra.demo.card

lint: $(VENV)/.test ## style, types and who imports whom
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# Installed again when one of the files that say what to install has changed. Nothing is ever taken
# out of the environment, so what demo needs stays when test is installed, and the other way round.
define install
	@echo "installing jamak[$(1)] into $(VENV), once:"
	@$(BIN)/python infra/install.py '$(1)'
endef

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	$(call install,$(DEMO_EXTRAS))
	@touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(BIN)/python
	$(call install,$(TEST_EXTRAS))
	@touch $@ $(VENV)/.demo

# Programs that pip does not have. Where they cannot be had this says so, and their tests
# skip, or fail in CI; the next `make test` tries again.
$(VENV)/.programs: infra/debian.py | $(VENV)/.test
	@if $(BIN)/python -m infra.debian; then touch $@; fi

$(VENV)/.bench: pyproject.toml constraints.txt | $(BIN)/python
	$(call install,$(BENCH_EXTRAS))
	@touch $@ $(VENV)/.test $(VENV)/.demo

$(BIN)/python:
	@for python in python3.11 python3.12 python3.13 python3; do \
		if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			exec $$python -m venv $(VENV); \
		fi; \
	done; \
	echo "no Python 3.11 or newer is on PATH: install one" >&2; exit 1
