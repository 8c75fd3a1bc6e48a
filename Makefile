# Two commands on a fresh machine: `make serve` and `make test`.

PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help serve test test-train check models docs demo screenshots format clean

help: ## Show what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

serve: .venv/base models ## Set everything up and serve API and dashboard on http://127.0.0.1:8000/
	$(BIN)/palisade serve --local

test: .venv/dev models ## Set everything up and run all tests
	$(BIN)/python -m pytest -n auto --dist loadfile $(ARGS)

test-train: .venv/train models ## Install the extra for training (6.5 GB), and run the tests of training and of the generator
	$(BIN)/python -m pytest $(ARGS) tests/generator tests/detectors/training

check: .venv/dev ## Lint, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_imports.py

models: .venv/base ## Pull the models that are missing
	$(BIN)/palisade models pull

docs: .venv/dev ## Write the reference pages that are made from the code
	$(BIN)/python -m tests.reference --write

demo: .venv/dev models ## Show one takedown, from the public form to the report
	$(BIN)/python -m tests.demo

screenshots: .venv/dev models ## Picture every page of a demo, light and dark, into screenshots/ (needs Chromium)
	$(BIN)/python -m tests.screenshots screenshots

format: .venv/dev ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## Delete what `make` made here (not the data folder)
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

# The environment is made anew when pyproject.toml changes; a failed install leaves no mark and is tried again.
.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("Palisade needs Python 3.11 or newer, not " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv

.venv/base: .venv/bin/python pyproject.toml
	$(BIN)/pip install --quiet --editable .
	@touch $@

.venv/train: .venv/dev
	$(BIN)/pip install --quiet --editable '.[dev,train]'
	@touch $@

.venv/dev: .venv/base
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@
