# Two commands: `make book` builds the book, `make test` runs all tests. `make help` lists the rest.
SHELL := /bin/sh
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules
.DELETE_ON_ERROR:

# default: the parameters as the notebooks have them. Others: see book/profiles.yml.
PROFILE ?= default
# Any environment will do that has the packages of requirements.lock, e.g. VENV=$CONDA_PREFIX.
VENV ?= .venv
# Marks an environment that is set up as the lock says.
STAMP ?= $(VENV)/.graphseg-ready

# Further options of JupyterLab, e.g. LAB="--no-browser --port 8900".
LAB ?=

PYTHON := $(VENV)/bin/python
BUILD := _build$(if $(filter-out default,$(PROFILE)),/$(PROFILE))
EXECUTED := $(BUILD)/executed
NOTEBOOKS := $(patsubst notebooks/%.py,%,$(sort $(wildcard notebooks/*.py)))

.PHONY: help book pdf test lab lint format lock record bench kills mutants stale networks audit picture clean environment data browser FORCE

help: ## list the targets
	@sed -n 's/^\([a-z][a-z-]*\):.*## /\1|/p' Makefile | \
	    while IFS='|' read -r name text; do printf '  make %-12s %s\n' "$$name" "$$text"; done

book: $(NOTEBOOKS:%=$(EXECUTED)/%.ipynb) ## execute what has changed and build the HTML (PROFILE=paper: the full protocol)
	@$(PYTHON) -m book.tools.build $(EXECUTED) $(BUILD)/html

pdf: book browser ## print the whole book as one PDF
	@$(PYTHON) -m book.tools.pdf $(BUILD)/html.src $(BUILD)/graphseg-book.pdf

# The tool itself decides in a moment whether the notebook has to be executed.
$(EXECUTED)/%.ipynb: notebooks/%.py $(STAMP) FORCE | data
	@mkdir -p $(@D)
	@$(PYTHON) -m book.tools.execute $< $@ --profile $(PROFILE)

data: $(STAMP) ## obtain the published images, unless they are here
	@$(PYTHON) -m book.tools.obtain_data

browser: $(STAMP) ## obtain a browser for the tests, unless there is one
	@$(PYTHON) -m book.tools.browser

test: $(STAMP) browser ## run everything that continuous integration runs
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(VENV)/bin/lint-imports
	$(PYTHON) -m pytest --doctest-modules graphseg
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n auto --maxprocesses 4 --dist loadfile tests/unit
	$(PYTHON) -m pytest tests/notebooks tests/book tests/faults

lab: $(STAMP) ## open JupyterLab with the paired notebooks
	$(PYTHON) -m jupytext --sync notebooks/*.py
	PYTHONPATH="$(CURDIR)" $(PYTHON) -m jupyter lab --LabApp.default_url=/lab/tree/ipynb $(LAB)

lint: $(STAMP) ## check style and formatting
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(VENV)/bin/lint-imports

format: $(STAMP) ## format the code, and write the notebooks as JupyterLab saves them
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .
	$(PYTHON) -m jupytext --quiet --sync notebooks/*.py
	touch ipynb/*.ipynb
	$(PYTHON) -m jupytext --quiet --sync ipynb/*.ipynb

lock: $(STAMP) ## write requirements.lock anew from requirements.in
	$(PYTHON) -m piptools compile --quiet --strip-extras --no-header --no-annotate \
	    --no-emit-find-links --no-emit-index-url --no-emit-trusted-host --allow-unsafe \
	    --output-file requirements.lock requirements.in
	sed -i 's/^\(torch==[0-9.]*\)+cpu$$/\1/' requirements.lock

record: $(STAMP) ## execute the notebooks with the test parameters and record their numbers anew
	@$(PYTHON) -m book.tools.record

bench: $(STAMP) ## measure speed and memory, and record them
	$(PYTHON) -m book.studies benchmark --output data/results/benchmark.json

kills: $(STAMP) ## kill trainings, segmentations and builds 20 times each, and record how they end
	$(PYTHON) -m tests.faults.kills --output data/results/kills.json

stale: $(STAMP) ## list which recorded results are older than their code, in data/results/README.md
	@$(PYTHON) -m book.tools.stale --write

mutants: $(STAMP) ## plant faults in the code one by one, and see whether tests or recorded numbers notice
	@$(PYTHON) -m tests.mutants.run

networks: $(STAMP) ## train the bundled networks again (hours; a killed run continues)
	$(PYTHON) -m book.tools.networks

audit: $(STAMP) ## look up known vulnerabilities of the packages in requirements.lock
	$(PYTHON) -m venv _build/audit
	_build/audit/bin/python -m pip install --quiet pip-audit
	_build/audit/bin/pip-audit --requirement requirements.lock --strict --no-deps --disable-pip

picture: $(STAMP) ## draw the picture of the README
	$(PYTHON) -m book.tools.picture

clean: ## remove everything that was built, but not the environment and the data
	rm -rf _build ipynb

environment: $(STAMP) ## create the environment from requirements.lock

$(STAMP): requirements.lock pyproject.toml book/tools/javascript.json
	@sh book/tools/environment.sh $(VENV)
	@touch $@
