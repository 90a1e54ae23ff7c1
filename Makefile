# `make demo` and `make test` do all set-up themselves: they need python3 (3.11 or newer) and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

# The ends of the versions that are promised: the oldest Python here with the lower bounds of pyproject.toml, and the
# newest Python here with the newest of everything.
python = $(firstword $(foreach n,$(1),$(shell python3.$(n) -c 'import ensurepip, sys; print(sys.executable)' 2>/dev/null)) $(PYTHON))
OLDEST ?= $(call python,11 12 13)
NEWEST ?= $(call python,20 19 18 17 16 15 14 13 12)
# What runs at both ends: everything that torch, timm or the Hub's client could break.
BOTH_ENDS := tests/layers tests/pretrained tests/models tests/hub tests/interop tests/test_hubconf.py \
	$(addprefix convrnn_zoo/,layers pretrained models hub interop)
# What of that runs at the newest end before every change lands: the files that say most in three minutes.
SELECTION := tests/test_hubconf.py \
	$(addprefix tests/layers/test_,ancestor.py autocast.py equations.py in_place.py lifetime.py memory.py module_contract.py no_sync.py) \
	$(addprefix tests/layers/test_,precision.py same_as_reference.py sequence_interface.py transforms.py) \
	tests/pretrained/test_loading.py tests/models/base/test_sequences.py tests/models/test_convrnn.py $(addprefix tests/hub/test_,cards.py push.py)

.PHONY: demo test test-all test-versions test-oldest test-newest test-newest-selection install-newest test-timm lint docs site pictures train bench clean

demo: $(VENV)/.installed-demo
	$(BIN)/convrnn-zoo demo

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n auto

test-all: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n auto -m "slow or not slow"

test-versions: test-oldest test-newest

test-oldest: $(VENV)-oldest/.installed
	$(VENV)-oldest/bin/python -m pytest -n auto $(BOTH_ENDS)

test-newest: install-newest
	$(VENV)-newest/bin/python -m pytest -n auto $(BOTH_ENDS)

test-newest-selection: install-newest
	$(VENV)-newest/bin/python -m pytest -n auto $(SELECTION)

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
	$(BIN)/convrnn-zoo demo -o docs/pictures

train: $(VENV)/.installed-dev
	$(BIN)/convrnn-zoo train japanese_vowels --weights-dir convrnn_zoo/weights
	$(MAKE) docs

bench: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks --compile-peers --steps --profile --new-sizes --errors -o runs/bench

clean:
	rm -rf $(VENV) $(VENV)-oldest $(VENV)-newest build dist runs site *.egg-info

$(VENV)/.installed-demo: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[cli,draw,sound]'
	touch $@

$(VENV)/.installed-dev: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

$(VENV)-oldest/.installed: pyproject.toml
	$(OLDEST) -m venv --clear $(VENV)-oldest
	$(OLDEST) tools/lowest.py test > $(VENV)-oldest/constraints.txt
	$(VENV)-oldest/bin/python -m pip install --quiet --constraint $(VENV)-oldest/constraints.txt --editable '.[test]'
	touch $@

install-newest:
	@$(NEWEST) -c 'import sys; v = sys.version.split()[0]; print(f"the newest Python here is {v}" if sys.version_info >= (3, 13) \
		else f"NOTE: no python3.13 or newer is here; the newest end runs on Python {v}")'
	$(NEWEST) -m venv $(VENV)-newest
	$(VENV)-newest/bin/python -m pip install --quiet --upgrade --upgrade-strategy eager --editable '.[test]'
