# Everything runs from .venv, which is made here from the lock file. `make help` lists the targets.

PYTHON ?= python3
REST_PORT ?= 8080
GRPC_PORT ?= 50051
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LOCK := $(BIN)/uv pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header

.DEFAULT_GOAL := help
.PHONY: help run demo test test-quick test-faults bench check proto lock release clean

help: ## List the targets
	@$(PYTHON) -c 'import re; [print(f"{name:12} {text}") for name, text in \
		re.findall(r"^([a-z-]+):.*?## (.+)", open("Makefile").read(), re.M)]'

run: $(READY) ## Run service, Envoy and inbox (REST_PORT, GRPC_PORT); Ctrl-C stops them
	@REST_PORT=$(REST_PORT) GRPC_PORT=$(GRPC_PORT) exec $(BIN)/challenge dev --with-parent

demo: $(READY) ## Run an example checkout on top of all that (CHECKOUT_PORT)
	@exec $(BIN)/python -m examples.checkout

test: $(READY) ## Run every test (ARGS are pytest's, as ARGS="tests/api -k origin")
	$(BIN)/python -m pytest -n 3 --dist loadfile $(ARGS)

test-quick: $(READY) ## Run what is quick and starts no program, in under a minute (ARGS as above)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not programs and not slow" $(ARGS)

test-faults: $(READY) ## Run the fault tests in full and print a line for each row
	$(BIN)/python -m tests.faults

bench: $(READY) ## Measure beside bare gRPC and a FastAPI peer (4 min, or ARGS=--full)
	$(BIN)/python -m benchmarks $(ARGS)

check: $(READY) ## Lint, types, imports, protos, Envoy's configuration, drift of what is generated
	$(BIN)/ruff format --check service proto clients tests benchmarks deploy examples
	$(BIN)/ruff check service proto clients tests benchmarks deploy examples
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python proto/generate.py
	$(BIN)/python proto/released.py
	$(BIN)/envoy --mode validate -c envoy.yaml -l error
	$(BIN)/python tests/checks/edge.py

proto: $(READY) ## Regenerate gen/ from proto/
	$(BIN)/python proto/generate.py --write

lock: $(READY) ## Renew the lock files from pyproject.toml
	$(LOCK) -o requirements.lock pyproject.toml
	$(LOCK) --extra run --extra sns --extra webhook --extra apprise --extra otel \
		-o requirements-full.lock pyproject.toml
	$(LOCK) --all-extras -o requirements-dev.lock pyproject.toml
	$(LOCK) --group build -c requirements-dev.lock -o requirements-build.lock

release: $(READY) ## Build what a release consists of, of what is committed, into dist/
	$(BIN)/python deploy/release.py dist

clean: ## Remove .venv and .data
	$(PYTHON) -c 'import shutil; [shutil.rmtree(d, True) for d in ("$(VENV)", ".data")]'

$(READY): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit( \
		"Python 3.11 or later is needed, $(PYTHON) is " + sys.version.split()[0] + \
		"; choose another with: make PYTHON=python3.x")'
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
		echo "$(PYTHON) lacks venv; on Debian: apt install python3-venv" >&2; exit 1; }
	@echo "Installing into $(VENV); this takes about a minute, once."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes \
		-r requirements-dev.lock
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python -c 'open("$@", "w")'
