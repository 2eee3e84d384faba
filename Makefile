# Everything sets itself up: a machine needs Python 3.11 or newer, gcc, git and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MODELS := build/models
PORT ?= 8501
GRPC_PORT ?= 8500
ZMQ_PORT ?= 8502
SOCKETS := build/sockets
ARGS ?=
JOBS ?= 2
RERUNS ?= 1

.PHONY: serve test lint format type unit bench bench-peers docs clean

$(VENV)/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ringserve needs Python 3.11 or newer; try make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

## serve: train the demo models on real data, start the server, print requests to try (PORT=8501, GRPC_PORT=8500, ZMQ_PORT=8502, ARGS=more flags)
serve: $(VENV)/installed
	@$(BIN)/python -m examples.train --output $(MODELS)
	@echo
	@$(BIN)/python -m examples.requests --output $(MODELS) --port $(PORT)
	@echo '# the same over gRPC, with a light client and with the official one:'
	@echo '$(BIN)/python -m examples.grpc_client --address grpc://localhost:$(GRPC_PORT)'
	@echo '$(BIN)/python -m examples.tensorflow_serving_client --server localhost:$(GRPC_PORT)'
	@echo '# over every protocol, with what each takes:'
	@echo '$(BIN)/python -m examples.latency --url http://localhost:$(PORT) --url grpc://localhost:$(GRPC_PORT)' \
		'--url zmq://localhost:$(ZMQ_PORT) --url zmq+ipc://$(CURDIR)/$(SOCKETS)/zmq --url shm://$(CURDIR)/$(SOCKETS)/shm'
	@echo
	@mkdir -p $(SOCKETS)
	$(BIN)/ringserve serve --rest_api_port=$(PORT) --port=$(GRPC_PORT) --zmq_port=$(ZMQ_PORT) \
		--zmq_endpoint=ipc://$(SOCKETS)/zmq --shm_socket=$(SOCKETS)/shm \
		--model_config_file=$(CURDIR)/$(MODELS)/models.config $(ARGS)

## test: lint, types, all tests
test: lint type unit

# Files in their order, the long ones first: reordered by their count of tests, the longest, of one test, would be the last.
# With bytecode, also where the environment says that none is written: some hundred servers start, of up to six processes each.
# A test that fails is run once more, and both are shown: processes that share two processors with others may stand
# still for seconds, and of ten thousand tests some hundred have limits of time.
## unit: all tests, without lint and types (ARGS=more for pytest, JOBS=2 files at a time, RERUNS=1 of a test that fails)
unit: $(VENV)/installed
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile --no-loadscope-reorder --reruns $(RERUNS) \
		--max-suite-reruns 5 --rerun-show-tracebacks $(ARGS)

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

type: $(VENV)/installed
	$(BIN)/mypy

## bench: the named topologies, each beside its floor; table and JSON (ARGS=--help says more)
bench: $(VENV)/installed
	$(BIN)/python -m bench $(ARGS)

## bench-peers: beside other servers of such models, each in an environment of its own; 25 minutes (ARGS=--help says more)
bench-peers: $(VENV)/installed
	$(BIN)/python -m bench.peers $(ARGS)

## docs: write the pages that are made from the code
docs: $(VENV)/installed
	$(BIN)/python -m docs.flag_reference

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis bench/results
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
