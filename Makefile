# Two commands do everything on a fresh machine: `make quickstart` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: quickstart test test-slow test-python test-lowest lint bench gpu-check gpu-rehearse clean

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed, this is " + sys.version'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

quickstart: $(INSTALLED)
	$(BIN)/cornernet quickstart

test: lint
	$(BIN)/python -m pytest -n auto --dist loadfile -m "not slow"

test-slow: $(INSTALLED)
	$(BIN)/python -m pytest

# The engine and the command line where a user installs them: make test-python PYTHON=python3.13
TRIAL := build/trial-$(notdir $(PYTHON))
LOWEST := build/lowest.txt
test-python:
	$(PYTHON) -m venv --clear $(TRIAL)
	$(TRIAL)/bin/python -m pip install --quiet $(CONSTRAINED) '.[cpu,inspect,evaluate,fast]' pytest hypothesis
	$(TRIAL)/bin/pytest -q -p no:cacheprovider -m "not slow" tests/engine tests/cli/test_front_door.py

# The same with the lowest version of each package that pyproject.toml allows.
test-lowest:
	mkdir -p build
	sed -nE 's/^[^#]*"([a-z-]+)(\[[a-z,]+\])?>=([0-9.]+).*/\1==\3.*/p' pyproject.toml > $(LOWEST)
	$(MAKE) test-python CONSTRAINED='--constraint $(LOWEST)'

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m mypy -p cornernet

bench: $(INSTALLED)
	$(BIN)/cornernet benchmark quickstart/model.onnx quickstart/run/best.safetensors

gpu-check: $(INSTALLED)
	$(BIN)/python -m cornernet.benchmarks.gpu_check --output build/gpu_check/report

# The same to the end on a machine without a GPU: tiny networks, the kernels' source on the CPU.
gpu-rehearse: $(INSTALLED)
	$(BIN)/python -m cornernet.benchmarks.gpu_check --rehearse --output build/gpu_check/rehearsal

clean:
	rm -rf build dist quickstart .pytest_cache .mypy_cache .ruff_cache .hypothesis
