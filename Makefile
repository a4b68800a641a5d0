# The project's commands. VENV=<an environment that has the package> uses it and installs nothing.
VENV ?= .venv
BIN := $(VENV)/bin
PYTHON ?= python3
STAMP := $(VENV)/.installed

ifeq ($(origin VENV),command line)
INSTALLED :=
else
INSTALLED := $(STAMP)
endif

.PHONY: install serve format lint types test test-slow e2e bench proto

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

install: $(INSTALLED)

serve: $(INSTALLED)
	$(BIN)/distilpose serve

format: $(INSTALLED)
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

lint: $(INSTALLED)
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/lint-imports --no-logo

types: $(INSTALLED)
	$(BIN)/mypy service model tests

test: lint types
	$(BIN)/python -Im pytest

test-slow: $(INSTALLED)
	$(BIN)/python -Im pytest -m slow

e2e: $(INSTALLED)
	$(BIN)/python -Im pytest tests/e2e

bench: $(INSTALLED)
	$(BIN)/python tests/bench/photo.py

proto: $(INSTALLED)
	PATH="$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc -Iproto --python_out=proto --grpc_python_out=proto --mypy_out=proto --mypy_grpc_out=proto distilpose/v1/pose.proto
