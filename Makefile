# The commands of a checkout. `make help` lists them.
PYTHON ?= python3
ARGS ?=
# Most tests wait for browsers, servers and clients: two at once take little more of a machine.
JOBS ?= 2

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

VENDOR := static/vendor
BUNDLES := $(foreach name,socket.io.min.js socket.io.js socket.io.esm.min.js,$(name) $(name).map)

# What was made last when an installation is complete; newer inputs make it anew.
PYTHON_READY := $(VENV)/.ready
NODE_READY := node_modules/.ready
CHARTS := uPlot.iife.min.js uPlot.min.css
REFERENCE := swagger-ui-bundle.js swagger-ui-bundle.js.LICENSE.txt swagger-ui.css
VENDOR_READY := $(VENDOR)/socket.io.min.js

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install run test bench soak check format docs lock screenshots

help:  ## List these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(PYTHON_READY) $(VENDOR_READY)  ## Make .venv with everything in it, fetch the client bundle

run: install  ## Serve on port 3000 (ARGS="--log-level debug" adds options)
	@exec $(BIN)/python run.py serve $(ARGS)

test: install  ## Run all tests (ARGS="-k rooms" picks some)
	@$(BIN)/pytest --numprocesses $(JOBS) --dist loadfile $(ARGS)

bench: install  ## Measure beside Node and python-socketio (BENCH=W1,W3 picks, N=1000 sizes)
	@$(MAKE) --no-print-directory -C benchmarks INTERPRETER=$(abspath $(BIN)/python)

soak: install  ## Let clients come, stall, flood and go for MINUTES, and see whether anything stays
	@$(BIN)/python -m benchmarks.soak $(if $(MINUTES),--minutes $(MINUTES)) $(ARGS)

check: install  ## Check form, types and who imports whom
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest --quiet tests/test_layers.py

format: install  ## Bring all code into form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

screenshots: install  ## Renew the pictures of the pages in docs/images
	@mkdir -p docs/images
	$(BIN)/pytest --quiet tests/test_screenshots.py --screenshots docs/images

docs: install  ## Renew the tables of the documentation from those of the code
	$(BIN)/python run.py reference --into README.md
	$(BIN)/python run.py reference --into docs/metrics.md

lock:  ## Renew requirements.txt and package-lock.json with the newest versions allowed
	rm -rf build/lock
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip --disable-pip-version-check install --quiet '.[test]'
	{ sed '/^#/!d' requirements.txt; build/lock/bin/python -m pip --disable-pip-version-check \
		freeze --all --exclude pip --exclude gtower-realtime; } > build/requirements.txt
	mv build/requirements.txt requirements.txt
	rm -rf build/lock package-lock.json
	npm install --package-lock-only --no-audit --no-fund

$(PYTHON_READY): requirements.txt setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed; PYTHON=... names one")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --requirement requirements.txt
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(NODE_READY): package.json package-lock.json .npmrc
	npm ci --no-audit --no-fund
	@touch $@

$(VENDOR_READY): $(NODE_READY)
	@mkdir -p $(VENDOR)
	cp $(addprefix node_modules/swagger-ui-dist/,$(REFERENCE)) $(VENDOR)/
	cp $(addprefix node_modules/uplot/dist/,$(CHARTS)) $(VENDOR)/
	cp $(addprefix node_modules/socket.io-client/dist/,$(BUNDLES)) $(VENDOR)/
