# `make demo` shows the main job, `make test` passes every test. Both install what they need.

VENV ?= .venv
PYTHON := $(VENV)/bin/python

.PHONY: demo test unit lint prepare fuzz bench

demo: prepare
	$(PYTHON) -m tools.demo

test: lint
	$(VENV)/bin/sparc-lab build
	$(PYTHON) -m pytest

unit: prepare
	$(PYTHON) -m pytest tests/unit

lint: prepare
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# 100,000 lying files; about an hour on two cores less what they are busy with.
fuzz: prepare
	$(PYTHON) -m tools.bench.fuzz --count 100000

bench: prepare
	$(PYTHON) -m tools.bench.audit

prepare: $(VENV)/.installed

$(VENV)/.installed: setup.cfg pyproject.toml tools/lab/setup.cfg tools/prepare
	tools/prepare $(VENV)
	touch $@
