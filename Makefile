# `make demo` and `make test` do all set-up themselves: they need python3 (3.11 or newer) and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RELEASE := $(VENV)-release
SBOM := $(VENV)-sbom

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
	$(addprefix tests/layers/test_,ancestor.py equations.py in_place.py lifetime.py memory.py module_contract.py) \
	$(addprefix tests/layers/test_,precision.py same_as_reference.py sequence_interface.py transforms.py) \
	tests/pretrained/test_loading.py tests/models/base/test_lengths.py tests/models/test_convrnn.py $(addprefix tests/hub/test_,cards.py push.py)

# Every process of the tests imports the package and the tests, which are compiled once.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-all test-device test-versions test-oldest test-newest test-newest-selection install-newest test-nightly test-timm lint docs \
	site site-version browser pictures bench coverage dist release-check rehearse secrets audit sbom fuzz mutants clean

demo: $(VENV)/.installed-demo
	$(BIN)/convrnn-zoo demo

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n auto

test-all: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n auto -m "slow or not slow"

# The same work on an accelerator as on the host: cuda, mps or xpu, or sim, which is simulated.
DEVICE ?= cpu
test-device: $(VENV)/.installed-dev
	CONVRNN_ZOO_TEST_DEVICE=$(DEVICE) $(BIN)/python -m pytest -m "slow or not slow" tests/device tests/train/test_parallel.py

# The default tests, with the lines that they run: a summary, and pages in build/coverage.
coverage: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n auto --cov=convrnn_zoo --cov-report=term:skip-covered --cov-report=html:build/coverage \
		--cov-report=xml:build/coverage.xml

test-versions: test-oldest test-newest

test-oldest: $(VENV)-oldest/.installed
	$(VENV)-oldest/bin/python -m pytest -n auto $(BOTH_ENDS)

test-newest: install-newest
	$(VENV)-newest/bin/python -m pytest -n auto $(BOTH_ENDS)

test-newest-selection: install-newest
	$(VENV)-newest/bin/python -m pytest -n auto $(SELECTION)

# The same with the versions that are being developed. Needs the network and, for git, the addresses of the projects.
NIGHTLY ?= https://download.pytorch.org/whl/nightly/cpu
test-nightly:
	$(NEWEST) -m venv --clear $(VENV)-nightly
	$(VENV)-nightly/bin/python -m pip install --quiet --pre torch torchvision --index-url $(NIGHTLY)
	$(VENV)-nightly/bin/python -m pip install --quiet --pre --editable '.[test]' \
		'timm @ git+https://github.com/huggingface/pytorch-image-models' \
		'huggingface-hub @ git+https://github.com/huggingface/huggingface_hub'
	$(VENV)-nightly/bin/python -m pytest -n auto $(BOTH_ENDS)

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

# The networks and the runtime of the page that forecasts in the browser. Needs npm and the network, and takes minutes.
browser: $(VENV)/.installed-dev
	$(BIN)/python -m tools.browser

# The pages as one version of the site, on the branch gh-pages, which is not pushed: VERSION=0.1 ALIAS=latest, or dev.
VERSION ?= dev
ALIAS ?=
site-version: export PATH := $(abspath $(BIN)):$(PATH)
site-version: $(VENV)/.installed-dev
	$(BIN)/mike deploy --update-aliases $(VERSION) $(ALIAS)
	$(if $(ALIAS),$(BIN)/mike set-default $(ALIAS))

pictures: $(VENV)/.installed-dev
	$(BIN)/python -m tools.pictures

bench: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks --compile-peers --profile --new-sizes --errors -o runs/bench
	$(BIN)/python -m benchmarks --scaling -o runs/bench
	$(BIN)/python -m benchmarks.comparisons half -o runs/bench/half.json
	$(BIN)/python -m benchmarks.comparisons joint --threads 1 --clock cpu -o runs/bench/joint.json
	$(BIN)/python -m benchmarks.tasks -o runs/bench/tasks.json
	$(BIN)/python -m benchmarks.nowcasts -o runs/bench/nowcasts.json

# Wheel and source distribution, from what git tracks.
dist: $(RELEASE)/.installed
	rm -rf dist build/lib
	$(RELEASE)/bin/python -m build --no-isolation --outdir dist .

