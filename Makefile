# The project's commands. VENV=<an environment with the package> uses it and installs nothing.
VENV ?= .venv
BIN := $(VENV)/bin
PYTHON ?= python3
STAMP := $(VENV)/.installed

ifeq ($(origin VENV),command line)
INSTALLED :=
else
INSTALLED := $(STAMP)
endif

.PHONY: install serve format lint types test commands unit e2e test-slow soak bench proto image chart

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
	$(BIN)/mypy service model tests helm tools

# With `-j2` three parts of about the same length share two cores; the order lets both end together.
test: lint types commands unit e2e

commands: $(INSTALLED)
	$(BIN)/python -Im pytest tests/cli

unit: $(INSTALLED)
	$(BIN)/python -Im pytest --ignore=tests/cli --ignore=tests/e2e

e2e: $(INSTALLED)
	$(BIN)/python -Im pytest tests/e2e

test-slow: $(INSTALLED)
	$(BIN)/python -Im pytest -m slow

# Some of these tests take minutes and need an otherwise idle machine.
soak: $(INSTALLED)
	$(BIN)/python -Im pytest -m soak -s

bench: $(INSTALLED)
	$(BIN)/python tests/bench/photo.py

proto: $(INSTALLED)
	PATH="$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc -Iproto --python_out=proto --grpc_python_out=proto --mypy_out=proto --mypy_grpc_out=proto distilpose/v1/pose.proto

# ENGINE=podman works too; BUILD_OPTIONS go to its `build`.
ENGINE ?= docker
image: $(INSTALLED)
	$(ENGINE) build $(BUILD_OPTIONS) -f docker/Dockerfile --target cpu -t distilpose:cpu .
	CONTAINER_ENGINE=$(ENGINE) $(BIN)/python -Im pytest -m container

# The generated parts of the chart: from the settings, from values.yaml, and the dashboard.
chart: $(INSTALLED)
	$(BIN)/python helm/generate.py
	$(BIN)/python helm/dashboard.py helm/distilpose/files/dashboard.json
