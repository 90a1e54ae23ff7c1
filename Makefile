# `make demo` and `make test` do all set-up themselves: they need python3 (3.11 or newer) and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test test-all test-timm lint docs site pictures train bench clean

demo: $(VENV)/.installed-demo
	$(BIN)/convrnn-zoo demo

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest

test-all: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m "slow or not slow"

test-timm: $(VENV)/.installed-dev
	$(BIN)/python tests/timm_contract/run.py

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.installed-dev
	$(BIN)/python -m tools.docs

site: $(VENV)/.installed-dev
	$(BIN)/mkdocs build --strict

pictures: $(VENV)/.installed-dev
	$(BIN)/convrnn-zoo demo --out docs/pictures

train: $(VENV)/.installed-dev
	$(BIN)/convrnn-zoo train japanese_vowels --into convrnn_zoo/models/weights
	$(MAKE) docs

bench: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks --compile-peers --steps --profile --new-sizes --errors --out runs/bench

clean:
	rm -rf $(VENV) build dist runs site *.egg-info

$(VENV)/.installed-demo: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[cli,draw]'
	touch $@

$(VENV)/.installed-dev: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@