# Checks of the metadata, the distributions, the workflows and of secrets. After the tools are installed it needs no
# network.
release-check: dist secrets
	$(RELEASE)/bin/check-manifest --no-build-isolation
	$(RELEASE)/bin/validate-pyproject pyproject.toml
	$(RELEASE)/bin/twine check --strict dist/*
	$(RELEASE)/bin/cffconvert --validate --infile CITATION.cff
	$(RELEASE)/bin/pre-commit validate-config
	$(RELEASE)/bin/zizmor --offline --persona pedantic .github
	if command -v actionlint; then actionlint; else echo "actionlint is not installed, and was left out"; fi

# Files that git tracks with what looks like a password, token or key. Checksums and commits are none.
secrets: $(RELEASE)/.installed
	git ls-files -z | xargs -0 $(RELEASE)/bin/detect-secrets-hook --no-verify \
		--exclude-lines '"?(sha256|hub_commit|blob)"?(:| =) |^INTEGRITY = "sha512-|--exclude-lines|//user:(password|secret)@|"secret-of-tests"' \
		--exclude-files tests/train/test_run_same_weights.py

# Installs the built wheel, or that of an INDEX, into a new environment, and tests it away from the package: the demo, and
# the examples of README.
INDEX ?=
AWAY := build/rehearsal
VERSION_HERE = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' convrnn_zoo/_version.py)
rehearse: export PYTHONPATH :=
rehearse: $(if $(INDEX),,dist)
	rm -rf $(AWAY) && mkdir -p $(AWAY)
	git ls-files -z ':!convrnn_zoo/' ':!convrnn_zoo_command/' | tar --null --files-from - --create | tar --extract --directory $(AWAY)
	$(PYTHON) -m venv $(AWAY)/venv
	$(AWAY)/venv/bin/python -m pip download --quiet --no-deps --only-binary=:all: --dest $(AWAY) \
		$(if $(INDEX),--index-url $(INDEX) convrnn-zoo==$(VERSION_HERE),dist/convrnn_zoo-$(VERSION_HERE)-*.whl)
	cd $(AWAY) && venv/bin/python -m pip install --quiet "$$(ls *.whl)[cli,draw,sound]" 'pytest>=9' pytest-timeout
	cd $(AWAY) && venv/bin/convrnn-zoo demo && venv/bin/python -m pytest -q tests/docs/test_examples.py -k README
	@echo "$(AWAY): installed, and passes"

# Known vulnerabilities of all that the extras bring, by the database OSV. Needs the network, and fails without it.
audit: $(RELEASE)/.installed $(VENV)/.installed-dev
	$(RELEASE)/bin/pip-audit --vulnerability-service osv --skip-editable --path $(wildcard $(VENV)/lib/python3*/site-packages)

# Software bill of materials of the same, as CycloneDX.
sbom: $(SBOM)/.installed $(VENV)/.installed-dev
	mkdir -p build
	$(SBOM)/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible -o build/sbom.cdx.json $(BIN)/python

# Feeds mutated files to the readers of untrusted input, for SECONDS each. HOW_TO_RELEASE.md says what to do with a finding.
SECONDS ?= 150
fuzz: $(VENV)/.installed-dev
	$(BIN)/python -m pip install --quiet 'atheris>=3'
	for target in config safetensors keras recipe units; do \
		$(BIN)/python -m fuzz $$target -max_total_time=$(SECONDS) || exit 1; done

# Changes random lines of layers, pretrained, data and train, and lists the changes that no test notices.
COUNT ?= 40
SEED ?= 0
JOBS ?= 2
mutants: $(VENV)/.installed-dev
	$(BIN)/python -m tools.mutants --count $(COUNT) --seed $(SEED) --jobs $(JOBS)

clean:
	rm -rf $(VENV) $(VENV)-oldest $(VENV)-newest $(VENV)-nightly $(RELEASE) $(SBOM) build dist runs/bench site *.egg-info

$(VENV)/.installed-demo: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[cli,draw,sound]'
	touch $@

$(VENV)/.installed-dev: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@# pysteps, which reads radar files, has no binary distribution.
	$(BIN)/python -m pip install --quiet --editable '.[dev,radar]' \
		|| echo "NOTE: pysteps was not installed, which needs a C compiler; the tests of radar files are skipped"
	touch $@

$(RELEASE)/.installed: .github/release-tools.txt
	$(PYTHON) -m venv --clear $(RELEASE)
	$(RELEASE)/bin/python -m pip install --quiet --requirement .github/release-tools.txt
	touch $@

$(SBOM)/.installed: .github/sbom-tools.txt
	$(PYTHON) -m venv --clear $(SBOM)
	$(SBOM)/bin/python -m pip install --quiet --requirement .github/sbom-tools.txt
	touch $@

$(VENV)-oldest/.installed: pyproject.toml
	$(OLDEST) -m venv --clear $(VENV)-oldest
	$(OLDEST) -m tools.release test > $(VENV)-oldest/constraints.txt
	$(VENV)-oldest/bin/python -m pip install --quiet --constraint $(VENV)-oldest/constraints.txt --editable '.[test]'
	touch $@

install-newest:
	@$(NEWEST) -c 'import sys; v = sys.version.split()[0]; print(f"the newest Python here is {v}" if sys.version_info >= (3, 13) \
		else f"NOTE: no python3.13 or newer is here; the newest end runs on Python {v}")'
	$(NEWEST) -m venv $(VENV)-newest
	$(VENV)-newest/bin/python -m pip install --quiet --upgrade --upgrade-strategy eager --editable '.[test]'
