# make demo    adapt a pretrained network to handwritten digits inside a byte budget
# make test    every test, Python and native
# make lint    formatters, linters and type checks
# make docs    the site of these pages and the API: build/docs/index.html
# make bench   the speed benchmark
# make kernels       builds the benchmark of single kernels: build/test/kernels --help
# make instructions  counts the instructions of single kernels, under valgrind
# make check-cuda    everything that needs a GPU: tests, compute-sanitizer, benchmark
# make fuzz    looks for what breaks the native core, for SECONDS=600; see tests/fuzz/rules.mk
# ARM boards: make wheel-aarch64, check-aarch64, check-armhf; see cross/rules.mk
# The wheel without torch: make wheel-runtime, check-runtime; see cross/runtime.mk
# Each target sets up .venv by itself; nothing else has to be installed but a C++ compiler and Python >= 3.10.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml CMakeLists.txt $(shell find cmake csrc include python -type f -not -name '*.pyc' -not -name '*.so')
NATIVE_TESTS := $(shell find tests/native bench/native -type f)
CXX_SOURCES := $(shell find csrc tests/native tests/fuzz tests/c bench/native examples/board -name '*.c' -o -name '*.cpp' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh')

.PHONY: demo test test-python test-native test-emulated check-cuda lint format docs bench kernels instructions clean

demo: $(VENV)/demo.stamp
	$(BIN)/sparsebp finetune

# Each process computes with one thread.
PARALLEL := -n auto --maxprocesses 4 --dist loadfile

test: test-native test-python test-emulated

test-python: $(VENV)/test.stamp
	SPARSEBP_LIBRARY_BUILD=$(CURDIR)/build/test $(BIN)/python -m pytest $(PARALLEL) --durations=30

test-native: $(VENV)/test.stamp
	cd build/test && $(CURDIR)/$(BIN)/ctest --output-on-failure -j 2

GPU_TESTS := $(addprefix tests/training/,test_gpu.py test_gpu_graphs.py test_gpu_ops.py test_kernels.py)

# The tests of GPUs with CUDA emulated: with a module of its own, whose GPU is this processor.
test-emulated: $(VENV)/test.stamp
	rm -rf build/emulated && mkdir -p build/emulated && cp -r python/sparsebp build/emulated
	rm -f build/emulated/sparsebp/_C*.so && cp build/test/emulated/_C*.so build/emulated/sparsebp
	PYTHONPATH=build/emulated SPARSEBP_TEST_DEVICE=emulated $(BIN)/python -m pytest -q $(PARALLEL) $(GPU_TESTS)

# CUDA_PYTHON=python3 takes an environment that has torch with CUDA, pytest, what builds the package
# (pybind11, scikit-build-core, cmake, ninja) and what it imports already.
CUDA_PYTHON :=
SANITIZER := $(or $(shell command -v compute-sanitizer),/usr/local/cuda/bin/compute-sanitizer)
GPU_PYTHON := $(or $(CUDA_PYTHON),$(BIN)/python)

check-cuda: $(if $(CUDA_PYTHON),,$(VENV)/test.stamp)
	$(GPU_PYTHON) -m pip install -q --no-deps --upgrade --target build/ON/site $(if $(CUDA_PYTHON),--no-build-isolation) \
	  -C build-dir=build/ON -C cmake.define.SPARSEBP_CUDA=ON -C cmake.define.SPARSEBP_TESTS=ON .
	PYTHONPATH=build/ON/site $(GPU_PYTHON) -m sparsebp info
	build/ON/tests/native/test_cuda_gpu
	PYTHONPATH=build/ON/site SPARSEBP_TEST_DEVICE=cuda $(GPU_PYTHON) -m pytest -q $(GPU_TESTS)
	SPARSEBP_BRIEF=1 $(SANITIZER) --tool memcheck --leak-check full --error-exitcode 1 build/ON/tests/native/test_cuda_gpu
	SPARSEBP_BRIEF=1 $(SANITIZER) --tool racecheck --error-exitcode 1 build/ON/tests/native/test_cuda_gpu
	PYTHONPATH=build/ON/site $(GPU_PYTHON) bench/backward_speed.py --device cuda --json build/ON/speed.json

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(CXX_SOURCES)
	$(BIN)/mypy

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CXX_SOURCES)

# A link to nowhere is an error. Nothing of sparsebp is imported: docstrings are read from the files.
docs: $(VENV)/docs.stamp
	$(BIN)/python scripts/docs_site.py build/docs-pages
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

bench: $(VENV)/demo.stamp
	$(BIN)/python bench/backward_speed.py

kernels: $(VENV)/test.stamp

instructions: kernels
	$(BIN)/python bench/instructions.py

$(VENV)/%.stamp: $(SOURCES) constraints.txt | $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt ".[$*]"
	@touch $@

# With the native tests, the C library and the benchmark of kernels, all of one build; kernels for GPUs in one form, which every GPU's driver takes.
$(VENV)/test.stamp: $(SOURCES) $(NATIVE_TESTS) constraints.txt | $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt ".[test]" -C build-dir=build/test \
	  -C cmake.define.SPARSEBP_TESTS=ON -C cmake.define.SPARSEBP_BENCH=ON -C cmake.define.CMAKE_CUDA_ARCHITECTURES=80 \
	  -C cmake.define.SPARSEBP_LIBRARY=ON -C cmake.define.CMAKE_INSTALL_LIBDIR=lib
	@touch $@

# The extra alone, because the site needs no package.
$(VENV)/docs.stamp: pyproject.toml constraints.txt | $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt $(shell sed -n 's/^docs = \[\(.*\)\]/\1/p' pyproject.toml | tr -d ',')
	@touch $@

$(VENV):
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt torch

clean:
	rm -rf $(VENV) build dist

include cross/rules.mk
include cross/runtime.mk
include tests/fuzz/rules.mk
