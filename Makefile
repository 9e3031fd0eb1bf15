# Developers' commands; "make" alone lists them.

PYTHON ?= python3
CONFIG ?= examples/guerrilla.json
SECONDS ?= 60
BENCH ?=
ROUNDS ?= 20
SEED ?=

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Debian keeps smtp-source where only root looks.
export PATH := $(PATH):/usr/sbin

.PHONY: help venv run test fuzz chaos bench lint audit pins docs clean
.DELETE_ON_ERROR:

help: ## list these commands
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

venv: $(READY) ## make .venv: the package, its extras and the tools

# A .pth file of our own, because "pip install -e" hides the Twisted plugin.
$(READY): setup.cfg tools/requirements.py
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || tools/apt_install.sh python3-venv
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python tools/requirements.py fuzz > $(VENV)/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	    --requirement $(VENV)/requirements.txt
	$(BIN)/python -c 'import os, sysconfig; print(os.getcwd(), \
	    file=open(os.path.join(sysconfig.get_path("purelib"), "guerrilla_tw.pth"), "w"))'
	@touch $@

run: $(READY) ## start the daemon in the foreground (CONFIG=file; Ctrl-C ends it)
	@exec $(BIN)/twistd --nodaemon --pidfile= guerrilla --config $(CONFIG)

test: $(READY) ## run all tests, with branch coverage
	@tools/test_programs.sh
	@$(BIN)/python tools/run_tests.py

fuzz: $(READY) ## look for input that breaks a rule, twice SECONDS=60
	@$(BIN)/python tools/requirements.py > $(VENV)/requirements-fuzz.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	    --requirement $(VENV)/requirements-fuzz.txt
	$(BIN)/python -m tests.smtp.differential --seconds $(SECONDS)
	$(BIN)/python -m tests.fuzz all --seconds $(SECONDS)

HARAKA := build/haraka

bench: $(READY) ## measure it beside other servers (BENCH="--quick"; BENCH=--help tells more)
	@test -d $(HARAKA)/node_modules/Haraka || { mkdir -p $(HARAKA) && npm install --silent \
	    --no-fund --no-audit --omit=optional --prefix $(HARAKA) Haraka@3; } || \
	    echo "Haraka is left out: npm cannot install it here" >&2
	@$(BIN)/python -m bench $(BENCH)

chaos: $(READY) ## have faults happen under load, and look for what is lost (ROUNDS=20 SEED=any)
	@tools/test_programs.sh
	$(BIN)/python -m tests.chaos --rounds $(ROUNDS) $(if $(SEED),--seed $(SEED))

lint: $(READY) ## check style, types, the arrows between modules, and the documentation
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(MAKE) --no-print-directory audit
	@$(MAKE) --no-print-directory docs

audit: $(READY) ## ask for known holes in examples/requirements.txt
	@$(BIN)/python tools/audit.py

PINS := examples/requirements.txt

pins: $(READY) ## take the newest of what the runtime needs into examples/requirements.txt
	@$(BIN)/python tools/requirements.py bench dev fuzz > $(VENV)/requirements-runtime.txt
	$(BIN)/python -m piptools compile --quiet --upgrade --generate-hashes --strip-extras \
	    --allow-unsafe --no-header --no-emit-index-url --no-emit-find-links --no-annotate \
	    --output-file $(VENV)/pins.txt $(VENV)/requirements-runtime.txt
	@{ sed '/^[^#]/,$$d' $(PINS) && cat $(VENV)/pins.txt; } > $(VENV)/pins-new.txt
	@mv $(VENV)/pins-new.txt $(PINS)

DOCS := docs/_build/.done
SPHINX := $(BIN)/python -m sphinx --quiet --nitpicky --fail-on-warning --keep-going \
    --doctree-dir docs/_build/doctrees

docs: $(DOCS) ## build the documentation: docs/_build/html/index.html, and a man page

# Afresh, because Sphinx tells of a fault only when it reads the page.
$(DOCS): $(READY) NEWS.rst $(shell find docs guerrilla_tw examples -path docs/_build -prune -o \
    -type f ! -name '*.pyc' ! -name dropin.cache -print)
	$(SPHINX) --fresh-env --builder html docs docs/_build/html
	$(SPHINX) --builder man docs docs/_build/man
	@touch $@

clean: ## remove what these commands made (stored mail stays)
	rm -rf $(VENV) build dist docs/_build *.egg-info _trial_temp* .coverage .coverage.* .hypothesis
	rm -rf .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
	find . -name dropin.cache -delete
