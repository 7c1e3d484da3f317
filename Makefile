# `make help` lists the targets. Needs python3 >= 3.11, make and a package registry; nothing is installed outside
# this folder, except that `make test` run by root may install Debian's `chromium`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BENCH := benchmarks/.venv
PYTEST := $(BIN)/python -m pytest

NOTEBOOK := notebooks/1-quickstart.ipynb
HEADLESS ?=

# Jupyter refuses to serve as root unless told that it is meant.
AS_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test lint format unit kernel notebooks browser bench chromium picture clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  PYTHON=python3.12 chooses the interpreter; ARGS='-k drag -x' is handed to pytest."

demo: $(VENV)/.installed-demo ## open the quickstart in JupyterLab (HEADLESS=1: execute it and print the results)
ifeq ($(HEADLESS),)
	$(BIN)/python -m jupyterlab $(AS_ROOT) $(NOTEBOOK)
else
	$(BIN)/python scripts/execute_notebook.py $(NOTEBOOK) build/$(notdir $(NOTEBOOK))
endif

# Two at a time, file by file and in order: what a browser leaves in a process must come last there.
test: chromium lint $(VENV)/.installed-kernel6 ## lint, types and every test
	$(PYTEST) -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(VENV)/.installed-test ## ruff and mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(VENV)/.installed-test ## let ruff mend what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

unit: $(VENV)/.installed-test ## tests of engine, session and widgets: no kernel, no browser
	$(PYTEST) -m "not kernel and not notebook and not browser" $(ARGS)

kernel: $(VENV)/.installed-kernel6 ## tests against real kernels of both generations
	$(PYTEST) -m kernel $(ARGS)

notebooks: $(VENV)/.installed-test ## execute every notebook
	$(PYTEST) -m notebook $(ARGS)

browser: chromium $(VENV)/.installed-kernel6 ## tests in JupyterLab and Notebook 7
	$(PYTEST) -m browser $(ARGS)

bench: chromium $(BENCH)/.installed ## what it costs, beside other finders: benchmarks/RESULTS.md (QUICK=1: a glance, not kept)
	$(BENCH)/bin/python -m benchmarks $(if $(QUICK),--quick)

chromium: ## make sure there is a Chromium to test in
	@scripts/need_chromium.sh

picture: chromium $(VENV)/.installed-kernel6 ## take the README's picture again, from the quickstart in JupyterLab
	$(BIN)/python -m scripts.screenshot docs/widget.png

clean: ## remove everything that make made
	rm -rf $(VENV) $(BENCH) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps: an installation is done again only when what it was made from has changed.

$(BIN)/pip:
	@scripts/make_venv.sh $(PYTHON) $(VENV)

$(VENV)/.installed-demo $(VENV)/.installed-test: $(VENV)/.installed-%: pyproject.toml constraints.txt | $(BIN)/pip
	$(BIN)/pip install --quiet -c constraints.txt -e '.[$*]'
	@touch $@

# The other finders want versions of their own: they stay out of the environment that tests run in.
$(BENCH)/bin/pip:
	@scripts/make_venv.sh $(PYTHON) $(BENCH)

$(BENCH)/.installed: pyproject.toml constraints.txt benchmarks/peers.txt tests/kernel/ipykernel6.txt | $(BENCH)/bin/pip
	$(BENCH)/bin/pip install --quiet -c constraints.txt -e '.[test]'
	$(BENCH)/bin/pip install --quiet --no-deps -r benchmarks/peers.txt
	rm -rf $(BENCH)/ipykernel6
	$(BENCH)/bin/pip install --quiet --no-deps --target $(BENCH)/ipykernel6 -r tests/kernel/ipykernel6.txt
	@touch $@

# A second ipykernel cannot live in the same environment: it goes into a folder that tests put on PYTHONPATH.
$(VENV)/.installed-kernel6: tests/kernel/ipykernel6.txt $(VENV)/.installed-test
	rm -rf $(VENV)/ipykernel6
	$(BIN)/pip install --quiet --no-deps --target $(VENV)/ipykernel6 -r $<
	@touch $@
