# Two commands do everything on a fresh machine: `make quickstart` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: quickstart test test-slow test-concurrent test-python test-lowest test-tracking attack soak soak-starts lint docs bench gpu-check gpu-rehearse triton-check clean

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed, this is " + sys.version'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# The library that `pip install .` builds too. Without a C++ compiler there is none, and numpy does its work.
# Moved into its place: written over, it would kill every process that has it open.
NATIVE := build/native/.built
$(NATIVE): engine/native/suppress.cpp engine/native/CMakeLists.txt CMakeLists.txt
	@mkdir -p $(@D)/new
	@! command -v cmake > /dev/null || { cmake -S . -B build/cpu -DCORNERNET_PLUGINS=OFF -DBUILD_TESTING=OFF > /dev/null && \
		cmake --build build/cpu > /dev/null && cp build/cpu/native/*cornernet_native.* $(@D)/new && \
		for file in $(@D)/new/*; do mv $$file $(@D); done; }
	@touch $@

quickstart: $(INSTALLED) $(NATIVE)
	$(BIN)/cornernet quickstart

test: lint
	$(BIN)/python -m pytest -n auto --dist loadfile -m "not slow"

test-slow: $(INSTALLED) $(NATIVE)
	$(BIN)/python -m pytest -n auto --dist loadfile -m slow

# What threads and processes do to each other shows in one run of many: flaky is failed.
TIMES ?= 5
test-concurrent: $(INSTALLED) $(NATIVE)
	for run in $$(seq $(TIMES)); do $(BIN)/python -m pytest -q -m "concurrent and not slow" || exit 1; done

# The engine and the command line where a user installs them: make test-python PYTHON=python3.13
TRIAL := build/trial-$(notdir $(PYTHON))
LOWEST := build/lowest.txt
test-python:
	$(PYTHON) -m venv --clear $(TRIAL)
	$(TRIAL)/bin/python -m pip install --quiet $(CONSTRAINED) '.[cpu,openvino,evaluate,fast]' pytest hypothesis ml-dtypes
	$(TRIAL)/bin/pytest -q -p no:cacheprovider -m "not slow" tests/engine tests/cli/test_front_door.py

# The same with the lowest version of each package that pyproject.toml allows.
test-lowest:
	mkdir -p build
	sed -nE 's/^[^#]*"([a-z0-9-]+)(\[[a-z,]+\])?>=([0-9.]+).*/\1==\3.*/p' pyproject.toml > $(LOWEST)
	$(MAKE) test-python CONSTRAINED='--constraint $(LOWEST)'

# With the packages that draw and follow boxes: they bring an OpenCV of their own, so not beside ours.
test-tracking:
	$(PYTHON) -m venv --clear build/tracking
	build/tracking/bin/python -m pip install --quiet '.[cpu,inspect,viz]' trackers pytest hypothesis
	build/tracking/bin/pytest -q -p no:cacheprovider tests/engine/results/test_supervision.py

# Hostile files by the thousand; a new SEED is a new attack. Findings and the table: build/attack/
SEED ?= 0
CASES ?= 3000
attack: $(INSTALLED) $(NATIVE)
	PYTHONPATH=tests $(abspath $(BIN))/python -m attack --seed $(SEED) --cases $(CASES)

# Every backend that is there under load: nothing may grow, no box may change.
MINUTES ?= 10
soak: $(INSTALLED) $(NATIVE)
	$(BIN)/python -m cornernet.benchmarks.soak --minutes $(MINUTES)

# The processes that prepare batches: no start hangs, none is left behind.
STARTS ?= 200
soak-starts: $(INSTALLED) $(NATIVE)
	$(BIN)/python -m cornernet.benchmarks.start_soak --starts $(STARTS)

lint: $(INSTALLED) $(NATIVE)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m mypy -p cornernet

docs: $(INSTALLED)
	$(BIN)/python docs/build_site.py

bench: $(INSTALLED) $(NATIVE)
	$(BIN)/cornernet benchmark quickstart/model.onnx quickstart/run/best.safetensors

gpu-check: $(INSTALLED)
	$(BIN)/python -m cornernet.benchmarks.gpu_check --output build/gpu_check/report

# The same to the end on a machine without a GPU: tiny networks, the kernels' source on the CPU.
gpu-rehearse: $(INSTALLED)
	$(BIN)/python -m cornernet.benchmarks.gpu_check --rehearse --output build/gpu_check/rehearsal

# A repository of `cornernet triton` in a real tritonserver, on the CPU: 55 MB of a wheel that wants an old numpy.
TRITON := build/triton
triton-check: $(INSTALLED) $(NATIVE)
	$(PYTHON) -m venv --clear $(TRITON)
	$(TRITON)/bin/python -m pip install --quiet nvidia-pytriton==0.7.0 onnxruntime \
		'numpy<2' 'opencv-python-headless<4.12' pydantic
	$(TRITON)/bin/python -m pip install --quiet --no-deps .
	CORNERNET_TRITON_PYTHON=$(abspath $(TRITON))/bin/python $(BIN)/python -m pytest tests/export/triton/test_triton_server.py

clean:
	rm -rf build dist quickstart .pytest_cache .mypy_cache .ruff_cache .hypothesis
